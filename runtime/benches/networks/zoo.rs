//! The networks: those of MLPerf Tiny, a perceptron, MobileNetV2 and ResNet-18, with weights of
//! noise.

use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op, ValueId};
use hipflask_runtime::quant::{QuantParams, multiplier};
use hipflask_runtime::{Shape, Tensor};

/// Quantization of every activation: a ReLU's zero is the lowest value.
pub(crate) const ACTIVATION: QuantParams = QuantParams { scale: 0.05, zero_point: -128 };

/// Builds a network with these parameters for all activations, or in f32.
pub(crate) type Build = fn(Option<QuantParams>) -> Graph;

/// All of them by name.
pub(crate) const NETWORKS: [(&str, Build); 7] = [
    ("mlp", mlp),
    ("resnet8", resnet8),
    ("ds-cnn", ds_cnn),
    ("mbv1-0.25", mobilenet),
    ("ae640", autoencoder),
    ("mbv2", mobilenet_v2),
    ("resnet18", resnet18),
];

/// Layers one after another, with padding as TensorFlow's «same».
struct Network {
    builder: GraphBuilder,
    /// Where the next layer reads.
    x: ValueId,
    input: ValueId,
    layers: usize,
    /// Parameters of all activations; `None` for f32.
    quant: Option<QuantParams>,
}

impl Network {
    fn new(name: &str, shape: impl Into<Shape>, quant: Option<QuantParams>) -> Self {
        let mut builder = GraphBuilder::new(name, Layout::Nhwc);
        let mut x = builder.input("input", shape);
        if quant.is_some() {
            x = builder.node_as("quantize", Op::Quantize, &[x], [], quant).unwrap();
        }
        Self { builder, x, input: x, layers: 0, quant }
    }

    /// A convolution of `x`; its output is the next layer's input.
    fn conv(
        &mut self,
        out_c: usize,
        kernel: [usize; 2],
        stride: usize,
        activation: Option<Activation>,
    ) -> &mut Self {
        self.convolution(out_c, kernel, stride, 1);
        self.builder.fuse(activation);
        self
    }

    /// A depthwise 3×3 convolution.
    fn depthwise(&mut self, stride: usize, activation: Option<Activation>) -> &mut Self {
        let channels = self.builder.image(self.x).unwrap()[2];
        self.convolution(channels, [3, 3], stride, channels);
        self.builder.fuse(activation);
        self
    }

    /// TensorFlow's padding «same» of the image `x`.
    fn padding(&self, kernel: [usize; 2], stride: usize) -> [usize; 4] {
        let [h, w, _] = self.builder.image(self.x).unwrap();
        let padding = |size: usize, kernel: usize| {
            let all = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
            [all / 2, all - all / 2]
        };
        let ([top, bottom], [left, right]) = (padding(h, kernel[0]), padding(w, kernel[1]));
        [top, left, bottom, right]
    }

    fn convolution(&mut self, out_c: usize, kernel: [usize; 2], stride: usize, groups: usize) {
        let in_c = self.builder.image(self.x).unwrap()[2];
        let padding = self.padding(kernel, stride);
        let op = Op::Conv2d { stride: [stride; 2], padding, dilation: [1, 1], groups };
        let weights = self.weights(&[out_c, kernel[0], kernel[1], in_c / groups]);
        self.push(op, &[self.x], weights);
    }

    /// A fully connected layer.
    fn linear(&mut self, outputs: usize, activation: Option<Activation>) -> &mut Self {
        let inputs = self.builder.shape(self.x)[1];
        let weights = self.weights(&[outputs, inputs]);
        self.push(Op::Linear, &[self.x], weights);
        self.builder.fuse(activation);
        self
    }

    /// The sum of `x` and `other`.
    fn add(&mut self, other: ValueId, activation: Option<Activation>) {
        self.push(Op::Add, &[self.x, other], Vec::new());
        self.builder.fuse(activation);
    }

    fn push(&mut self, op: Op, inputs: &[ValueId], weights: Vec<(&'static str, Tensor)>) {
        self.layers += 1;
        let name = format!("layer{}", self.layers);
        self.x = self.builder.node_as(&name, op, inputs, weights, self.quant).unwrap();
    }

    /// Global average pool and a linear layer.
    fn classify(&mut self, classes: usize) -> &mut Self {
        self.push(Op::GlobalAvgPool, &[self.x], Vec::new());
        self.push(Op::Flatten, &[self.x], Vec::new());
        self.linear(classes, None)
    }

    /// A softmax and the end.
    fn softmax(&mut self) -> Graph {
        if self.quant.is_some() {
            self.x = self.builder.node("dequantize", Op::Dequantize, &[self.x], []).unwrap();
        }
        self.x = self.builder.node("softmax", Op::Softmax, &[self.x], []).unwrap();
        self.finish()
    }

    /// The graph; an int8 one takes the quantized input.
    fn finish(&mut self) -> Graph {
        let builder = std::mem::replace(&mut self.builder, GraphBuilder::new("", Layout::Nhwc));
        let mut graph = builder.finish(&[self.x]).unwrap();
        if self.quant.is_some() {
            graph.inputs = vec![self.input];
            graph.nodes.remove(0);
        }
        graph.compacted()
    }

    /// Weights `[out_c, …]` of all values, scaled so that outputs fill their range.
    fn weights(&self, shape: &[usize]) -> Vec<(&'static str, Tensor)> {
        let row: usize = shape[1..].iter().product();
        let count = shape[0] * row;
        let value = |i: usize| (((i * 2_654_435_761) >> 7) % 255) as i32 - 127;
        let weight: Vec<i8> = (0..count).map(|i| value(i) as i8).collect();
        if self.quant.is_none() {
            let gain = (6.0 / row as f32).sqrt() / 127.0;
            let weight: Vec<f32> = weight.iter().map(|&w| f32::from(w) * gain).collect();
            return vec![
                ("weight", Tensor::from_f32(shape.to_vec(), &weight)),
                ("bias", Tensor::from_f32([shape[0]], &vec![0.1; shape[0]])),
            ];
        }
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
}

const RELU: Option<Activation> = Some(Activation::Relu);
const RELU6: Option<Activation> = Some(Activation::Relu6);

/// Digits: 784 pixels, one hidden layer.
fn mlp(quant: Option<QuantParams>) -> Graph {
    Network::new("mlp", [1, 784], quant).linear(64, RELU).linear(10, None).finish()
}

/// Keyword spotting of MLPerf Tiny (Zhang et al. 2017): 49 frames of 10 coefficients.
fn ds_cnn(quant: Option<QuantParams>) -> Graph {
    let mut net = Network::new("ds-cnn", [1, 49, 10, 1], quant);
    net.conv(64, [10, 4], 2, RELU);
    for _ in 0..4 {
        net.depthwise(1, RELU).conv(64, [1, 1], 1, RELU);
    }
    net.classify(12).softmax()
}

/// Visual wake words of MLPerf Tiny: MobileNetV1 of width 0.25 (Howard et al. 2017).
fn mobilenet(quant: Option<QuantParams>) -> Graph {
    let mut net = Network::new("mobilenet-v1", [1, 96, 96, 3], quant);
    net.conv(8, [3, 3], 2, RELU);
    let blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)];
    for (channels, stride) in blocks.into_iter().chain([(128, 1); 5]).chain([(256, 2), (256, 1)]) {
        net.depthwise(stride, RELU).conv(channels, [1, 1], 1, RELU);
    }
    net.classify(2).softmax()
}

/// Anomaly detection of MLPerf Tiny: an autoencoder of 640 inputs.
fn autoencoder(quant: Option<QuantParams>) -> Graph {
    let mut net = Network::new("ae640", [1, 640], quant);
    for outputs in [128, 128, 128, 128, 8, 128, 128, 128, 128] {
        net.linear(outputs, RELU);
    }
    net.linear(640, None).finish()
}

/// Two 3×3 convolutions beside a shortcut (He et al. 2016).
fn residual(net: &mut Network, channels: usize, stride: usize) {
    let x = net.x;
    let in_c = net.builder.image(x).unwrap()[2];
    net.conv(channels, [3, 3], stride, RELU).conv(channels, [3, 3], 1, None);
    let long = net.x;
    net.x = x;
    if stride > 1 || in_c != channels {
        net.conv(channels, [1, 1], stride, None);
    }
    net.add(long, RELU);
}

/// Image classification of MLPerf Tiny: a ResNet of three blocks.
fn resnet8(quant: Option<QuantParams>) -> Graph {
    let mut net = Network::new("resnet8", [1, 32, 32, 3], quant);
    net.conv(16, [3, 3], 1, RELU);
    for (channels, stride) in [(16, 1), (32, 2), (64, 2)] {
        residual(&mut net, channels, stride);
    }
    net.classify(10).softmax()
}

/// ImageNet: ResNet-18.
fn resnet18(quant: Option<QuantParams>) -> Graph {
    let mut net = Network::new("resnet18", [1, 224, 224, 3], quant);
    net.conv(64, [7, 7], 2, RELU);
    let padding = net.padding([3, 3], 2);
    net.push(Op::MaxPool2d { kernel: [3, 3], stride: [2, 2], padding }, &[net.x], Vec::new());
    for (channels, stride) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
        residual(&mut net, channels, stride);
        residual(&mut net, channels, 1);
    }
    net.classify(1000).finish()
}

/// ImageNet: MobileNetV2 (Sandler et al. 2018).
fn mobilenet_v2(quant: Option<QuantParams>) -> Graph {
    let mut net = Network::new("mobilenet-v2", [1, 224, 224, 3], quant);
    net.conv(32, [3, 3], 2, RELU6);
    // Expansion, channels, repetitions, first stride: table 2 of the paper.
    let blocks = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, channels, repetitions, first) in blocks {
        for i in 0..repetitions {
            let (x, stride) = (net.x, if i == 0 { first } else { 1 });
            let in_c = net.builder.image(x).unwrap()[2];
            if expansion > 1 {
                net.conv(expansion * in_c, [1, 1], 1, RELU6);
            }
            net.depthwise(stride, RELU6).conv(channels, [1, 1], 1, None);
            if stride == 1 && in_c == channels {
                net.add(x, None);
            }
        }
    }
    net.conv(1280, [1, 1], 1, RELU6);
    net.classify(1000).finish()
}
