"""The seven networks of the comparison, with seeded random weights.

mlp, ae640, resnet8, dscnn and mbv1_025 follow MLPerf Tiny's sizes, mbv2 and resnet18 ImageNet's.
All padding is TensorFlow's SAME, so that ONNX and TFLite compute one function.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Layer:
    """One operation; `weight` is [o, h, w, i] of a convolution, [o, i] of a linear layer."""

    kind: str  # conv, depthwise, linear, add, mean, max_pool, softmax
    inputs: list
    output: str
    weight: np.ndarray = None
    bias: np.ndarray = None
    stride: int = 1
    kernel: tuple = (1, 1)
    padding: tuple = (0, 0, 0, 0)  # top, left, bottom, right
    relu: str = None  # relu, relu6


@dataclass
class Network:
    """Layers in execution order; images are (h, w, c), the input is called `input`."""

    name: str
    input: tuple
    seed: int
    layers: list = field(default_factory=list)

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)
        self.shapes = {"input": self.input}
        self.last = "input"

    def _append(self, kind, inputs, shape, **more):
        self.last = f"{kind}{len(self.layers)}"
        self.shapes[self.last] = shape
        self.layers.append(Layer(kind, inputs, self.last, **more))
        return self.last

    def _weights(self, shape, inputs, gain):
        """He et al. 2015's standard deviation times `gain`, so that values neither die nor explode."""
        weight = self.random.normal(0, gain * np.sqrt(2 / inputs), shape)
        return weight.astype("f4"), self.random.normal(0, 0.05, shape[0]).astype("f4")

    def _window(self, size, kernel, stride):
        """Windows along one dimension under SAME, and the padding before and after."""
        count = -(-size // stride)
        padding = max((count - 1) * stride + kernel - size, 0)
        return count, padding // 2, padding - padding // 2

    def conv(self, channels, kernel=1, stride=1, relu="relu", x=None, gain=1.0):
        return self._conv("conv", channels, kernel, stride, relu, x, gain)

    def depthwise(self, stride=1, relu="relu"):
        return self._conv("depthwise", self.shapes[self.last][2], 3, stride, relu, None, 1.0)

    def _conv(self, kind, channels, kernel, stride, relu, x, gain):
        x = x or self.last
        kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        h, w, c = self.shapes[x]
        depth = c if kind == "conv" else 1
        rows, top, bottom = self._window(h, kh, stride)
        columns, left, right = self._window(w, kw, stride)
        weight, bias = self._weights((channels, kh, kw, depth), kh * kw * depth, gain)
        return self._append(kind, [x], (rows, columns, channels), weight=weight, bias=bias,
                            stride=stride, kernel=(kh, kw), padding=(top, left, bottom, right),
                            relu=relu)

    def linear(self, outputs, relu=None):
        inputs = self.shapes[self.last][0]
        weight, bias = self._weights((outputs, inputs), inputs, 1.0 if relu else 0.7)
        return self._append("linear", [self.last], (outputs,), weight=weight, bias=bias, relu=relu)

    def add(self, a, b, relu="relu"):
        return self._append("add", [a, b], self.shapes[a], relu=relu)

    def mean(self):
        return self._append("mean", [self.last], self.shapes[self.last][2:])

    def max_pool(self, kernel, stride):
        h, w, c = self.shapes[self.last]
        rows, top, bottom = self._window(h, kernel, stride)
        columns, left, right = self._window(w, kernel, stride)
        return self._append("max_pool", [self.last], (rows, columns, c), stride=stride,
                            kernel=(kernel, kernel), padding=(top, left, bottom, right))

    def softmax(self):
        return self._append("softmax", [self.last], self.shapes[self.last])

    def samples(self, count, seed):
        """Inputs of noise in [0, 1), in ONNX's order [1, c, h, w]."""
        random = np.random.default_rng(seed)
        return [random.random(onnx_shape(self.input), dtype="f4") for _ in range(count)]


def onnx_shape(shape):
    return [1, shape[2], *shape[:2]] if len(shape) == 3 else [1, *shape]


def basic_block(net, channels, stride):
    """Two 3×3 convolutions around which the input is added (He et al. 2016)."""
    x = net.last
    net.conv(channels, 3, stride)
    y = net.conv(channels, 3, relu=None, gain=0.5)
    if stride > 1:
        x = net.conv(channels, 1, stride, relu=None, x=x, gain=0.7)
    net.add(x, y)


def mlp():
    net = Network("mlp", (784,), 1)
    net.linear(64, "relu")
    net.linear(10)
    return net


def ae640():
    net = Network("ae640", (640,), 2)
    for width in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        net.linear(width, "relu")
    net.linear(640)
    return net


def resnet8():
    net = Network("resnet8", (32, 32, 3), 3)
    net.conv(16, 3)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        basic_block(net, channels, stride)
    return classifier(net, 10)


def dscnn():
    net = Network("dscnn", (49, 10, 1), 4)
    net.conv(64, (10, 4), 2)
    for _ in range(4):
        net.depthwise()
        net.conv(64)
    return classifier(net, 12)


def mbv1_025():
    net = Network("mbv1_025", (96, 96, 3), 5)
    net.conv(8, 3, 2)
    widths = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)] + [(128, 1)] * 5
    for channels, stride in widths + [(256, 2), (256, 1)]:
        net.depthwise(stride)
        net.conv(channels)
    return classifier(net, 2)


def mbv2():
    net = Network("mbv2", (224, 224, 3), 6)
    net.conv(32, 3, 2, "relu6")
    # Expansion, channels, repetitions, stride of the first (Sandler et al. 2018, table 2).
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
             (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, channels, count, first in table:
        for i in range(count):
            x, stride = net.last, first if i == 0 else 1
            width = net.shapes[x][2]
            if expansion > 1:
                net.conv(width * expansion, relu="relu6")
            net.depthwise(stride, "relu6")
            y = net.conv(channels, relu=None, gain=0.5)
            if stride == 1 and width == channels:
                net.add(x, y, None)
    net.conv(1280, relu="relu6")
    net.mean()
    net.linear(1000)
    return net


def resnet18():
    net = Network("resnet18", (224, 224, 3), 7)
    net.conv(64, 7, 2)
    net.max_pool(3, 2)
    for channels, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        basic_block(net, channels, first)
        basic_block(net, channels, 1)
    net.mean()
    net.linear(1000)
    return net


def classifier(net, classes):
    net.mean()
    net.linear(classes)
    net.softmax()
    return net


NETWORKS = {make.__name__: make for make in (mlp, resnet8, dscnn, mbv1_025, ae640, mbv2, resnet18)}
