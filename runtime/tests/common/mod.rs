//! A small int8 network by hand and a float one, shared by the tests.
#![allow(dead_code, clippy::unwrap_used, missing_docs, reason = "tests")]

pub(crate) mod weight_only;

use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op, ValueId};
use hipflask_runtime::quant::{QuantParams, multiplier};
use hipflask_runtime::{Shape, Tensor};

pub(crate) const SAMPLE: usize = 6 * 5 * 3;

/// A reproducible sample of the networks' input, `[6, 5, 3]` or `[90]`.
pub(crate) fn sample(seed: usize) -> Vec<f32> {
    sample_of(SAMPLE, seed)
}

/// As many reproducible values.
pub(crate) fn sample_of(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 211) as f32 / 105.0 - 1.0).collect()
}

fn weights(shape: &[usize], seed: usize) -> Vec<i8> {
    let count: usize = shape.iter().product();
    // In u64, so that a 32-bit target makes the same weights.
    (0..count as u64)
        .map(|i| ((i * 2_654_435_761 + seed as u64 * 97) % 255) as u8)
        .map(|v| (i32::from(v) - 127) as i8)
        .collect()
}

/// The four tensors of an int8 layer whose weights are integers made from `seed`.
fn int8_layer(
    shape: &[usize],
    seed: usize,
    x: QuantParams,
    y: QuantParams,
) -> [(&'static str, Tensor); 4] {
    let channels = shape[0];
    let w = weights(shape, seed);
    let bias: Vec<i32> = w
        .chunks(w.len() / channels)
        .enumerate()
        .map(|(c, row)| {
            let sum: i32 = row.iter().map(|&w| i32::from(w)).sum();
            100 * c as i32 - i32::from(x.zero_point) * sum
        })
        .collect();
    let scales: Vec<f32> = (0..channels).map(|c| 0.004 + 0.001 * c as f32).collect();
    let multipliers: Vec<f32> = scales.iter().map(|&s| multiplier(x.scale, s, y.scale)).collect();
    [
        ("weight", Tensor::from_i8(Shape::from(shape), &w)),
        ("bias", Tensor::from_i32([channels], &bias)),
        ("scale", Tensor::from_f32([channels], &scales)),
        ("multiplier", Tensor::from_f32([channels], &multipliers)),
    ]
}

/// Quantize, convolution, depthwise, add, pools, concat, table, linear, dequantize, softmax.
pub(crate) fn int8_network() -> Graph {
    let q = |scale, zero_point| QuantParams { scale, zero_point };
    let (q0, q1, q2) = (q(1.0 / 127.0, 0), q(0.05, -20), q(0.04, 3));
    let mut b = GraphBuilder::new("by-hand", Layout::Nhwc);
    let x = b.input("input", [1, 6, 5, 3]);
    let x = b.node_as("quantize", Op::Quantize, &[x], [], Some(q0)).unwrap();
    let conv = |groups| Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups };
    let w = int8_layer(&[4, 3, 3, 3], 1, q0, q1);
    let c1 = b.node_as("conv1", conv(1), &[x], w, Some(q1)).unwrap();
    b.fuse(Some(Activation::Relu));
    let w = int8_layer(&[4, 3, 3, 1], 2, q1, q2);
    let dw = b.node_as("depthwise", conv(4), &[c1], w, Some(q2)).unwrap();
    let sum = b.node_as("add", Op::Add, &[c1, dw], [], Some(q1)).unwrap();
    let pool = Op::MaxPool2d { kernel: [2, 2], stride: [2, 2], padding: [0; 4] };
    let a = b.node_as("maxpool", pool, &[sum], [], Some(q1)).unwrap();
    let pool =
        Op::AvgPool2d { kernel: [2, 2], stride: [2, 2], padding: [0; 4], count_include_pad: false };
    let c = b.node_as("avgpool", pool, &[sum], [], Some(q2)).unwrap();
    let joined = b.node_as("concat", Op::Concat { axis: 3 }, &[a, c], [], Some(q2)).unwrap();
    let table: Vec<i8> = (-128..=127).map(|v: i32| (v / 2) as i8).collect();
    let op = Op::Activation { function: Activation::Tanh };
    let t = b
        .node_as("tanh", op, &[joined], [("table", Tensor::from_i8([256], &table))], Some(q1))
        .unwrap();
    let flat = b.node_as("flatten", Op::Flatten, &[t], [], Some(q1)).unwrap();
    let w = int8_layer(&[5, 48], 3, q1, q2);
    let fc = b.node_as("fc", Op::Linear, &[flat], w, Some(q2)).unwrap();
    let out = b.node("dequantize", Op::Dequantize, &[fc], []).unwrap();
    let out: ValueId = b.node("softmax", Op::Softmax, &[out], []).unwrap();
    b.finish(&[out]).unwrap()
}

/// Residual additions of which both operands, one, or twice the same lie where the sum may; the
/// values have margins of several sizes.
pub(crate) fn int8_residual_network() -> Graph {
    let q = |scale, zero_point| QuantParams { scale, zero_point };
    let (q0, q1, q2) = (q(1.0 / 127.0, 0), q(0.05, -20), q(0.04, 3));
    let mut b = GraphBuilder::new("residual", Layout::Nhwc);
    let x = b.input("input", [1, 6, 5, 3]);
    let x = b.node_as("quantize", Op::Quantize, &[x], [], Some(q0)).unwrap();
    let conv = |stride, padding: [usize; 4], groups| Op::Conv2d {
        stride: [stride; 2],
        padding,
        dilation: [1, 1],
        groups,
    };
    let table = |divisor: i32| -> [(&'static str, Tensor); 1] {
        let table: Vec<i8> = (-128..=127).map(|v: i32| (v / divisor) as i8).collect();
        [("table", Tensor::from_i8([256], &table))]
    };
    let tanh = Op::Activation { function: Activation::Tanh };
    let w = int8_layer(&[20, 3, 3, 3], 1, q0, q1);
    let a = b.node_as("conv1", conv(1, [1; 4], 1), &[x], w, Some(q1)).unwrap();
    let w = int8_layer(&[20, 3, 3, 1], 2, q1, q2);
    let c = b.node_as("depthwise", conv(1, [1; 4], 20), &[a], w, Some(q2)).unwrap();
    let sum = b.node_as("add1", Op::Add, &[a, c], [], Some(q1)).unwrap();
    let t = b.node_as("tanh1", tanh.clone(), &[sum], table(2), Some(q2)).unwrap();
    let sum = b.node_as("add2", Op::Add, &[t, sum], [], Some(q1)).unwrap();
    let w = int8_layer(&[20, 5, 5, 1], 3, q1, q2);
    let wide = b.node_as("wide", conv(1, [2; 4], 20), &[sum], w, Some(q2)).unwrap();
    let twice = b.node_as("add3", Op::Add, &[wide, wide], [], Some(q1)).unwrap();
    let t = b.node_as("tanh2", tanh, &[twice], table(3), Some(q2)).unwrap();
    let w = int8_layer(&[7, 3, 3, 20], 4, q2, q1);
    let last = b.node_as("conv2", conv(2, [0, 0, 1, 1], 1), &[t], w, Some(q1)).unwrap();
    let out = b.node("dequantize", Op::Dequantize, &[last], []).unwrap();
    b.finish(&[out]).unwrap()
}

/// Convolutions whose channels are joined: written there, rescaled, or read by others too.
pub(crate) fn int8_joined_network() -> Graph {
    let q = |scale, zero_point| QuantParams { scale, zero_point };
    let (q0, q1, q2) = (q(1.0 / 127.0, 0), q(0.05, -20), q(0.04, 3));
    let mut b = GraphBuilder::new("joined", Layout::Nhwc);
    let x = b.input("input", [1, 6, 5, 3]);
    let x = b.node_as("quantize", Op::Quantize, &[x], [], Some(q0)).unwrap();
    let conv = |padding, groups| Op::Conv2d {
        stride: [1, 1],
        padding: [padding; 4],
        dilation: [1, 1],
        groups,
    };
    let w = int8_layer(&[5, 1, 1, 3], 1, q0, q1);
    let narrow = b.node_as("narrow", conv(0, 1), &[x], w, Some(q1)).unwrap();
    let w = int8_layer(&[18, 3, 3, 3], 2, q0, q1);
    let wide = b.node_as("wide", conv(1, 1), &[x], w, Some(q1)).unwrap();
    let w = int8_layer(&[4, 3, 3, 3], 3, q0, q2);
    let other = b.node_as("other", conv(1, 1), &[x], w, Some(q2)).unwrap();
    let w = int8_layer(&[3, 3, 3, 1], 4, q0, q1);
    let depthwise = b.node_as("depthwise", conv(1, 3), &[x], w, Some(q1)).unwrap();
    let parts = [narrow, wide, other, depthwise];
    let joined = b.node_as("joined", Op::Concat { axis: 3 }, &parts, [], Some(q1)).unwrap();
    let w = int8_layer(&[6, 3, 3, 30], 5, q1, q2);
    let last = b.node_as("last", conv(1, 1), &[joined], w, Some(q2)).unwrap();
    let twice = b.node_as("twice", Op::Concat { axis: 3 }, &[last, last], [], Some(q2)).unwrap();
    let out = b.node("dequantize", Op::Dequantize, &[twice], []).unwrap();
    b.finish(&[out]).unwrap()
}

/// Squeeze-excite, a split, a shuffle, channels of zeros: `[6, 5, 3]` to `[6, 5, 14]`.
pub(crate) fn int8_channels_network() -> Graph {
    let q = |scale, zero_point| QuantParams { scale, zero_point };
    let (q0, q1, q2, gate) = (q(1.0 / 127.0, 0), q(0.05, -20), q(0.04, 3), q(1.0 / 256.0, -128));
    let mut b = GraphBuilder::new("channels", Layout::Nhwc);
    let x = b.input("input", [1, 6, 5, 3]);
    let x = b.node_as("quantize", Op::Quantize, &[x], [], Some(q0)).unwrap();
    let conv =
        |padding| Op::Conv2d { stride: [1; 2], padding: [padding; 4], dilation: [1; 2], groups: 1 };
    let w = int8_layer(&[10, 3, 3, 3], 1, q0, q1);
    let x = b.node_as("conv1", conv(1), &[x], w, Some(q1)).unwrap();
    let mean = b.node_as("squeeze", Op::GlobalAvgPool, &[x], [], Some(q2)).unwrap();
    let w = int8_layer(&[10, 1, 1, 10], 2, q2, q1);
    let sums = b.node_as("excite", conv(0), &[mean], w, Some(q1)).unwrap();
    let table: Vec<i8> = (-128..=127).collect();
    let table = [("table", Tensor::from_i8([256], &table))];
    let sigmoid = Op::Activation { function: Activation::HardSigmoid };
    let factors = b.node_as("gate", sigmoid, &[sums], table, Some(gate)).unwrap();
    let x = b.node_as("scale", Op::Mul, &[x, factors], [], Some(q2)).unwrap();
    let half = |start| Op::Slice { axis: 3, start, end: start + 5 };
    let left = b.node_as("left", half(0), &[x], [], Some(q2)).unwrap();
    let right = b.node_as("right", half(5), &[x], [], Some(q2)).unwrap();
    let square = b.node_as("square", Op::Mul, &[right, right], [], Some(q1)).unwrap();
    let x = b.node_as("joined", Op::Concat { axis: 3 }, &[left, square], [], Some(q2)).unwrap();
    let shuffle = Op::ChannelShuffle { groups: 2 };
    let x = b.node_as("shuffle", shuffle, &[x], [], Some(q2)).unwrap();
    let pad = Op::PadChannels { before: 1, after: 3 };
    let x = b.node_as("pad", pad, &[x], [], Some(q2)).unwrap();
    let out = b.node("dequantize", Op::Dequantize, &[x], []).unwrap();
    b.finish(&[out]).unwrap()
}

/// Real numbers below 1.28 in magnitude.
fn reals(shape: &[usize], seed: usize) -> Tensor {
    let data: Vec<f32> = weights(shape, seed).iter().map(|&w| f32::from(w) / 100.0).collect();
    Tensor::from_f32(Shape::from(shape), &data)
}

/// A transformer's layer over the pixels of an image, some of them left out as padding: linear
/// layers in int8, the rest in f32.
pub(crate) fn int8_transformer() -> Graph {
    let q = |scale, zero_point| QuantParams { scale, zero_point };
    let (q0, q1, q2) = (q(1.0 / 127.0, 0), q(0.05, -20), q(0.04, 3));
    let mut b = GraphBuilder::new("transformer", Layout::Nhwc);
    let x = b.input("input", [1, 6, 5, 3]);
    let x = b.node_as("quantize", Op::Quantize, &[x], [], Some(q0)).unwrap();
    let conv = Op::Conv2d { stride: [1, 1], padding: [0; 4], dilation: [1, 1], groups: 1 };
    let w = int8_layer(&[1, 1, 1, 3], 6, q0, q1);
    let ids = b.node_as("presence", conv.clone(), &[x], w, Some(q1)).unwrap();
    b.fuse(Some(Activation::Relu));
    let ids = b.node("ids", Op::Dequantize, &[ids], []).unwrap();
    let ids = b.node("row", Op::Reshape { shape: vec![1, 30] }, &[ids], []).unwrap();
    let w = int8_layer(&[6, 1, 1, 3], 7, q0, q1);
    let x = b.node_as("patch", conv, &[x], w, Some(q1)).unwrap();
    let x = b.node_as("tokens", Op::Tokens, &[x], [], Some(q1)).unwrap();
    let x = b.node("real", Op::Dequantize, &[x], []).unwrap();
    let stem =
        b.node("position", Op::AddPosition, &[x], [("weight", reals(&[1, 30, 6], 8))]).unwrap();
    let norm = [("weight", reals(&[6], 9)), ("bias", reals(&[6], 10))];
    let x = b.node("norm", Op::LayerNorm { eps: 1e-5 }, &[stem], norm).unwrap();
    let x = b.node_as("normed", Op::Quantize, &[x], [], Some(q2)).unwrap();
    let w = int8_layer(&[18, 6], 11, q2, q1);
    let x = b.node_as("qkv", Op::Linear, &[x], w, Some(q1)).unwrap();
    let x = b.node("qkv.real", Op::Dequantize, &[x], []).unwrap();
    let x = b.node("attention", Op::Attention { heads: 2 }, &[x, ids], []).unwrap();
    let x = b.node("sum", Op::Add, &[x, stem], []).unwrap();
    let gelu = Op::Activation { function: Activation::Gelu };
    let x = b.node("gelu", gelu, &[x], []).unwrap();
    let x = b.node("everything", Op::Attention { heads: 1 }, &[x], []).unwrap();
    let all = b.node("mean", Op::MeanTokens, &[x], []).unwrap();
    let some = b.node("masked mean", Op::MeanTokens, &[x, ids], []).unwrap();
    let x = b.node("means", Op::Concat { axis: 1 }, &[all, some], []).unwrap();
    let x = b.node_as("last", Op::Quantize, &[x], [], Some(q2)).unwrap();
    let w = int8_layer(&[5, 4], 12, q2, q1);
    let x = b.node_as("fc", Op::Linear, &[x], w, Some(q1)).unwrap();
    let x = b.node("out", Op::Dequantize, &[x], []).unwrap();
    b.finish(&[x]).unwrap()
}

/// An image that is large enough for several threads, `[40, 40, 16]`.
pub(crate) fn wide_sample() -> Vec<f32> {
    (0..40 * 40 * 16).map(|i| ((i * 7919) % 211) as f32 / 105.0 - 1.0).collect()
}

/// Convolutions whose rows several threads divide: 3×3 over 16 channels, depthwise with a stride.
pub(crate) fn wide_int8_network() -> Graph {
    let q = |scale, zero_point| QuantParams { scale, zero_point };
    let (q0, q1, q2) = (q(1.0 / 127.0, 0), q(0.05, -20), q(0.04, 3));
    let mut b = GraphBuilder::new("wide", Layout::Nhwc);
    let x = b.input("input", [1, 40, 40, 16]);
    let x = b.node_as("quantize", Op::Quantize, &[x], [], Some(q0)).unwrap();
    let conv = |stride, groups| Op::Conv2d {
        stride: [stride; 2],
        padding: [1; 4],
        dilation: [1, 1],
        groups,
    };
    let w = int8_layer(&[24, 3, 3, 16], 1, q0, q1);
    let x = b.node_as("conv", conv(1, 1), &[x], w, Some(q1)).unwrap();
    b.fuse(Some(Activation::Relu));
    let w = int8_layer(&[24, 3, 3, 1], 2, q1, q2);
    let x = b.node_as("depthwise", conv(2, 24), &[x], w, Some(q2)).unwrap();
    let w = int8_layer(&[10, 3, 3, 24], 3, q2, q1);
    let x = b.node_as("last", conv(1, 1), &[x], w, Some(q1)).unwrap();
    let out = b.node("dequantize", Op::Dequantize, &[x], []).unwrap();
    b.finish(&[out]).unwrap()
}

/// Convolution, unfolded batch norm, global pool, linear, in PyTorch's layout.
pub(crate) fn float_network() -> Graph {
    let numbers = |shape: &[usize], seed| {
        let data: Vec<f32> = weights(shape, seed).iter().map(|&w| f32::from(w) / 200.0).collect();
        Tensor::from_f32(Shape::from(shape), &data)
    };
    let mut b = GraphBuilder::new("float", Layout::Nchw);
    let x = b.input("input", [1, 3, 6, 5]);
    let op = Op::Conv2d { stride: [2, 1], padding: [1; 4], dilation: [1, 1], groups: 1 };
    let c = b.node("conv", op, &[x], [("weight", numbers(&[4, 3, 3, 3], 5))]).unwrap();
    let ones = Tensor::from_f32([4], &[1.0, 2.0, 0.5, 1.5]);
    let norm = [
        ("weight", numbers(&[4], 6)),
        ("bias", numbers(&[4], 7)),
        ("running_mean", numbers(&[4], 8)),
        ("running_var", ones),
    ];
    let n = b.node("bn", Op::BatchNorm { eps: 1e-5 }, &[c], norm).unwrap();
    let r = b.node("relu", Op::Activation { function: Activation::Relu }, &[n], []).unwrap();
    let g = b.node("pool", Op::GlobalAvgPool, &[r], []).unwrap();
    let f = b.node("flatten", Op::Flatten, &[g], []).unwrap();
    let w = [("weight", numbers(&[5, 4], 9)), ("bias", numbers(&[5], 10))];
    let out = b.node("fc", Op::Linear, &[f], w).unwrap();
    b.finish(&[out]).unwrap()
}

/// A 3×3 convolution of `[12, 12, 16]` that is worth Winograd's transforms.
pub(crate) fn winograd_network() -> Graph {
    let scale = |w: &i8| f32::from(*w) / 1000.0;
    let weight: Vec<f32> = weights(&[16, 3, 3, 16], 12).iter().map(scale).collect();
    let mut b = GraphBuilder::new("winograd", Layout::Nhwc);
    let x = b.input("input", [1, 12, 12, 16]);
    let op = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1 };
    let weight = [("weight", Tensor::from_f32([16, 3, 3, 16], &weight))];
    let y = b.node("conv", op, &[x], weight).unwrap();
    b.finish(&[y]).unwrap()
}
