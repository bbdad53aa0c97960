//! What gets accuracy back does what it says, on the runtime's integers.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeSet;

use common::{Numbers, conv, outputs, relative_error};
use hipflask_quantize::recover::{Ladder, Next, Rung, correct_biases, round_weights, sensitivity};
use hipflask_quantize::{Error, Method, calibrate, prepare, report, to_int8, to_mixed};
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op};
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{DType, Tensor};

const ALWAYS: &dyn Fn() -> bool = &|| true;

/// A stack of layers on images that are smooth, as photographs are: neighbours are alike.
fn stack() -> (Graph, Vec<Vec<f32>>) {
    let mut n = Numbers(17);
    let mut b = GraphBuilder::new("stack", Layout::Nchw);
    let x = b.input("input", [1, 3, 8, 8]);
    let w = [("weight", n.tensor(&[8, 3, 3, 3], 0.4)), ("bias", n.tensor(&[8], 0.2))];
    let x = b.node("conv1", conv(1, 1, 1), &[x], w).unwrap();
    let x = b.node("relu1", Op::Activation { function: Activation::Relu }, &[x], []).unwrap();
    let w = [("weight", n.tensor(&[8, 1, 3, 3], 0.5))];
    let x = b.node("depthwise", conv(2, 1, 8), &[x], w).unwrap();
    let x = b.node("hswish", Op::Activation { function: Activation::HardSwish }, &[x], []).unwrap();
    let w = [("weight", n.tensor(&[12, 4, 1, 1], 0.5)), ("bias", n.tensor(&[12], 0.2))];
    let x = b.node("grouped", conv(1, 0, 2), &[x], w).unwrap();
    let x = b.node("relu2", Op::Activation { function: Activation::Relu }, &[x], []).unwrap();
    let x = b.node("flatten", Op::Flatten, &[x], []).unwrap();
    let w = [("weight", n.tensor(&[5, 192], 0.2)), ("bias", n.tensor(&[5], 0.2))];
    let x = b.node("fc", Op::Linear, &[x], w).unwrap();
    let graph = prepare(&b.finish(&[x]).unwrap()).unwrap();
    let mut n = Numbers(18);
    let samples = (0..128).map(|_| {
        let (level, slope) = (n.next(), [n.next(), n.next()]);
        let pixel = |i: usize, n: &mut Numbers| {
            let (y, x) = ((i / 24) as f32 / 8.0, (i / 3 % 8) as f32 / 8.0);
            level + slope[0] * y + slope[1] * x + 0.05 * n.next()
        };
        (0..192).map(|i| pixel(i, &mut n)).collect()
    });
    (graph, samples.collect())
}

fn int8(graph: &Graph, samples: &[Vec<f32>]) -> Graph {
    to_int8(graph, &calibrate(graph, Method::MinMax, &samples, &samples).unwrap()).unwrap()
}

/// Coarser weights, so that rounding them is what the error comes from: each in steps of a fifteenth
/// of its row's largest.
fn coarse(graph: &Graph, int8: &mut Graph) {
    for node in int8.nodes.clone() {
        if !matches!(node.op, Op::Conv2d { .. } | Op::Linear) {
            continue;
        }
        let scales = int8.f32s(&node, "scale").unwrap().into_owned();
        let scales: Vec<f32> = scales.iter().map(|s| s * 127.0 / 15.0).collect();
        let float = graph.nodes.iter().find(|n| n.name == node.name).unwrap();
        let weights = graph.f32s(float, "weight").unwrap();
        let row = weights.len() / scales.len();
        let q: Vec<i8> = weights
            .iter()
            .enumerate()
            .map(|(i, w)| (w / scales[i / row]).round_ties_even() as i8)
            .collect();
        let (x, y) =
            (int8.value(node.inputs[0]).quant.unwrap(), int8.value(node.output).quant.unwrap());
        let bias = graph.weight(float, "bias").map(|t| t.f32s().unwrap().into_owned());
        let biases: Vec<i32> = (0..scales.len())
            .map(|c| {
                let sum: i32 = q[c * row..][..row].iter().map(|&q| i32::from(q)).sum();
                let bias = bias.as_ref().map_or(0.0, |bias| bias[c]);
                (bias / (x.scale * scales[c])).round() as i32 - i32::from(x.zero_point) * sum
            })
            .collect();
        let multipliers: Vec<f32> = scales
            .iter()
            .map(|&s| hipflask_runtime::quant::multiplier(x.scale, s, y.scale))
            .collect();
        let shape = int8.tensors[&node.tensor_name("weight")].shape().clone();
        int8.tensors.insert(node.tensor_name("weight"), Tensor::from_i8(shape, &q));
        let count = scales.len();
        int8.tensors.insert(node.tensor_name("bias"), Tensor::from_i32([count], &biases));
        int8.tensors.insert(node.tensor_name("scale"), Tensor::from_f32([count], &scales));
        int8.tensors
            .insert(node.tensor_name("multiplier"), Tensor::from_f32([count], &multipliers));
    }
}

#[test]
fn rounding_by_moments_errs_less_than_the_nearest() {
    let (graph, samples) = stack();
    let wanted = outputs(&graph, Isa::best(), &samples);
    let mut made = int8(&graph, &samples);
    coarse(&graph, &mut made);
    let nearest = relative_error(&outputs(&made, Isa::best(), &samples), &wanted);
    let rows = round_weights(&graph, &mut made, &samples, ALWAYS).unwrap();
    let rounded = relative_error(&outputs(&made, Isa::best(), &samples), &wanted);
    assert!(rows > 20, "{rows}");
    assert!(rounded < 0.8 * nearest, "{nearest} became {rounded}");
    // And at 127 steps, where there is less to gain.
    let mut made = int8(&graph, &samples);
    let nearest = relative_error(&outputs(&made, Isa::best(), &samples), &wanted);
    round_weights(&graph, &mut made, &samples, ALWAYS).unwrap();
    let rounded = relative_error(&outputs(&made, Isa::best(), &samples), &wanted);
    assert!(rounded < 1.1 * nearest, "{nearest} became {rounded}");
}

#[test]
fn bias_correction_takes_out_the_mean_of_the_error() {
    let (graph, samples) = stack();
    let wanted = outputs(&graph, Isa::best(), &samples);
    let mut made = int8(&graph, &samples);
    coarse(&graph, &mut made);
    let means = |found: &[Vec<f32>]| -> Vec<f32> {
        let error = |c: usize| found.iter().zip(&wanted).map(|(a, b)| a[c] - b[c]).sum::<f32>();
        (0..5).map(|c| (error(c) / found.len() as f32).abs()).collect()
    };
    let before = outputs(&made, Isa::best(), &samples);
    correct_biases(&graph, &mut made, &samples, ALWAYS).unwrap();
    let after = outputs(&made, Isa::best(), &samples);
    // The last layer has no activation: what is left of its mean error is the rounding to int8 of its
    // output, and that is at most half a step.
    let step = made.value(made.nodes.last().unwrap().inputs[0]).quant.unwrap().scale;
    for (before, after) in means(&before).iter().zip(means(&after)) {
        assert!(after < 0.5 * step, "{before} became {after}, step {step}");
    }
    assert!(means(&before).iter().any(|&mean| mean > step), "{:?}, {step}", means(&before));
    let [before, after] = [before, after].map(|found| relative_error(&found, &wanted));
    assert!(after < before, "{before} became {after}");
}

/// The channels of one layer differ so that int8 cannot hold its output.
fn with_a_bad_layer() -> (Graph, Vec<Vec<f32>>) {
    let (mut graph, samples) = stack();
    let scale = |graph: &mut Graph, name: &str, by: &dyn Fn(usize) -> f32| {
        let tensor = &graph.tensors[name];
        let values: Vec<f32> =
            tensor.f32s().unwrap().iter().enumerate().map(|(i, v)| v * by(i)).collect();
        let made = Tensor::from_f32(tensor.shape().clone(), &values);
        graph.tensors.insert(name.into(), made);
    };
    let gain = |c: usize| if c == 0 { 300.0 } else { 1.0 };
    scale(&mut graph, "grouped.weight", &|i| gain(i / 4));
    scale(&mut graph, "grouped.bias", &gain);
    // Flattened as [h, w, c].
    scale(&mut graph, "fc.weight", &|i| 1.0 / gain(i % 12));
    (graph, samples)
}

#[test]
fn the_layer_that_int8_cannot_hold_is_the_most_sensitive_and_f32_saves_it() {
    let (graph, samples) = with_a_bad_layer();
    let calibration = calibrate(&graph, Method::MinMax, &samples, &samples).unwrap();
    let found = sensitivity(&graph, &calibration, &samples, ALWAYS).unwrap();
    // The same values are the output of one and the input of the other.
    let worst: BTreeSet<&str> = found[..2].iter().map(|s| s.layer.as_str()).collect();
    assert_eq!(worst, BTreeSet::from(["fc", "grouped"]), "{found:?}");
    assert!(found[1].noise > 30.0 * found[2].noise, "{found:?}");
    let wanted = outputs(&graph, Isa::best(), &samples);
    let error = |islands: &[&str]| {
        let islands = islands.iter().map(ToString::to_string).collect();
        let mixed = to_mixed(&graph, &calibration, &islands).unwrap();
        relative_error(&outputs(&mixed, Isa::best(), &samples), &wanted)
    };
    let (int8, mixed) = (error(&[]), error(&["grouped", "fc"]));
    assert!(mixed < 0.1 * int8, "{int8} became {mixed}");
}

#[test]
fn islands_run_in_f32_among_int8_layers_on_every_instruction_set() {
    let (graph, samples) = stack();
    let calibration = calibrate(&graph, Method::Mse, &samples, &samples).unwrap();
    let all: BTreeSet<String> = graph.nodes.iter().map(|n| n.name.clone()).collect();
    let float = to_mixed(&graph, &calibration, &all).unwrap();
    assert!(float.values.iter().all(|value| value.dtype == DType::F32));
    let wanted = outputs(&graph, Isa::best(), &samples);
    assert_eq!(outputs(&float, Isa::best(), &samples), wanted);
    let mixed = to_mixed(&graph, &calibration, &["depthwise".to_string()].into()).unwrap();
    let float_layers =
        mixed.nodes.iter().filter(|n| matches!(n.op, Op::Conv2d { .. } | Op::Linear));
    let float_layers = float_layers.filter(|n| mixed.value(n.output).dtype == DType::F32).count();
    assert_eq!(float_layers, 1);
    for isa in Isa::available() {
        let error = relative_error(&outputs(&mixed, isa, &samples), &wanted);
        assert!(error < 0.03, "{isa}: {error}");
    }
}

#[test]
fn the_ladder_climbs_its_rungs_in_order_and_builds_on_what_is_adopted() {
    let (graph, samples) = with_a_bad_layer();
    let wanted = outputs(&graph, Isa::best(), &samples);
    let mut ladder = Ladder::new(&graph, Method::MinMax, &samples, &samples, ALWAYS).unwrap();
    let (mut rungs, mut errors, mut islands) = (Vec::new(), Vec::new(), 0);
    let mut least = f32::INFINITY;
    while let Next::Candidate(candidate) = ladder.climb().unwrap() {
        let error = relative_error(&outputs(&candidate.int8, Isa::best(), &samples), &wanted);
        if error < least {
            ladder.adopt(&candidate);
            least = error;
            islands = candidate.islands.len();
        }
        rungs.push(candidate.rung);
        errors.push(error);
    }
    let in_order = [
        Rung::Plain,
        Rung::Observers,
        Rung::Equalization,
        Rung::BiasCorrection,
        Rung::Rounding,
        Rung::MixedPrecision,
    ];
    assert_eq!(rungs[..6], in_order);
    assert!(rungs[6..].iter().all(|rung| *rung == Rung::MixedPrecision), "{rungs:?}");
    // conv1, depthwise, its activation, grouped and fc: half of them, rounded up.
    assert_eq!(rungs.len(), 5 + 3);
    assert!(errors[2] < 0.2 * errors[0], "equalization: {errors:?}");
    assert!(least < errors[2] && islands > 0, "{errors:?}");
    // The same again: nothing here is random.
    let mut again = Ladder::new(&graph, Method::MinMax, &samples, &samples, ALWAYS).unwrap();
    let Next::Candidate(first) = again.climb().unwrap() else { panic!("no plain rung") };
    let error = relative_error(&outputs(&first.int8, Isa::best(), &samples), &wanted);
    assert_eq!(error.to_bits(), errors[0].to_bits());
}

#[test]
fn without_time_there_is_the_plain_rung_and_no_more() {
    let (graph, samples) = stack();
    let mut ladder = Ladder::new(&graph, Method::Mse, &samples, &samples, &|| false).unwrap();
    assert!(matches!(ladder.climb(), Ok(Next::Candidate(plain)) if plain.rung == Rung::Plain));
    assert!(matches!(ladder.climb(), Err(Error::Stopped)));
}

#[test]
fn a_report_says_what_int8_does_to_each_layer() {
    let (graph, samples) = stack();
    let mut calibration = calibrate(&graph, Method::MinMax, &samples, &samples).unwrap();
    // Half of conv1's range is cut off.
    let conv1 = graph.nodes[0].output.0;
    calibration.ranges[conv1].max *= 0.5;
    let int8 = to_int8(&graph, &calibration).unwrap();
    let alone = sensitivity(&graph, &calibration, &samples, ALWAYS).unwrap();
    let layers = report(&graph, &int8, &calibration, &alone, &samples).unwrap();
    let names: Vec<&str> = layers.iter().map(|layer| layer.layer.as_str()).collect();
    assert_eq!(names, ["conv1", "depthwise", "hswish", "grouped", "flatten", "fc"]);
    let first = &layers[0];
    assert_eq!((first.precision, first.method), (DType::I8, Some(Method::MinMax)));
    assert!((first.range.max - 2.0 * calibration.ranges[conv1].max).abs() < 1e-6);
    assert!(first.clipped > 0.001 && first.clipped < 0.5, "{}", first.clipped);
    assert!(layers[1..].iter().all(|layer| layer.clipped < 0.01));
    // The ratio of the answers, computed here from the answers alone.
    let wanted = outputs(&graph, Isa::best(), &samples);
    let error = f64::from(relative_error(&outputs(&int8, Isa::best(), &samples), &wanted));
    let last = layers.last().unwrap();
    assert!((last.sqnr_db.unwrap() + 20.0 * error.log10()).abs() < 0.01, "{last:?} {error}");
    // conv1's values are the input of the one behind it, which suffers as much.
    assert!(alone[..2].iter().any(|s| s.layer == "conv1"), "{alone:?}");
    assert!(layers[0].alone_db.unwrap() < layers[3].alone_db.unwrap());
    // Moving values costs nothing, so that there is nothing to measure.
    assert_eq!(layers[4].alone_db, None);
}
