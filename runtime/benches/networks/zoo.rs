//! The networks: those of MLPerf Tiny, and larger ones. Weights are random.

use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op, ValueId};
use hipflask_runtime::quant::{QuantParams, multiplier};
use hipflask_runtime::{Shape, Tensor};

/// Builds a graph.
type Build = fn() -> Graph;

/// The networks by name.
pub(crate) const NETWORKS: [(&str, Build); 7] = [
    ("mlp", mlp),
    ("ae640", autoencoder),
    ("ds-cnn", ds_cnn),
    ("mbv1-0.25", mobilenet_v1),
    ("resnet8", resnet8),
    ("mbv2", mobilenet_v2),
    ("resnet18", resnet18),
];

/// Quantization of every activation: a ReLU's zero is the lowest value.
const ACTIVATION: QuantParams = QuantParams { scale: 0.05, zero_point: -128 };

/// Layers one after another, with padding as TensorFlow's «same».
struct Network {
    builder: GraphBuilder,
    /// Where the next layer reads.
    x: ValueId,
    input: ValueId,
    layers: usize,
}

impl Network {
    /// Layers on an image `[h, w, c]`.
    fn new(name: &str, image: [usize; 3]) -> Self {
        Self::of_input(name, Layout::Nhwc.shape(image))
    }

    /// Layers on a vector.
    fn of_vector(name: &str, elements: usize) -> Self {
        Self::of_input(name, [1, elements].into())
    }

    fn of_input(name: &str, shape: Shape) -> Self {
        let mut builder = GraphBuilder::new(name, Layout::Nhwc);
        let real = builder.input("input", shape);
        let x = builder.node_as("quantize", Op::Quantize, &[real], [], Some(ACTIVATION)).unwrap();
        Self { builder, x, input: x, layers: 0 }
    }

    /// A convolution of `x` with ReLU, or without; its output is the next layer's input.
    fn conv(&mut self, out_c: usize, kernel: [usize; 2], stride: usize, relu: bool) -> &mut Self {
        self.convolution(out_c, kernel, stride, 1);
        self.fuse(relu)
    }

    /// A depthwise 3×3 convolution with ReLU.
    fn depthwise(&mut self, stride: usize) -> &mut Self {
        let channels = self.channels();
        self.convolution(channels, [3, 3], stride, channels);
        self.fuse(true)
    }

    /// A linear layer, with ReLU or without.
    fn linear(&mut self, outputs: usize, relu: bool) -> &mut Self {
        let inputs = self.builder.shape(self.x)[1];
        self.push(Op::Linear, &[self.x], weights(&[outputs, inputs]));
        self.fuse(relu)
    }

    fn fuse(&mut self, relu: bool) -> &mut Self {
        self.builder.fuse(relu.then_some(Activation::Relu));
        self
    }

    fn channels(&self) -> usize {
        self.builder.image(self.x).unwrap()[2]
    }

    fn convolution(&mut self, out_c: usize, kernel: [usize; 2], stride: usize, groups: usize) {
        let [h, w, in_c] = self.builder.image(self.x).unwrap();
        let padding = |size: usize, kernel: usize| {
            let all = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
            [all / 2, all - all / 2]
        };
        let ([top, bottom], [left, right]) = (padding(h, kernel[0]), padding(w, kernel[1]));
        let padding = [top, left, bottom, right];
        let op = Op::Conv2d { stride: [stride; 2], padding, dilation: [1, 1], groups };
        let weights = weights(&[out_c, kernel[0], kernel[1], in_c / groups]);
        self.push(op, &[self.x], weights);
    }

    /// The sum of `x` and `other`, with ReLU or without.
    fn add(&mut self, other: ValueId, relu: bool) {
        self.push(Op::Add, &[self.x, other], Vec::new());
        self.fuse(relu);
    }

    /// Two convolutions beside a shortcut, which is one of 1×1 where the shape changes.
    fn residual(&mut self, channels: usize, stride: usize) {
        let x = self.x;
        self.conv(channels, [3, 3], stride, true).conv(channels, [3, 3], 1, false);
        let long = self.x;
        self.x = x;
        if stride > 1 {
            self.conv(channels, [1, 1], stride, false);
        }
        self.add(long, true);
    }

    fn push(&mut self, op: Op, inputs: &[ValueId], weights: Vec<(&'static str, Tensor)>) {
        self.layers += 1;
        let name = format!("layer{}", self.layers);
        self.x = self.builder.node_as(&name, op, inputs, weights, Some(ACTIVATION)).unwrap();
    }

    /// Global average pool and a linear layer.
    fn pool_and_classify(&mut self, classes: usize) -> &mut Self {
        self.push(Op::GlobalAvgPool, &[self.x], Vec::new());
        self.push(Op::Flatten, &[self.x], Vec::new());
        self.linear(classes, false)
    }

    /// The probabilities of classes.
    fn softmax(&mut self) -> &mut Self {
        let real = self.builder.node("dequantize", Op::Dequantize, &[self.x], []).unwrap();
        self.x = self.builder.node("softmax", Op::Softmax, &[real], []).unwrap();
        self
    }

    /// The graph, which takes the quantized input.
    fn finish(self) -> Graph {
        let mut graph = self.builder.finish(&[self.x]).unwrap();
        graph.inputs = vec![self.input];
        graph.nodes.remove(0);
        graph.compacted()
    }
}

/// Weights `[out_c, …]` of all values, scaled so that outputs fill their range.
fn weights(shape: &[usize]) -> Vec<(&'static str, Tensor)> {
    let row: usize = shape[1..].iter().product();
    let count = shape[0] * row;
    let value = |i: usize| (((i * 2_654_435_761) >> 7) % 255) as i32 - 127;
    let weight: Vec<i8> = (0..count).map(|i| value(i) as i8).collect();
    let sum = |row: &[i8]| row.iter().map(|&w| i32::from(w)).sum::<i32>();
    let zero = i32::from(ACTIVATION.zero_point);
    let bias: Vec<i32> = weight.chunks(row).map(|row| 1000 - zero * sum(row)).collect();
    let scale = vec![1.0 / (100.0 * (row as f32).sqrt()); shape[0]];
    let m = multiplier(ACTIVATION.scale, scale[0], ACTIVATION.scale);
    vec![
        ("weight", Tensor::from_i8(shape.to_vec(), &weight)),
        ("bias", Tensor::from_i32([shape[0]], &bias)),
        ("scale", Tensor::from_f32([shape[0]], &scale)),
        ("multiplier", Tensor::from_f32([shape[0]], &vec![m; shape[0]])),
    ]
}

/// Two linear layers on an image of 28×28.
fn mlp() -> Graph {
    let mut net = Network::of_vector("mlp", 784);
    net.linear(64, true).linear(10, false);
    net.finish()
}

/// Anomaly detection of MLPerf Tiny: an autoencoder of ten linear layers.
fn autoencoder() -> Graph {
    let mut net = Network::of_vector("ae640", 640);
    for outputs in [128, 128, 128, 128, 8, 128, 128, 128, 128] {
        net.linear(outputs, true);
    }
    net.linear(640, false);
    net.finish()
}

/// Keyword spotting of MLPerf Tiny (Zhang et al. 2017): 49 frames of 10 coefficients.
fn ds_cnn() -> Graph {
    let mut net = Network::new("ds-cnn", [49, 10, 1]);
    net.conv(64, [10, 4], 2, true);
    for _ in 0..4 {
        net.depthwise(1).conv(64, [1, 1], 1, true);
    }
    net.pool_and_classify(12).softmax();
    net.finish()
}

/// Visual wake words of MLPerf Tiny: MobileNetV1 of width 0.25 (Howard et al. 2017).
fn mobilenet_v1() -> Graph {
    let mut net = Network::new("mobilenet-v1", [96, 96, 3]);
    net.conv(8, [3, 3], 2, true);
    let blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)];
    for (channels, stride) in blocks.into_iter().chain([(128, 1); 5]).chain([(256, 2), (256, 1)]) {
        net.depthwise(stride).conv(channels, [1, 1], 1, true);
    }
    net.pool_and_classify(2).softmax();
    net.finish()
}

/// Image classification of MLPerf Tiny: a ResNet of three blocks (He et al. 2016).
fn resnet8() -> Graph {
    let mut net = Network::new("resnet8", [32, 32, 3]);
    net.conv(16, [3, 3], 1, true);
    for (channels, stride) in [(16, 1), (32, 2), (64, 2)] {
        net.residual(channels, stride);
    }
    net.pool_and_classify(10).softmax();
    net.finish()
}

/// MobileNetV2 on 224×224 (Sandler et al. 2018), with ReLU for ReLU6.
fn mobilenet_v2() -> Graph {
    let mut net = Network::new("mobilenet-v2", [224, 224, 3]);
    net.conv(32, [3, 3], 2, true);
    let blocks = [
        // Expansion, channels, repetitions, stride of the first.
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, channels, repetitions, first) in blocks {
        for stride in core::iter::once(first).chain([1; 3]).take(repetitions) {
            let (x, in_c) = (net.x, net.channels());
            if expansion > 1 {
                net.conv(in_c * expansion, [1, 1], 1, true);
            }
            net.depthwise(stride).conv(channels, [1, 1], 1, false);
            if stride == 1 && in_c == channels {
                net.add(x, false);
            }
        }
    }
    net.conv(1280, [1, 1], 1, true).pool_and_classify(1000);
    net.finish()
}

/// ResNet-18 on 224×224 (He et al. 2016).
fn resnet18() -> Graph {
    let mut net = Network::new("resnet18", [224, 224, 3]);
    net.conv(64, [7, 7], 2, true);
    let pool = Op::MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1] };
    net.push(pool, &[net.x], Vec::new());
    for (channels, stride) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
        net.residual(channels, stride);
        net.residual(channels, 1);
    }
    net.pool_and_classify(1000);
    net.finish()
}
