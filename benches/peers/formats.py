"""Writes a network as ONNX (f32, and int8 as QDQ) and as TFLite (f32 and int8)."""

import flatbuffers
import numpy as np
import onnx
import onnxruntime
from ai_edge_litert import schema_py_generated as tfl
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

from networks import onnx_shape


def write(net, folder):
    """`NAME.f32.onnx`, `NAME.int8.onnx`, `NAME.f32.tflite`, `NAME.int8.tflite`."""
    samples = net.samples(8, seed=99)
    path = f"{folder}/{net.name}"
    onnx.save(to_onnx(net), f"{path}.f32.onnx")
    quantization.quantize_static(
        f"{path}.f32.onnx", f"{path}.int8.onnx", Reader(samples), per_channel=True,
        quant_format=quantization.QuantFormat.QDQ, weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType.QUInt8)
    for kind, ranges in (("f32", None), ("int8", measured(net, samples))):
        with open(f"{path}.{kind}.tflite", "wb") as file:
            file.write(TfLite(net, ranges).bytes())


class Reader(quantization.CalibrationDataReader):
    """Hands samples to onnxruntime's quantizer."""

    def __init__(self, samples):
        self.rest = iter(samples)

    def get_next(self):
        sample = next(self.rest, None)
        return None if sample is None else {"input": sample}


def to_onnx(net, every_output=False):
    """Opset 17; with `every_output` it hands out what each layer computes."""
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], f"{output}/{kind}", **attributes))

    for layer in net.layers:
        name, inputs = layer.output, list(layer.inputs)
        to = f"{name}/sum" if layer.relu else name
        window = {"kernel_shape": layer.kernel, "strides": [layer.stride] * 2, "pads": layer.padding}
        if layer.weight is not None:
            weight = layer.weight.transpose(0, 3, 1, 2) if layer.weight.ndim == 4 else layer.weight
            inputs += [constant(f"{name}.weight", weight), constant(f"{name}.bias", layer.bias)]
        match layer.kind:
            case "conv":
                node("Conv", inputs, to, **window)
            case "depthwise":
                node("Conv", inputs, to, group=len(layer.bias), **window)
            case "linear":
                node("Gemm", inputs, to, transB=1)
            case "add":
                node("Add", inputs, to)
            case "mean":
                node("GlobalAveragePool", inputs, f"{name}/image")
                node("Flatten", [f"{name}/image"], to)
            case "max_pool":
                node("MaxPool", inputs, to, **window)
            case "softmax":
                node("Softmax", inputs, to, axis=1)
        if layer.relu == "relu":
            node("Relu", [to], name)
        elif layer.relu == "relu6":
            bounds = [constant(f"{name}.{i}", np.float32(i)) for i in (0, 6)]
            node("Clip", [to, *bounds], name)

    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, onnx_shape(net.shapes[name]))

    outputs = [layer.output for layer in net.layers] if every_output else [net.last]
    graph = helper.make_graph(nodes, net.name, [value("input")], [value(o) for o in outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def measured(net, samples):
    """The smallest and largest value of each layer's output over the samples, with 0 in between."""
    session = onnxruntime.InferenceSession(to_onnx(net, True).SerializeToString())
    names = [output.name for output in session.get_outputs()]
    ranges = {"input": (0.0, 1.0)}
    for sample in samples:
        for name, values in zip(names, session.run(None, {"input": sample})):
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))
    return ranges


class TfLite:
    """A TFLite model by the schema that LiteRT ships; int8 where ranges are given.

    int8 as LiteRT's quantization specification has it: weights symmetric, of convolutions per
    channel; biases int32; input and output int8.
    """

    def __init__(self, net, ranges):
        self.net, self.ranges = net, ranges
        self.buffers, self.tensors, self.operators, self.codes = [tfl.BufferT()], [], [], []
        self.values, self.scales = {}, {}
        self.value("input")
        for layer in net.layers:
            self.layer(layer)

    def tensor(self, name, shape, kind, data=None, scale=None, zero=None, axis=0):
        tensor = tfl.TensorT()
        tensor.name, tensor.shape, tensor.type = name, [int(d) for d in shape], kind
        tensor.buffer = 0
        if data is not None:
            buffer = tfl.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        if scale is not None:
            tensor.quantization = tfl.QuantizationParametersT()
            tensor.quantization.scale = np.atleast_1d(scale).astype("f4")
            tensor.quantization.zeroPoint = np.atleast_1d(zero).astype("i8")
            tensor.quantization.quantizedDimension = axis
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def value(self, name, like=None, shape=None):
        """The tensor of what a layer computes; `like` names a value whose scale it keeps."""
        if name not in self.values:
            shape = shape or (1, *self.net.shapes[name])
            if self.ranges is None:
                self.values[name] = self.tensor(name, shape, tfl.TensorType.FLOAT32)
            else:
                if like:
                    self.scales[name] = self.scales[like]
                else:
                    low, high = self.ranges[name]
                    scale = max(high - low, 1e-6) / 255
                    self.scales[name] = scale, int(np.clip(round(-128 - low / scale), -128, 127))
                scale, zero = self.scales[name]
                self.values[name] = self.tensor(name, shape, tfl.TensorType.INT8, None, scale, zero)
        return self.values[name]

    def weights(self, layer, x):
        """The tensors of weight and bias of a layer that reads the value `x`."""
        # Depthwise weights are [1, h, w, c], their channels the last dimension.
        axis = 3 if layer.kind == "depthwise" else 0
        weight = layer.weight.transpose(3, 1, 2, 0) if axis else layer.weight
        names, bias = (f"{layer.output}.weight", f"{layer.output}.bias"), layer.bias
        if self.ranges is None:
            f32 = tfl.TensorType.FLOAT32
            return [self.tensor(n, a.shape, f32, a) for n, a in zip(names, (weight, bias))]
        others = tuple(i for i in range(weight.ndim) if i != axis)
        if layer.kind == "linear":
            others = None
        scale = np.abs(weight).max(axis=others, keepdims=True) / 127
        quantized = np.clip(np.round(weight / scale), -127, 127).astype("i1")
        scale = scale.ravel()
        bias_scale = scale * self.scales[x][0]
        zeros = np.zeros(len(scale))
        bias = np.round(bias / bias_scale).astype("i4")
        return [self.tensor(names[0], weight.shape, tfl.TensorType.INT8, quantized, scale, zeros, axis),
                self.tensor(names[1], bias.shape, tfl.TensorType.INT32, bias, bias_scale, zeros)]

    def emit(self, kind, inputs, output, options=None, version=None, **settings):
        """Adds the operator `kind`, with the table `options` (its name without `Options`)."""
        code = getattr(tfl.BuiltinOperator, kind)
        if code not in [c.builtinCode for c in self.codes]:
            entry = tfl.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode = code, code
            entry.version = 1 if self.ranges is None else version or 2
            self.codes.append(entry)
        operator = tfl.OperatorT()
        operator.opcodeIndex = [c.builtinCode for c in self.codes].index(code)
        operator.inputs, operator.outputs = inputs, [output]
        if options:
            operator.builtinOptionsType = getattr(tfl.BuiltinOptions, f"{options}Options")
            operator.builtinOptions = getattr(tfl, f"{options}OptionsT")()
            for name, setting in settings.items():
                setattr(operator.builtinOptions, name, setting)
        self.operators.append(operator)

    def layer(self, layer):
        name, x = layer.output, layer.inputs[0]
        activations = {None: "NONE", "relu": "RELU", "relu6": "RELU6"}
        relu = getattr(tfl.ActivationFunctionType, activations[layer.relu])
        same = {"padding": tfl.Padding.SAME, "strideH": layer.stride, "strideW": layer.stride}
        dilation = {"dilationHFactor": 1, "dilationWFactor": 1}
        match layer.kind:
            case "conv":
                self.emit("CONV_2D", [self.value(x), *self.weights(layer, x)], self.value(name),
                          "Conv2D", 3, fusedActivationFunction=relu, **same, **dilation)
            case "depthwise":
                self.emit("DEPTHWISE_CONV_2D", [self.value(x), *self.weights(layer, x)],
                          self.value(name), "DepthwiseConv2D", 3, depthMultiplier=1,
                          fusedActivationFunction=relu, **same, **dilation)
            case "linear":
                self.emit("FULLY_CONNECTED", [self.value(x), *self.weights(layer, x)],
                          self.value(name), "FullyConnected", 4, fusedActivationFunction=relu)
            case "add":
                self.emit("ADD", [self.value(i) for i in layer.inputs], self.value(name), "Add",
                          fusedActivationFunction=relu)
            case "max_pool":
                self.emit("MAX_POOL_2D", [self.value(x)], self.value(name, like=x), "Pool2D",
                          filterHeight=layer.kernel[0], filterWidth=layer.kernel[1], **same)
            case "mean":
                h, w, c = self.net.shapes[x]
                image = self.value(f"{name}/image", like=x, shape=(1, 1, 1, c))
                self.emit("AVERAGE_POOL_2D", [self.value(x)], image, "Pool2D", filterHeight=h,
                          filterWidth=w, strideH=h, strideW=w, padding=tfl.Padding.VALID)
                shape = self.tensor(f"{name}/shape", [2], tfl.TensorType.INT32, np.array([1, c], "i4"))
                self.emit("RESHAPE", [image, shape], self.value(name, like=x), "Reshape", 1,
                          newShape=[1, c])
            case "softmax":
                if self.ranges is not None:
                    # The specification's fixed scale 1/256 and zero point -128.
                    self.ranges = {**self.ranges, name: (0.0, 255 / 256)}
                self.emit("SOFTMAX", [self.value(x)], self.value(name), "Softmax", beta=1.0)

    def bytes(self):
        graph = tfl.SubGraphT()
        graph.tensors, graph.operators, graph.name = self.tensors, self.operators, "main"
        graph.inputs, graph.outputs = [self.values["input"]], [self.values[self.net.last]]
        model = tfl.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        model.operatorCodes, model.description = self.codes, self.net.name
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
