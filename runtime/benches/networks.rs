//! Whole int8 networks on each instruction set, in turns, so that a busy machine slows all alike;
//! ratios and shares of the limit are those of the fastest runs. Fails where outputs differ.
//!
//! `cargo bench -p hipflask-runtime --bench networks [-- [--layers] [NAME…]]`, where names are those
//! of networks; with `--layers` also the time of each layer on the best instruction set, or on
//! that in `HIPFLASK_ISA`. Weights are random, inputs int8.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::time::{Duration, Instant};

use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op, ValueId};
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::quant::{QuantParams, multiplier};
use hipflask_runtime::{Model, Options, Session, Tensor, View};

/// Products a nanosecond of `vpdpbusd` on one core of the machine in `docs/performance.md`: 64 a
/// cycle.
const VNNI_LIMIT: f64 = 236.0;
/// Rounds over the instruction sets.
const ROUNDS: usize = 41;
/// Length of one measurement.
const SLICE: Duration = Duration::from_millis(4);

/// Quantization of every activation: a ReLU's zero is the lowest value.
const ACTIVATION: QuantParams = QuantParams { scale: 0.05, zero_point: -128 };

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let layers = arguments.iter().any(|a| a == "--layers");
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    println!(
        "{:<10} {:<11} {:>9} {:>9} {:>9} {:>9}",
        "network", "isa", "min µs", "p50 µs", "× scalar", "of limit"
    );
    for (name, network) in
        [("ds-cnn", ds_cnn as fn() -> Graph), ("mbv1-0.25", mobilenet), ("resnet8", resnet8)]
    {
        if names.is_empty() || names.iter().any(|n| name.contains(n.as_str())) {
            let model = Model::from_graph(network()).unwrap();
            compare(name, &model);
            if layers {
                profile(&model);
            }
        }
    }
}

/// Measures all instruction sets in turns and prints a line for each.
fn compare(name: &str, model: &Model) {
    let session =
        |isa| Session::new(model, &Options { isa: Some(isa), ..Options::default() }).unwrap();
    let mut sessions: Vec<Session> = Isa::available().map(session).collect();
    let elements = sessions[0].inputs()[0].shape.elements();
    let input: Vec<i8> = (0..elements).map(|i| ((i * 7919) >> 4) as i8).collect();
    let answers: Vec<Vec<u8>> = sessions
        .iter_mut()
        .map(|session| {
            session.run(&[View::I8(&input)]).unwrap();
            session.output(0).bytes().to_vec()
        })
        .collect();
    assert!(answers.iter().all(|a| *a == answers[0]), "{name}: outputs differ: {answers:?}");
    let mut times = vec![Vec::new(); sessions.len()];
    for _ in 0..ROUNDS {
        for (session, times) in sessions.iter_mut().zip(&mut times) {
            let (start, mut runs) = (Instant::now(), 0);
            while start.elapsed() < SLICE {
                for _ in 0..4 {
                    session.run(&[View::I8(std::hint::black_box(&input))]).unwrap();
                }
                runs += 4;
            }
            times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(runs));
        }
    }
    let limit = model.graph().macs() as f64 / VNNI_LIMIT / 1e3;
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    let scalar = times[0][0];
    for (session, times) in sessions.iter().zip(&times) {
        let (fastest, median) = (times[0], times[ROUNDS / 2]);
        println!(
            "{name:<10} {:<11} {fastest:>9.1} {median:>9.1} {:>9.1} {:>8.0}%",
            session.isa(),
            scalar / fastest,
            100.0 * limit / fastest
        );
    }
}

/// Prints the fastest time of each layer on the best instruction set.
fn profile(model: &Model) {
    let mut session = Session::new(model, &Options::default()).unwrap();
    let input = vec![3_i8; session.inputs()[0].shape.elements()];
    let graph = model.graph();
    let mut fastest = vec![f64::INFINITY; graph.values.len()];
    for _ in 0..2000 {
        let mut last = Instant::now();
        let mut stop = |value: ValueId, _: View<'_>| {
            let now = Instant::now();
            fastest[value.0] = fastest[value.0].min((now - last).as_secs_f64() * 1e6);
            last = Instant::now();
        };
        session.run_observed(&[View::I8(&input)], &mut stop).unwrap();
    }
    for node in &graph.nodes {
        let (time, value) = (fastest[node.output.0], graph.value(node.output));
        let limit = graph.node_macs(node) as f64 / VNNI_LIMIT / 1e3;
        println!(
            "  {:<12} {:<16} {:<18} {time:>8.2} µs {:>4.0}%",
            node.name,
            node.op.name(),
            value.shape.to_string(),
            100.0 * limit / time
        );
    }
}

/// Layers one after another, with padding as TensorFlow's «same».
struct Network {
    builder: GraphBuilder,
    /// Where the next layer reads.
    x: ValueId,
    input: ValueId,
    layers: usize,
}

impl Network {
    fn new(name: &str, image: [usize; 3]) -> Self {
        let mut builder = GraphBuilder::new(name, Layout::Nhwc);
        let real = builder.input("input", Layout::Nhwc.shape(image));
        let x = builder.node_as("quantize", Op::Quantize, &[real], [], Some(ACTIVATION)).unwrap();
        Self { builder, x, input: x, layers: 0 }
    }

    /// A convolution of `x` with ReLU, or without; its output is the next layer's input.
    fn conv(&mut self, out_c: usize, kernel: [usize; 2], stride: usize, relu: bool) -> &mut Self {
        self.convolution(out_c, kernel, stride, 1);
        self.builder.fuse(relu.then_some(Activation::Relu));
        self
    }

    /// A depthwise 3×3 convolution with ReLU.
    fn depthwise(&mut self, stride: usize) -> &mut Self {
        let channels = self.builder.image(self.x).unwrap()[2];
        self.convolution(channels, [3, 3], stride, channels);
        self.builder.fuse(Some(Activation::Relu));
        self
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

    /// The sum of `x` and `other`, with ReLU.
    fn add(&mut self, other: ValueId) {
        self.push(Op::Add, &[self.x, other], Vec::new());
        self.builder.fuse(Some(Activation::Relu));
    }

    fn push(&mut self, op: Op, inputs: &[ValueId], weights: Vec<(&'static str, Tensor)>) {
        self.layers += 1;
        let name = format!("layer{}", self.layers);
        self.x = self.builder.node_as(&name, op, inputs, weights, Some(ACTIVATION)).unwrap();
    }

    /// Global average pool, linear layer, softmax; the graph takes the quantized input.
    fn classify(mut self, classes: usize) -> Graph {
        self.push(Op::GlobalAvgPool, &[self.x], Vec::new());
        self.push(Op::Flatten, &[self.x], Vec::new());
        let inputs = self.builder.shape(self.x)[1];
        self.push(Op::Linear, &[self.x], weights(&[classes, inputs]));
        let real = self.builder.node("dequantize", Op::Dequantize, &[self.x], []).unwrap();
        let scores = self.builder.node("softmax", Op::Softmax, &[real], []).unwrap();
        let mut graph = self.builder.finish(&[scores]).unwrap();
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

/// Keyword spotting of MLPerf Tiny (Zhang et al. 2017): 49 frames of 10 coefficients.
fn ds_cnn() -> Graph {
    let mut net = Network::new("ds-cnn", [49, 10, 1]);
    net.conv(64, [10, 4], 2, true);
    for _ in 0..4 {
        net.depthwise(1).conv(64, [1, 1], 1, true);
    }
    net.classify(12)
}

/// Visual wake words of MLPerf Tiny: MobileNetV1 of width 0.25 (Howard et al. 2017).
fn mobilenet() -> Graph {
    let mut net = Network::new("mobilenet-v1", [96, 96, 3]);
    net.conv(8, [3, 3], 2, true);
    let blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)];
    for (channels, stride) in blocks.into_iter().chain([(128, 1); 5]).chain([(256, 2), (256, 1)]) {
        net.depthwise(stride).conv(channels, [1, 1], 1, true);
    }
    net.classify(2)
}

/// Image classification of MLPerf Tiny: a ResNet of three blocks (He et al. 2016).
fn resnet8() -> Graph {
    let mut net = Network::new("resnet8", [32, 32, 3]);
    net.conv(16, [3, 3], 1, true);
    for (channels, stride) in [(16, 1), (32, 2), (64, 2)] {
        let x = net.x;
        net.conv(channels, [3, 3], stride, true).conv(channels, [3, 3], 1, false);
        let long = net.x;
        net.x = x;
        if stride > 1 {
            net.conv(channels, [1, 1], stride, false);
        }
        net.add(long);
    }
    net.classify(10)
}
