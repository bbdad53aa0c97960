//! The interpreter against the operators by hand, and against the runtime's session.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op};
use hipflask_runtime::{Model, Options, Session, Tensor as Weights};

use super::*;
use crate::nn::gradcheck::{assert_close, random, values};

fn weights(shape: &[usize], seed: u64) -> Weights {
    Weights::from_f32(shape, &values(&random(shape, seed)))
}

fn norm(channels: usize) -> Vec<(&'static str, Weights)> {
    let around = |middle: f32, seed: u64| {
        let values: Vec<f32> =
            values(&random(&[channels], seed)).iter().map(|v| v + middle).collect();
        Weights::from_f32([channels], &values)
    };
    // Mostly positive outputs: the ReLUs must let something through.
    vec![
        ("weight", around(1.5, 6)),
        ("bias", around(0.5, 7)),
        ("running_mean", around(0.0, 8)),
        ("running_var", around(1.5, 9)),
    ]
}

fn conv(padding: usize, stride: usize, groups: usize) -> Op {
    Op::Conv2d { stride: [stride; 2], padding: [padding; 4], dilation: [1; 2], groups }
}

/// Every operation that can be trained, with a residual connection and odd sizes.
pub(super) fn network() -> Graph {
    let mut b = GraphBuilder::new("everything", Layout::Nchw);
    let x = b.input("image", [1, 2, 9, 7]);
    let y = b.node("conv1", conv(1, 1, 1), &[x], [("weight", weights(&[4, 2, 3, 3], 1))]).unwrap();
    let y = b.node("bn1", Op::BatchNorm { eps: 1e-5 }, &[y], norm(4)).unwrap();
    let relu = Op::Activation { function: Activation::Relu };
    let stem = b.node("relu1", relu, &[y], []).unwrap();
    let depthwise = [("weight", weights(&[4, 1, 3, 3], 2)), ("bias", weights(&[4], 3))];
    let y = b.node("conv2", conv(1, 1, 4), &[stem], depthwise).unwrap();
    b.fuse(Some(Activation::Relu6));
    let y = b.node("bn2", Op::BatchNorm { eps: 1e-3 }, &[y], norm(4)).unwrap();
    let y = b.node("add", Op::Add, &[y, stem], []).unwrap();
    let swish = Op::Activation { function: Activation::HardSwish };
    let y = b.node("swish", swish, &[y], []).unwrap();
    let pool = Op::MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1; 4] };
    let most = b.node("max", pool, &[y], []).unwrap();
    let pool =
        Op::AvgPool2d { kernel: [3, 3], stride: [2, 2], padding: [1; 4], count_include_pad: false };
    let mean = b.node("mean", pool, &[y], []).unwrap();
    let pool = b.node("squeeze", Op::GlobalAvgPool, &[most], []).unwrap();
    let sigmoid = Op::Activation { function: Activation::Sigmoid };
    let gate = b.node("gate", sigmoid, &[pool], []).unwrap();
    let most = b.node("excite", Op::Mul, &[most, gate], []).unwrap();
    let left = b.node("left", Op::Slice { axis: 1, start: 0, end: 1 }, &[mean], []).unwrap();
    let right = b.node("right", Op::Slice { axis: 1, start: 1, end: 4 }, &[mean], []).unwrap();
    let square = b.node("square", Op::Mul, &[right, right], []).unwrap();
    let mean = b.node("whole", Op::Concat { axis: 1 }, &[square, left], []).unwrap();
    let y = b.node("concat", Op::Concat { axis: 1 }, &[most, mean], []).unwrap();
    let y = b.node("shuffle", Op::ChannelShuffle { groups: 2 }, &[y], []).unwrap();
    let y = b.node("zeros", Op::PadChannels { before: 1, after: 3 }, &[y], []).unwrap();
    let y = b.node("pad", Op::Pad { padding: [1, 0, 0, 1] }, &[y], []).unwrap();
    let y = b.node("conv3", conv(0, 2, 2), &[y], [("weight", weights(&[4, 6, 3, 3], 4))]).unwrap();
    let y = b.node("global", Op::GlobalAvgPool, &[y], []).unwrap();
    let y = b.node("flatten", Op::Flatten, &[y], []).unwrap();
    let linear = [("weight", weights(&[3, 4], 5)), ("bias", weights(&[3], 6))];
    let y = b.node("fc", Op::Linear, &[y], linear).unwrap();
    b.finish(&[y]).unwrap()
}

#[test]
fn evaluation_agrees_with_the_runtime() {
    let graph = network();
    let network = Network::new(&graph, &Device::Cpu).unwrap();
    let x = random(&[5, 2, 9, 7], 20);
    let logits = network.forward(&x, Mode::Evaluate).unwrap();
    assert_eq!((logits.dims(), network.classes()), (&[5, 3][..], 3));
    let folded = hipflask_quantize::prepare(&graph).unwrap();
    for (what, graph) in [("as trained", graph), ("batch norms folded", folded)] {
        let model = Model::from_graph(graph).unwrap();
        let mut session = Session::new(&model, &Options::default()).unwrap();
        for sample in 0..5 {
            let image = x.narrow(0, sample, 1).unwrap().permute((0, 2, 3, 1)).unwrap();
            let expected = session.predict(&values(&image)).unwrap();
            let expected = Tensor::from_slice(expected, (1, 3), &Device::Cpu).unwrap();
            let got = logits.narrow(0, sample, 1).unwrap();
            assert_close(&format!("{what}, sample {sample}"), &got, &expected);
        }
    }
}

#[test]
fn training_uses_the_batch_and_moves_the_running_statistics() {
    let mut b = GraphBuilder::new("norm", Layout::Nchw);
    let x = b.input("x", [1, 2]);
    let y = b.node("bn", Op::BatchNorm { eps: 0.5 }, &[x], norm(2)).unwrap();
    let graph = b.finish(&[y]).unwrap();
    let network = Network::new(&graph, &Device::Cpu).unwrap();
    // As in the operator's test: mean 3, biased variance 3.5, unbiased 14/3; and a constant.
    let x = Tensor::new(&[[1.0_f32, 7.0], [2.0, 7.0], [3.0, 7.0], [6.0, 7.0]], &Device::Cpu);
    let y = network.forward(&x.unwrap(), Mode::Train).unwrap();
    let node = &graph.nodes[0];
    let (gamma, beta) = (graph.f32s(node, "weight").unwrap(), graph.f32s(node, "bias").unwrap());
    for (row, offset) in values(&y).chunks(2).zip([-2.0, -1.0, 0.0, 3.0]) {
        assert!((row[0] - (offset / 2.0 * gamma[0] + beta[0])).abs() < 1e-6, "{row:?}");
        assert!((row[1] - beta[1]).abs() < 1e-6, "{row:?}");
    }
    let after = network.to_graph().unwrap();
    for (role, batch) in [("running_mean", [3.0, 7.0]), ("running_var", [14.0 / 3.0, 0.0])] {
        let (before, after) = (graph.f32s(node, role).unwrap(), after.f32s(node, role).unwrap());
        for ((after, before), batch) in after.iter().zip(before.iter()).zip(batch) {
            assert!((after - (0.9 * before + 0.1 * batch)).abs() < 1e-6, "{role}");
        }
    }
    assert_eq!(graph.weight(node, "weight"), after.weight(node, "weight"));
}

#[test]
fn every_parameter_gets_a_gradient_in_training_and_none_in_evaluation() {
    let network = Network::new(&network(), &Device::Cpu).unwrap();
    let names: Vec<_> = network.parameters().iter().map(|p| p.name.as_str()).collect();
    let expected = [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "conv2.weight",
        "conv2.bias",
        "bn2.weight",
        "bn2.bias",
        "conv3.weight",
        "fc.weight",
        "fc.bias",
    ];
    assert_eq!(names, expected);
    let x = random(&[4, 2, 9, 7], 20);
    let loss = |mode| network.forward(&x, mode).unwrap().sqr().unwrap().sum_all().unwrap();
    let gradients = loss(Mode::Train).backward().unwrap();
    for Parameter { name, var } in network.parameters() {
        let gradient = values(gradients.get(var).unwrap());
        assert!(gradient.iter().any(|g| *g != 0.0), "{name}");
        assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
    }
    assert!(!loss(Mode::Evaluate).track_op());
}

#[test]
fn the_gradient_of_a_whole_network_equals_differences() {
    let graph = network();
    let network = Network::new(&graph, &Device::Cpu).unwrap();
    let x = random(&[3, 2, 9, 7], 20);
    let initial: BTreeMap<_, _> = network.state().unwrap().into_iter().collect();
    let names = ["conv1.weight", "bn1.bias", "conv2.weight", "fc.weight"];
    let loss = || {
        network.load_state(&initial).unwrap();
        let y = network.forward(&x, Mode::Train).unwrap();
        (&y * random(&[3, 3], 21)).unwrap().sum_all().unwrap()
    };
    let gradients = loss().backward().unwrap();
    for name in names {
        let parameter = network.parameters().iter().find(|p| p.name == name).unwrap();
        let gradient = values(gradients.get(&parameter.var).unwrap());
        // The largest: relative errors of small ones are rounding.
        let at =
            (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()));
        let at = at.unwrap();
        let shifted = |offset: f32| {
            let mut moved = initial.clone();
            let mut elements = values(&moved[name]);
            elements[at] += offset;
            let tensor = Tensor::from_vec(elements, moved[name].dims(), &Device::Cpu).unwrap();
            moved.insert(name.into(), tensor);
            network.load_state(&moved).unwrap();
            let y = network.forward(&x, Mode::Train).unwrap();
            f64::from(
                (&y * random(&[3, 3], 21)).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(),
            )
        };
        let step = 1.0 / 512.0;
        let expected = (shifted(step) - shifted(-step)) / f64::from(2.0 * step);
        let error = (f64::from(gradient[at]) - expected).abs() / expected.abs();
        // Kinks of ReLU, hard swish and the maximum lie inside the step for some values.
        assert!(error < 0.05, "{name}: backward {}, differences {expected}", gradient[at]);
    }
}

#[test]
fn weights_go_out_as_they_came_in() {
    let graph = network();
    let first = Network::new(&graph, &Device::Cpu).unwrap();
    assert_eq!(first.to_graph().unwrap(), graph);
    let x = random(&[4, 2, 9, 7], 20);
    first.forward(&x, Mode::Train).unwrap();
    let second = Network::new(&graph, &Device::Cpu).unwrap();
    assert_ne!(second.to_graph().unwrap(), first.to_graph().unwrap());
    let state: BTreeMap<_, _> = first.state().unwrap().into_iter().collect();
    second.load_state(&state).unwrap();
    assert_eq!(second.to_graph().unwrap(), first.to_graph().unwrap());
    assert_eq!(second.load_state(&BTreeMap::new()).unwrap_err().kind(), ErrorKind::Checkpoint);
}

#[test]
fn a_saved_state_does_not_change_with_the_network() {
    let network = Network::new(&network(), &Device::Cpu).unwrap();
    let saved: BTreeMap<_, _> = network.state().unwrap().into_iter().collect();
    let before = values(&saved["bn1.running_mean"]);
    network.forward(&random(&[4, 2, 9, 7], 20), Mode::Train).unwrap();
    assert_eq!(values(&saved["bn1.running_mean"]), before);
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let graph = network();
    let refused = |graph: &Graph| Network::new(graph, &Device::Cpu).err().map(|e| e.kind());
    assert_eq!(refused(&graph.clone().into_nhwc().unwrap()), Some(ErrorKind::Config));
    let mut two = graph.clone();
    two.outputs.push(two.nodes[0].output);
    assert_eq!(refused(&two), Some(ErrorKind::Config));
    let network = Network::new(&graph, &Device::Cpu).unwrap();
    let error = network.forward(&random(&[1, 2, 7, 9], 1), Mode::Evaluate).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().contains("everything"), "{error}");
}

#[test]
fn the_outputs_of_named_nodes_come_with_the_networks_output() {
    let network = Network::new(&network(), &Device::Cpu).unwrap();
    let x = random(&[3, 2, 9, 7], 30);
    let plain = network.forward(&x, Mode::Evaluate).unwrap();
    let names = ["relu1", "bn1", "conv1", "relu1"];
    let Forward { output, features } = network.forward_with(&x, Mode::Evaluate, &names).unwrap();
    assert_eq!(values(&output), values(&plain));
    let [relu, norm, conv, again] = &features[..] else { panic!("four nodes") };
    assert_eq!(conv.dims(), [3, 4, 9, 7]);
    // The batch norm's output is its own, though a ReLU that nothing else reads follows it.
    let norm = values(norm);
    assert!(norm.iter().any(|&v| v < 0.0));
    let clipped: Vec<f32> = norm.iter().map(|v| v.max(0.0)).collect();
    assert_eq!(values(relu), clipped);
    assert_eq!(values(again), clipped);
    let listed: Vec<_> = network.nodes().features().iter().map(|f| f.name.as_str()).collect();
    let of_graph: Vec<_> = network.graph.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(listed, of_graph);
    assert_eq!(network.nodes().find(Some("bn1")).unwrap().shape, [4, 9, 7]);
}

#[test]
fn gradients_flow_from_inner_values_to_the_weights_before_them() {
    let network = Network::new(&network(), &Device::Cpu).unwrap();
    let x = random(&[3, 2, 9, 7], 30);
    for (name, trained) in [("conv1", 1), ("bn1", 3)] {
        let forward = network.forward_with(&x, Mode::Train, &[name]).unwrap();
        let sum = forward.features[0].sqr().unwrap().sum_all().unwrap();
        let gradients = sum.backward().unwrap();
        let found = network.parameters().iter().filter(|p| gradients.get(&p.var).is_some());
        assert_eq!(found.count(), trained, "{name}");
    }
}

#[test]
fn a_node_that_is_not_there_is_an_error_that_names_the_nearest_and_all() {
    let network = Network::new(&network(), &Device::Cpu).unwrap();
    let x = random(&[1, 2, 9, 7], 30);
    let error = network.forward_with(&x, Mode::Evaluate, &["rellu1"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains(r#"has no node "rellu1": did you mean "relu1"?"#), "{text}");
    assert!(text.contains("its nodes are conv1, bn1, relu1, conv2"), "{text}");
    // Without a name it is what the last linear layer reads.
    let embedding = network.nodes().find(None).unwrap();
    let linear = network.graph.nodes.iter().rfind(|n| n.op == Op::Linear).unwrap();
    let read = network.graph.nodes.iter().find(|n| n.output == linear.inputs[0]).unwrap();
    assert_eq!(embedding.name, read.name);
}
