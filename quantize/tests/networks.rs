//! Whole networks: float against int8 and f16, on every instruction set.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use common::{Numbers, conv, inputs, outputs, relative_error};
use hipflask_quantize::{Calibrator, Error, Method, prepare, to_f16, to_int8, to_weight_only};
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, LoadLimits, Op, ValueId};
use hipflask_runtime::groups::Groups;
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{DType, Model, Options, Session, Tensor, View};

fn norm(b: &mut GraphBuilder, n: &mut Numbers, name: &str, x: ValueId, channels: usize) -> ValueId {
    let positive: Vec<f32> = (0..channels).map(|_| 0.5 + n.next().abs()).collect();
    let weights = [
        ("weight", n.tensor(&[channels], 1.0)),
        ("bias", n.tensor(&[channels], 0.5)),
        ("running_mean", n.tensor(&[channels], 0.3)),
        ("running_var", Tensor::from_f32([channels], &positive)),
    ];
    b.node(name, Op::BatchNorm { eps: 1e-5 }, &[x], weights).unwrap()
}

fn act(b: &mut GraphBuilder, name: &str, x: ValueId, function: Activation) -> ValueId {
    b.node(name, Op::Activation { function }, &[x], []).unwrap()
}

/// Convolutions of all kinds, residual, concat, pools, pad, flatten with several pixels, softmax.
fn network() -> Graph {
    let mut n = Numbers(7);
    let mut b = GraphBuilder::new("everything", Layout::Nchw);
    let x = b.input("input", [1, 3, 12, 10]);
    let w = n.tensor(&[8, 3, 3, 3], 0.4);
    let c1 = b.node("conv1", conv(1, 1, 1), &[x], [("weight", w)]).unwrap();
    let c1 = norm(&mut b, &mut n, "bn1", c1, 8);
    let c1 = act(&mut b, "relu1", c1, Activation::Relu);
    let w = n.tensor(&[8, 1, 3, 3], 0.6);
    let dw = b.node("depthwise", conv(1, 1, 8), &[c1], [("weight", w)]).unwrap();
    let dw = norm(&mut b, &mut n, "bn2", dw, 8);
    let dw = act(&mut b, "hswish", dw, Activation::HardSwish);
    let w = [("weight", n.tensor(&[8, 4, 1, 1], 0.5)), ("bias", n.tensor(&[8], 0.2))];
    let grouped = b.node("grouped", conv(1, 0, 2), &[dw], w).unwrap();
    let sum = b.node("add", Op::Add, &[grouped, c1], []).unwrap();
    let sum = act(&mut b, "relu6", sum, Activation::Relu6);
    let pooled = Op::MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1; 4] };
    let a = b.node("maxpool", pooled, &[sum], []).unwrap();
    let pooled =
        Op::AvgPool2d { kernel: [3, 3], stride: [2, 2], padding: [1; 4], count_include_pad: false };
    let c = b.node("avgpool", pooled, &[sum], []).unwrap();
    let joined = b.node("concat", Op::Concat { axis: 1 }, &[a, c], []).unwrap();
    let padded = b.node("pad", Op::Pad { padding: [0, 1, 1, 0] }, &[joined], []).unwrap();
    let w = n.tensor(&[6, 16, 3, 3], 0.2);
    let c3 = b.node("conv3", conv(2, 0, 1), &[padded], [("weight", w)]).unwrap();
    let c3 = act(&mut b, "tanh", c3, Activation::Tanh);
    let [h, wd, _] = b.image(c3).unwrap();
    let flat = b.node("flatten", Op::Flatten, &[c3], []).unwrap();
    let w = [("weight", n.tensor(&[5, 6 * h * wd], 0.3)), ("bias", n.tensor(&[5], 0.3))];
    let out = b.node("fc", Op::Linear, &[flat], w).unwrap();
    b.finish(&[out]).unwrap()
}

fn int8(graph: &Graph, method: Method, samples: &[Vec<f32>]) -> Graph {
    let prepared = prepare(graph).unwrap();
    let mut calibrator = Calibrator::new(&prepared, method).unwrap();
    for sample in samples {
        calibrator.observe(sample).unwrap();
    }
    to_int8(&prepared, &calibrator.finish().unwrap()).unwrap()
}

#[test]
fn folding_batch_norm_changes_nothing_but_rounding() {
    let graph = network();
    let samples = inputs(20, 360);
    let prepared = prepare(&graph).unwrap();
    assert!(!prepared.nodes.iter().any(|n| matches!(n.op, Op::BatchNorm { .. })));
    for isa in Isa::available() {
        let error =
            relative_error(&outputs(&prepared, isa, &samples), &outputs(&graph, isa, &samples));
        assert!(error < 1e-5, "{isa}: {error}");
    }
}

#[test]
fn a_batch_norm_before_its_convolution_runs_in_int8_too() {
    let mut n = Numbers(3);
    let mut b = GraphBuilder::new("pre-activation", Layout::Nchw);
    let x = b.input("input", [1, 5, 8, 9]);
    let y = norm(&mut b, &mut n, "bn", x, 5);
    let y = act(&mut b, "relu", y, Activation::Relu);
    let w = [("weight", n.tensor(&[6, 5, 3, 3], 0.4))];
    let y = b.node("conv", conv(1, 1, 1), &[y], w).unwrap();
    let y = b.node("pool", Op::GlobalAvgPool, &[y], []).unwrap();
    let y = b.node("flatten", Op::Flatten, &[y], []).unwrap();
    let graph = b.finish(&[y]).unwrap();
    let samples = inputs(40, 360);
    let wanted = outputs(&graph, Isa::Scalar, &samples);
    let prepared = prepare(&graph).unwrap();
    let error = relative_error(&outputs(&prepared, Isa::Scalar, &samples), &wanted);
    assert!(error < 1e-5, "{error}");
    let quantized = int8(&graph, Method::MinMax, &samples);
    let names: Vec<&str> = quantized.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["input.quantize", "bn", "conv", "pool", "flatten", "flatten.dequantize"]);
    let error = relative_error(&outputs(&quantized, Isa::Scalar, &samples), &wanted);
    assert!(error < 0.03, "{error}");
}

#[test]
fn squeeze_excite_splits_and_shuffles_are_close_to_float() {
    let mut n = Numbers(5);
    let mut b = GraphBuilder::new("channels", Layout::Nchw);
    let x = b.input("input", [1, 3, 12, 10]);
    let w = [("weight", n.tensor(&[8, 3, 3, 3], 0.4))];
    let x = b.node("conv", conv(1, 1, 1), &[x], w).unwrap();
    let x = act(&mut b, "relu", x, Activation::Relu);
    let mean = b.node("squeeze", Op::GlobalAvgPool, &[x], []).unwrap();
    let w = [("weight", n.tensor(&[8, 8, 1, 1], 1.0))];
    let gate = b.node("excite", conv(1, 0, 1), &[mean], w).unwrap();
    let gate = act(&mut b, "gate", gate, Activation::HardSigmoid);
    let x = b.node("mul", Op::Mul, &[x, gate], []).unwrap();
    let left = b.node("left", Op::Slice { axis: 1, start: 0, end: 4 }, &[x], []).unwrap();
    let right = b.node("right", Op::Slice { axis: 1, start: 4, end: 8 }, &[x], []).unwrap();
    let w = [("weight", n.tensor(&[4, 4, 1, 1], 0.6))];
    let right = b.node("branch", conv(1, 0, 1), &[right], w).unwrap();
    let x = b.node("concat", Op::Concat { axis: 1 }, &[left, right], []).unwrap();
    let x = b.node("shuffle", Op::ChannelShuffle { groups: 2 }, &[x], []).unwrap();
    let x = b.node("pad", Op::PadChannels { before: 1, after: 2 }, &[x], []).unwrap();
    let w = [("weight", n.tensor(&[5, 11, 3, 3], 0.3))];
    let x = b.node("last", conv(2, 1, 1), &[x], w).unwrap();
    let x = b.node("pool", Op::GlobalAvgPool, &[x], []).unwrap();
    let out = b.node("flatten", Op::Flatten, &[x], []).unwrap();
    let graph = b.finish(&[out]).unwrap();
    let samples = inputs(60, 360);
    let quantized = int8(&graph, Method::MinMax, &samples);
    let error = relative_error(
        &outputs(&quantized, Isa::Scalar, &samples),
        &outputs(&graph, Isa::Scalar, &samples),
    );
    // Eight int8 layers, as above.
    assert!(error < 0.05, "{error}");
}

#[test]
fn int8_is_close_to_float_with_every_method_and_f16_closer() {
    let graph = network();
    let samples = inputs(200, 360);
    let wanted = outputs(&graph, Isa::Scalar, &samples);
    for (name, method) in Method::ALL {
        let quantized = int8(&graph, method, &samples[..100]);
        let error = relative_error(&outputs(&quantized, Isa::Scalar, &samples), &wanted);
        // Ten int8 layers of 8 bits each: about 1 % is what their rounding adds up to.
        assert!(error < 0.05, "{name}: {error}");
    }
    let half = to_f16(&graph).unwrap();
    let error = relative_error(&outputs(&half, Isa::Scalar, &samples), &wanted);
    assert!(error > 0.0 && error < 1e-3, "{error}");
}

/// Texts and a perceptron behind them: an embedding, and linear layers large and small.
fn texts() -> Graph {
    let mut n = Numbers(11);
    let mut b = GraphBuilder::new("texts", Layout::Nchw);
    let ids = b.input("ids", [1, 12]);
    let x = b.node("embedding", Op::Embedding, &[ids], [("weight", n.tensor(&[30, 60], 1.0))]);
    let w = [("weight", n.tensor(&[90, 60], 0.3)), ("bias", n.tensor(&[90], 0.5))];
    let x = b.node("fc1", Op::Linear, &[x.unwrap()], w).unwrap();
    let x = act(&mut b, "relu", x, Activation::Relu);
    let w = [("weight", n.tensor(&[65, 90], 0.2)), ("bias", n.tensor(&[65], 0.5))];
    let x = b.node("fc2", Op::Linear, &[x], w).unwrap();
    let x = act(&mut b, "gelu", x, Activation::Gelu);
    let x = b.node("mean", Op::MeanTokens, &[x, ids], []).unwrap();
    let w = [("weight", n.tensor(&[40, 65], 0.3)), ("bias", n.tensor(&[40], 0.3))];
    let x = b.node("odd", Op::Linear, &[x], w).unwrap();
    let w = [("weight", n.tensor(&[3, 40], 0.3)), ("bias", n.tensor(&[3], 0.3))];
    let x = b.node("last", Op::Linear, &[x], w).unwrap();
    b.finish(&[x]).unwrap()
}

fn ids(count: usize) -> Vec<Vec<f32>> {
    let id = |text: usize, at: usize| ((7 * text + 3 * at * at) % 30) as f32;
    (0..count).map(|text| (0..12).map(|at| id(text, at)).collect()).collect()
}

#[test]
fn large_matrices_are_kept_in_groups_and_others_in_half_precision() {
    let graph = texts();
    let samples = ids(40);
    let wanted = outputs(&graph, Isa::Scalar, &samples);
    let mut errors = Vec::new();
    for (bits, size) in [(8, 32), (8, 128), (4, 32), (4, 64)] {
        let groups = Groups { bits, size };
        let quantized = to_weight_only(&graph, groups).unwrap();
        let dtype = |name: &str| {
            let node = quantized.nodes.iter().find(|node| node.name == name).unwrap();
            (node.op.groups(), quantized.weight(node, "weight").unwrap().dtype())
        };
        for name in ["embedding", "fc1", "fc2"] {
            assert_eq!(dtype(name), (Some(groups), groups.dtype()), "{name}");
        }
        // 65 inputs are no pairs; 120 weights are few.
        let odd = if bits == 4 { (None, DType::F16) } else { (Some(groups), DType::I8) };
        assert_eq!((dtype("odd"), dtype("last")), (odd, (None, DType::F16)));
        let found = outputs(&quantized, Isa::Scalar, &samples);
        errors.push(relative_error(&found, &wanted));
        for isa in Isa::available() {
            let error = relative_error(&outputs(&quantized, isa, &samples), &found);
            // But for the layers in half precision.
            assert!(error < 1e-6, "{isa}: {error}");
        }
    }
    // Of uniform weights in [-1, 1], steps of 2/255 and 2/15 are errors of 0.4 and 6.7 % in root
    // mean square: 0.8 % of four layers, 11.5 % of three, more or less, for there are few outputs.
    assert!(errors[..2].iter().all(|error| (0.001..0.015).contains(error)), "{errors:?}");
    assert!(errors[2..].iter().all(|error| (0.03..0.2).contains(error)), "{errors:?}");
}

#[test]
fn groups_of_other_sizes_and_weights_that_are_no_numbers_are_refused() {
    let error = to_weight_only(&texts(), Groups { bits: 5, size: 32 }).unwrap_err();
    assert!(error.to_string().starts_with("5 bits in groups of 32: "), "{error}");
    for (value, found) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (1e8, "100000000")] {
        let mut graph = texts();
        let weight = graph.tensors.get_mut("fc1.weight").unwrap();
        let mut values = weight.f32s().unwrap().into_owned();
        values[77] = value;
        *weight = Tensor::from_f32([90, 60], &values);
        let error = to_weight_only(&graph, Groups { bits: 4, size: 32 }).unwrap_err();
        // What is no number is refused whatever the format is.
        let wanted = format!("tensor \"fc1.weight\": holds {found}, which ");
        assert!(error.to_string().starts_with(&wanted), "{error}");
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let graph = network();
    let samples = inputs(50, 360);
    let quantized = int8(&graph, Method::Mse, &samples);
    let wanted = outputs(&quantized, Isa::Scalar, &samples);
    for isa in Isa::available() {
        assert_eq!(outputs(&quantized, isa, &samples), wanted, "{isa}");
    }
    #[cfg(target_arch = "x86_64")]
    assert_eq!(
        Isa::available().any(|isa| isa == Isa::Avx2),
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        "a path that is skipped is no proof"
    );
}

#[test]
fn a_file_survives_the_round_trip_to_the_byte() {
    use hipflask_runtime::format::{Card, ModelFile};
    let samples = inputs(20, 360);
    let groups = [4, 8].map(|bits| to_weight_only(&texts(), Groups { bits, size: 32 }).unwrap());
    let others = [network(), int8(&network(), Method::Mse, &samples), to_f16(&network()).unwrap()];
    for graph in others.into_iter().chain(groups) {
        let file = ModelFile { graph, preprocess: None, card: Card::default() };
        let bytes = file.to_bytes();
        let read = ModelFile::from_bytes(&bytes, &LoadLimits::default()).unwrap();
        assert!(read == file);
        assert_eq!(read.to_bytes(), bytes);
    }
}

#[test]
fn calibration_without_samples_and_with_broken_ones_is_refused() {
    let prepared = prepare(&network()).unwrap();
    let calibrator = Calibrator::new(&prepared, Method::Mse).unwrap();
    assert!(matches!(calibrator.finish(), Err(Error::NoSamples)));
    let mut calibrator = Calibrator::new(&prepared, Method::Mse).unwrap();
    assert!(matches!(calibrator.observe(&[0.0; 3]), Err(Error::SampleSize { got: 3, .. })));
    let error = calibrator.observe(&[f32::NAN; 360]).unwrap_err();
    assert!(error.to_string().contains("\"input\""), "{error}");
}

#[test]
fn a_session_sees_every_value_of_the_graph() {
    let prepared = prepare(&network()).unwrap();
    let model = Model::from_graph(prepared.clone()).unwrap();
    let mut session = Session::new(&model, &Options::default()).unwrap();
    let mut seen = vec![0; prepared.values.len()];
    let input = &inputs(1, 360)[0];
    session.run_observed(&[View::F32(input)], &mut |id, _| seen[id.0] += 1).unwrap();
    assert!(seen.iter().all(|&n| n == 1), "{seen:?}");
}
