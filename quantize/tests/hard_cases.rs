//! Networks and samples that quantization usually fails on.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use common::{Numbers, conv, inputs, outputs, relative_error};
use hipflask_quantize::recover::{Ladder, Next, equalize};
use hipflask_quantize::{Calibration, Error, Method, calibrate, prepare, to_f16, to_int8};
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op, ValueId};
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Tensor};

fn relu(b: &mut GraphBuilder, name: &str, x: ValueId, function: Activation) -> ValueId {
    b.node(name, Op::Activation { function }, &[x], []).unwrap()
}

fn calibrated(graph: &Graph, method: Method, samples: &[Vec<f32>]) -> Calibration {
    calibrate(graph, method, &samples, &samples).unwrap()
}

/// Relative error of the int8 form of a prepared graph on `samples`.
fn int8_error(graph: &Graph, calibration: &Calibration, samples: &[Vec<f32>]) -> f32 {
    let int8 = to_int8(graph, calibration).unwrap();
    let wanted = outputs(graph, Isa::best(), samples);
    relative_error(&outputs(&int8, Isa::best(), samples), &wanted)
}

/// A depthwise layer whose channels differ by 1000:1, before one that makes up for it, so that each
/// channel has the same say in the answer.
fn uneven(function: Activation) -> Graph {
    let (mut n, channels) = (Numbers(5), 16_usize);
    let gain = |c: usize| 1000_f32.powf(-(c as f32) / (channels - 1) as f32);
    let scaled = |values: &Tensor, gain: &dyn Fn(usize) -> f32| {
        let scaled: Vec<f32> =
            values.f32s().unwrap().iter().enumerate().map(|(i, v)| v * gain(i)).collect();
        Tensor::from_f32(values.shape().clone(), &scaled)
    };
    let mut b = GraphBuilder::new("uneven", Layout::Nchw);
    let x = b.input("input", [1, 3, 10, 10]);
    let w = [("weight", n.tensor(&[channels, 3, 1, 1], 0.6)), ("bias", n.tensor(&[channels], 0.2))];
    let x = b.node("expand", conv(1, 0, 1), &[x], w).unwrap();
    let x = relu(&mut b, "relu1", x, function);
    let w = scaled(&n.tensor(&[channels, 1, 3, 3], 1.0), &|i| gain(i / 9));
    let bias = scaled(&n.tensor(&[channels], 0.3), &gain);
    let x =
        b.node("depthwise", conv(1, 1, channels), &[x], [("weight", w), ("bias", bias)]).unwrap();
    let x = relu(&mut b, "relu2", x, function);
    let w = scaled(&n.tensor(&[12, channels, 1, 1], 0.5), &|i| 1.0 / gain(i % channels));
    let x = b.node("project", conv(1, 0, 1), &[x], [("weight", w)]).unwrap();
    let x = b.node("pool", Op::GlobalAvgPool, &[x], []).unwrap();
    let x = b.node("flatten", Op::Flatten, &[x], []).unwrap();
    let w = [("weight", n.tensor(&[5, 12], 0.5)), ("bias", n.tensor(&[5], 0.1))];
    let x = b.node("fc", Op::Linear, &[x], w).unwrap();
    b.finish(&[x]).unwrap()
}

#[test]
fn equalization_recovers_a_depthwise_layer_with_ranges_of_a_thousand_to_one() {
    for function in [Activation::Relu, Activation::Relu6] {
        let graph = prepare(&uneven(function)).unwrap();
        let samples = inputs(64, 300);
        let plain = int8_error(&graph, &calibrated(&graph, Method::Mse, &samples), &samples);
        let equalized = equalize(&graph, &samples, &|| true).unwrap();
        let names: Vec<_> = equalized.pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(names, [("expand", "depthwise"), ("depthwise", "project"), ("project", "fc")]);
        let graph = equalized.graph;
        let error = int8_error(&graph, &calibrated(&graph, Method::Mse, &samples), &samples);
        // A simulation in numpy gives 0.324 and 0.0087: channels below a 255th of the largest are
        // rounded away.
        assert!(plain > 0.05 && error < 0.015, "{function:?}: {plain} became {error}");
    }
}

#[test]
fn equalization_changes_nothing_but_rounding() {
    for function in [Activation::Relu, Activation::Relu6] {
        let graph = prepare(&uneven(function)).unwrap();
        // Relu6 is reached by these: such channels keep their scale.
        let samples: Vec<Vec<f32>> =
            inputs(64, 300).into_iter().map(|s| s.iter().map(|v| v * 8.0).collect()).collect();
        let equalized = equalize(&graph, &samples, &|| true).unwrap();
        assert!(!equalized.pairs.is_empty());
        let wanted = outputs(&graph, Isa::best(), &samples);
        let error = relative_error(&outputs(&equalized.graph, Isa::best(), &samples), &wanted);
        assert!(error < 1e-5, "{function:?}: {error}");
    }
}

/// One linear layer of 1000 inputs, with a softmax or without.
fn wide(softmax: bool) -> Graph {
    let mut n = Numbers(11);
    let mut b = GraphBuilder::new("wide", Layout::Nhwc);
    let x = b.input("input", [1, 1000]);
    let w = [("weight", n.tensor(&[4, 1000], 0.1)), ("bias", n.tensor(&[4], 0.1))];
    let mut x = b.node("fc", Op::Linear, &[x], w).unwrap();
    if softmax {
        x = b.node("softmax", Op::Softmax, &[x], []).unwrap();
    }
    b.finish(&[x]).unwrap()
}

#[test]
fn outliers_spoil_min_max_more_than_percentile_mse_entropy_and_auto() {
    let graph = prepare(&wide(false)).unwrap();
    // So many that covering the outlier costs more than cutting it off, for MSE too.
    let ordinary = inputs(1500, 1000);
    let mut samples = ordinary.clone();
    samples[7][3] = 8.0;
    let error = |method| {
        let calibration = calibrate(&graph, method, &samples, &ordinary).unwrap();
        int8_error(&graph, &calibration, &ordinary)
    };
    let min_max = error(Method::MinMax);
    for method in [Method::Percentile, Method::Entropy, Method::Mse, Method::Auto] {
        let found = error(method);
        assert!(found < 0.65 * min_max, "{method:?}: {found}, min-max {min_max}");
    }
}

#[test]
fn auto_takes_the_method_that_errs_least_on_held_samples() {
    let graph = prepare(&wide(false)).unwrap();
    let mut samples = inputs(50, 1000);
    samples[7][3] = 40.0;
    // Held samples without the outlier want it cut off, others want it covered.
    let quiet = inputs(20, 1000);
    let loud: Vec<Vec<f32>> = quiet.iter().map(|s| s.iter().map(|v| v * 40.0).collect()).collect();
    let [of_quiet, of_loud] = [&quiet, &loud].map(|held| {
        let auto = calibrate(&graph, Method::Auto, &samples, held).unwrap();
        // No other method errs less on the held input.
        let squares = |range: hipflask_quantize::Range| -> f64 {
            let q = hipflask_runtime::quant::QuantParams::from_range(range.min, range.max);
            let error = |&v: &f32| f64::from(v - q.dequantize(q.quantize(v))).powi(2);
            held.iter().flatten().map(error).sum()
        };
        let least = Method::Auto
            .candidates()
            .into_iter()
            .map(|method| squares(calibrate(&graph, method, &samples, held).unwrap().ranges[0]));
        let least = least.fold(f64::INFINITY, f64::min);
        assert!((squares(auto.ranges[0]) - least).abs() <= 1e-9 * least);
        auto
    });
    assert!(of_quiet.ranges[0].max < 2.0 && of_loud.ranges[0].max > 30.0);
}

#[test]
fn logits_are_never_clipped() {
    for softmax in [false, true] {
        let graph = prepare(&wide(softmax)).unwrap();
        let logits = graph.nodes[0].output;
        // A lone large logit: the inputs of one sample in 200 all add up.
        let weights = graph.f32s(&graph.nodes[0], "weight").unwrap();
        let small = |s: Vec<f32>| s.iter().map(|v| v * 0.1).collect();
        let mut samples: Vec<Vec<f32>> = inputs(200, 1000).into_iter().map(small).collect();
        samples[100] = weights[..1000].iter().map(|w| w.signum()).collect();
        let sum: f32 = weights[..1000].iter().map(|w| w.abs()).sum();
        let largest = sum + graph.f32s(&graph.nodes[0], "bias").unwrap()[0];
        for (name, method) in Method::ALL {
            let range = calibrate(&graph, method, &samples, &samples).unwrap().ranges[logits.0];
            assert!((range.max - largest).abs() < 1e-4 * largest, "{name}: {range:?}, {largest}");
        }
    }
}

/// A convolution with a channel that is always 0, one whose weights are all 0, a layer of zeros, and a
/// constant activation.
fn dead() -> Graph {
    let mut n = Numbers(21);
    let mut b = GraphBuilder::new("dead", Layout::Nchw);
    let x = b.input("input", [1, 2, 6, 6]);
    let mut weights = n.tensor(&[6, 2, 3, 3], 0.5).f32s().unwrap().into_owned();
    weights[18..36].fill(0.0);
    let bias = [0.1, 0.4, -100.0, 0.0, 0.2, 0.0];
    let w = [
        ("weight", Tensor::from_f32([6, 2, 3, 3], &weights)),
        ("bias", Tensor::from_f32([6], &bias)),
    ];
    let x = b.node("conv", conv(1, 1, 1), &[x], w).unwrap();
    let x = relu(&mut b, "relu", x, Activation::Relu);
    let zeros = [("weight", Tensor::from_f32([6, 6, 1, 1], &[0.0; 36]))];
    let nothing = b.node("nothing", conv(1, 0, 1), &[x], zeros).unwrap();
    let constant = [
        ("weight", Tensor::from_f32([6, 6, 1, 1], &[0.0; 36])),
        ("bias", Tensor::from_f32([6], &[2.5; 6])),
    ];
    let constant = b.node("constant", conv(1, 0, 1), &[x], constant).unwrap();
    let x = b.node("add", Op::Add, &[x, nothing], []).unwrap();
    let x = b.node("plus", Op::Add, &[x, constant], []).unwrap();
    let w = [("weight", n.tensor(&[8, 6, 1, 1], 0.5))];
    let x = b.node("mix", conv(1, 0, 1), &[x], w).unwrap();
    let x = relu(&mut b, "relu8", x, Activation::Relu);
    let x = b.node("pool", Op::GlobalAvgPool, &[x], []).unwrap();
    let x = b.node("flatten", Op::Flatten, &[x], []).unwrap();
    let w = [("weight", n.tensor(&[4, 8], 0.5)), ("bias", n.tensor(&[4], 0.1))];
    let x = b.node("fc", Op::Linear, &[x], w).unwrap();
    b.finish(&[x]).unwrap()
}

/// Every candidate of the ladder: a valid graph whose answers are near the float ones.
fn climb(graph: &Graph, samples: &[Vec<f32>], most: f32) -> usize {
    let graph = prepare(graph).unwrap();
    let wanted = outputs(&graph, Isa::best(), samples);
    let mut ladder = Ladder::new(&graph, Method::Mse, &samples, &samples, &|| true).unwrap();
    let mut candidates = 0;
    loop {
        match ladder.climb().unwrap() {
            Next::Candidate(candidate) => {
                Model::from_graph(candidate.int8.clone()).unwrap();
                let found = outputs(&candidate.int8, Isa::best(), samples);
                let error = relative_error(&found, &wanted);
                assert!(error < most, "{:?}, {}: {error}", candidate.rung, candidate.note);
                ladder.adopt(&candidate);
                candidates += 1;
            }
            Next::Skipped(..) => {}
            Next::Done => return candidates,
        }
    }
}

#[test]
fn dead_channels_zero_weights_and_constant_activations_pass_every_rung() {
    assert!(climb(&dead(), &inputs(40, 72), 0.05) > 5);
}

#[test]
fn one_calibration_image_is_enough_for_every_rung() {
    for (name, method) in Method::ALL {
        let graph = prepare(&dead()).unwrap();
        let one = inputs(1, 72);
        let error = int8_error(&graph, &calibrated(&graph, method, &one), &one);
        assert!(error < 0.05, "{name}: {error}");
    }
    assert!(climb(&dead(), &inputs(1, 72), 0.05) > 5);
}

#[test]
fn a_network_that_always_answers_zero_stays_one() {
    let mut b = GraphBuilder::new("zero", Layout::Nchw);
    let x = b.input("input", [1, 4]);
    let w = [("weight", Tensor::from_f32([3, 4], &[0.0; 12]))];
    let x = b.node("fc", Op::Linear, &[x], w).unwrap();
    let graph = b.finish(&[x]).unwrap();
    let samples = inputs(5, 4);
    let prepared = prepare(&graph).unwrap();
    let int8 = to_int8(&prepared, &calibrated(&prepared, Method::Auto, &samples)).unwrap();
    assert_eq!(outputs(&int8, Isa::best(), &samples).concat(), [0.0; 15]);
}

#[test]
fn broken_weights_are_refused_with_the_tensors_name() {
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut graph = dead();
        let mut weights = graph.f32s(&graph.nodes[0], "weight").unwrap().into_owned();
        weights[20] = broken;
        graph.tensors.insert("conv.weight".into(), Tensor::from_f32([6, 2, 3, 3], &weights));
        for error in [prepare(&graph).unwrap_err(), to_f16(&graph).unwrap_err()] {
            assert!(matches!(error, Error::Weight { .. }), "{error}");
            assert!(error.to_string().contains("\"conv.weight\""), "{error}");
        }
    }
}

#[test]
fn a_batch_norm_of_negative_variance_is_refused_with_the_weights_it_would_make() {
    let mut b = GraphBuilder::new("norm", Layout::Nchw);
    let x = b.input("input", [1, 1, 4, 4]);
    let w = [("weight", Tensor::from_f32([1, 1, 1, 1], &[1.0]))];
    let x = b.node("conv", conv(1, 0, 1), &[x], w).unwrap();
    let one = |v: f32| Tensor::from_f32([1], &[v]);
    let w = [
        ("weight", one(1.0)),
        ("bias", one(0.0)),
        ("running_mean", one(0.0)),
        ("running_var", one(-1.0)),
    ];
    let x = b.node("bn", Op::BatchNorm { eps: 1e-5 }, &[x], w).unwrap();
    let error = prepare(&b.finish(&[x]).unwrap()).unwrap_err();
    assert!(error.to_string().contains("\"conv."), "{error}");
}
