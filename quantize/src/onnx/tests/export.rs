//! What is exported and imported again: the same network, in float and in int8.

use std::collections::BTreeMap;

use hipflask_runtime::Tensor;
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op, ValueId};
use hipflask_runtime::groups::Groups;
use hipflask_runtime::quant::QuantParams;

use crate::onnx::{from_bytes, to_bytes};
use crate::{Calibrator, Method, prepare, to_int8};

/// Numbers that differ, from -1 to 1.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 101) % 127) as f32 / 63.0 - 1.0).collect()
}

fn tensor(shape: &[usize], seed: usize) -> Tensor {
    Tensor::from_f32(shape, &numbers(shape.iter().product(), seed))
}

/// A graph under construction, whose nodes have weights that differ.
struct Net {
    b: GraphBuilder,
    count: usize,
}

impl Net {
    fn new(input: &[usize]) -> (Self, ValueId) {
        let mut b = GraphBuilder::new("net", Layout::Nchw);
        let x = b.input("input", input);
        (Self { b, count: 0 }, x)
    }

    fn op(&mut self, op: Op, inputs: &[ValueId], weights: &[(&'static str, &[usize])]) -> ValueId {
        self.count += 1;
        let name = format!("node{}.{}", self.count, op.name());
        let weights: Vec<(&'static str, Tensor)> = weights
            .iter()
            .enumerate()
            .map(|(i, (role, shape))| (*role, tensor(shape, self.count * 7 + i)))
            .collect();
        self.b.node(&name, op, inputs, weights).unwrap()
    }

    fn act(&mut self, function: Activation, x: ValueId) -> ValueId {
        self.op(Op::Activation { function }, &[x], &[])
    }

    fn conv(&mut self, x: ValueId, weight: [usize; 4], groups: usize) -> ValueId {
        let padding = [weight[2] / 2; 4];
        let op = Op::Conv2d { stride: [1, 2], padding, dilation: [1, 1], groups };
        self.op(op, &[x], &[("weight", &weight), ("bias", &[weight[0]])])
    }

    fn linear(&mut self, x: ValueId, weight: [usize; 2]) -> ValueId {
        self.op(Op::Linear, &[x], &[("weight", &weight), ("bias", &[weight[0]])])
    }

    fn norm(&mut self, x: ValueId, channels: usize) -> ValueId {
        self.count += 1;
        let name = format!("node{}.norm", self.count);
        let positive: Vec<f32> =
            numbers(channels, self.count).iter().map(|v| v.abs() + 0.5).collect();
        let weights = [
            ("weight", tensor(&[channels], 1)),
            ("bias", tensor(&[channels], 2)),
            ("running_mean", tensor(&[channels], 3)),
            ("running_var", Tensor::from_f32([channels], &positive)),
        ];
        self.b.node(&name, Op::BatchNorm { eps: 1e-5 }, &[x], weights).unwrap()
    }
}

/// Every operation of images, and a classifier.
fn images() -> Graph {
    let (mut n, x) = Net::new(&[1, 3, 9, 12]);
    let a = n.conv(x, [8, 3, 3, 3], 1);
    let a = n.norm(a, 8);
    let a = n.act(Activation::Relu, a);
    let d = n.conv(a, [8, 1, 3, 3], 8);
    let d = n.act(Activation::Relu6, d);
    let left = n.op(Op::Slice { axis: 1, start: 0, end: 4 }, &[d], &[]);
    let right = n.op(Op::Slice { axis: 1, start: 4, end: 8 }, &[d], &[]);
    let right = n.act(Activation::HardSwish, right);
    let joined = n.op(Op::Concat { axis: 1 }, &[right, left], &[]);
    let mixed = n.op(Op::ChannelShuffle { groups: 4 }, &[joined], &[]);
    let pooled = n.op(
        Op::AvgPool2d { kernel: [3, 3], stride: [1, 1], padding: [1; 4], count_include_pad: true },
        &[mixed],
        &[],
    );
    let most =
        n.op(Op::MaxPool2d { kernel: [3, 3], stride: [1, 1], padding: [1; 4] }, &[mixed], &[]);
    let sum = n.op(Op::Add, &[pooled, most], &[]);
    let sum = n.act(Activation::Relu, sum);
    // Squeeze and excite.
    let gate = n.op(Op::GlobalAvgPool, &[sum], &[]);
    let gate = n.op(
        Op::Conv2d { stride: [1; 2], padding: [0; 4], dilation: [1; 2], groups: 1 },
        &[gate],
        &[("weight", &[8, 8, 1, 1]), ("bias", &[8])],
    );
    let gate = n.act(Activation::HardSigmoid, gate);
    let scaled = n.op(Op::Mul, &[sum, gate], &[]);
    let wide = n.op(Op::PadChannels { before: 1, after: 2 }, &[scaled], &[]);
    let padded = n.op(Op::Pad { padding: [0, 1, 2, 0] }, &[wide], &[]);
    let most = Op::MaxPool2d { kernel: [2, 2], stride: [3, 2], padding: [0; 4] };
    let small = n.op(most, &[padded], &[]);
    let flat = n.op(Op::Flatten, &[small], &[]);
    let features = n.b.shape(flat)[1];
    let y = n.linear(flat, [16, features]);
    let y = n.act(Activation::Silu, y);
    let y = n.linear(y, [16, 16]);
    let y = n.act(Activation::Tanh, y);
    let y = n.linear(y, [6, 16]);
    let y = n.act(Activation::Sigmoid, y);
    let y = n.linear(y, [5, 6]);
    let y = n.op(Op::Softmax, &[y], &[]);
    n.b.finish(&[y]).unwrap()
}

/// Every operation of tokens.
fn tokens(function: Activation) -> Graph {
    let (mut n, x) = Net::new(&[1, 3, 8, 8]);
    let patches = Op::Conv2d { stride: [4; 2], padding: [0; 4], dilation: [1; 2], groups: 1 };
    let x = n.op(patches, &[x], &[("weight", &[8, 3, 4, 4]), ("bias", &[8])]);
    let x = n.op(Op::Tokens, &[x], &[]);
    let x = n.op(Op::AddPosition, &[x], &[("weight", &[1, 4, 8])]);
    let norm = [("weight", &[8][..]), ("bias", &[8])];
    let y = n.op(Op::LayerNorm { eps: 1e-6 }, &[x], &norm);
    let y = n.linear(y, [24, 8]);
    let y = n.op(Op::Attention { heads: 2 }, &[y], &[]);
    let y = n.linear(y, [8, 8]);
    let x = n.op(Op::Add, &[x, y], &[]);
    let y = n.op(Op::LayerNorm { eps: 1e-6 }, &[x], &norm);
    let y = n.linear(y, [32, 8]);
    let y = n.act(function, y);
    let y = n.linear(y, [8, 32]);
    let x = n.op(Op::Add, &[x, y], &[]);
    let x = n.op(Op::MeanTokens, &[x], &[]);
    let y = n.linear(x, [5, 8]);
    n.b.finish(&[y]).unwrap()
}

/// Every operation with ids.
fn texts() -> Graph {
    let (mut n, ids) = Net::new(&[1, 6]);
    let x = n.op(Op::Embedding, &[ids], &[("weight", &[20, 8])]);
    let y = n.linear(x, [24, 8]);
    let y = n.op(Op::Attention { heads: 4 }, &[y, ids], &[]);
    let x = n.op(Op::Add, &[x, y], &[]);
    let x = n.op(Op::MeanTokens, &[x, ids], &[]);
    let y = n.linear(x, [3, 8]);
    n.b.finish(&[y]).unwrap()
}

fn all() -> [Graph; 4] {
    [images(), tokens(Activation::Gelu), tokens(Activation::GeluErf), texts()]
}

/// `graph` in int8, calibrated on samples that differ.
fn int8(graph: &Graph) -> Graph {
    let prepared = prepare(graph).unwrap();
    let mut calibrator = Calibrator::new(&prepared, Method::default()).unwrap();
    let size = prepared.value(prepared.inputs[0]).shape.elements();
    for seed in 0..4 {
        calibrator.observe(&numbers(size, seed)).unwrap();
    }
    to_int8(&prepared, &calibrator.finish().unwrap()).unwrap()
}

fn again(graph: &Graph) -> Graph {
    let bytes = to_bytes(graph, &BTreeMap::new()).unwrap();
    from_bytes(&bytes, "other").unwrap_or_else(|e| panic!("{e}"))
}

/// As the graph is after its ReLUs and paddings became parts of other nodes.
fn same_networks(found: &Graph, wanted: &Graph) {
    assert_eq!(found.tensors.keys().collect::<Vec<_>>(), wanted.tensors.keys().collect::<Vec<_>>());
    for (found, wanted) in found.nodes.iter().zip(&wanted.nodes) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found, wanted);
}

#[test]
fn float_networks_come_back_as_they_were() {
    for graph in all() {
        same_networks(&again(&graph), &graph);
    }
}

#[test]
fn a_network_in_the_devices_layout_comes_back_in_pytorchs() {
    for graph in all() {
        let wanted = prepare(&graph).unwrap();
        let mut found = prepare(&again(&wanted)).unwrap();
        // A ReLU that was part of a layer is a node of its own in the file.
        for (found, wanted) in found.values.iter_mut().zip(&wanted.values) {
            found.name.clone_from(&wanted.name);
        }
        same_networks(&found, &wanted);
    }
}

#[test]
fn int8_networks_come_back_with_the_same_bits() {
    for graph in all() {
        let int8 = int8(&graph);
        same_networks(&again(&int8), &int8);
    }
}

#[test]
fn half_weights_are_widened() {
    let graph = crate::to_f16(&prepare(&images()).unwrap()).unwrap();
    let found = again(&graph);
    let name = "node1.conv2d.weight";
    let widened = found.clone().into_nhwc().unwrap().tensors[name].f32s().unwrap().into_owned();
    assert_eq!(widened, *graph.tensors[name].f32s().unwrap());
}

/// The weights of `wanted` in groups as floats, which is what the import gives.
fn widened(wanted: &Graph) -> Graph {
    let mut graph = wanted.clone();
    for node in &mut graph.nodes {
        let Some(groups) = node.op.groups() else { continue };
        let [weight, scale] = ["weight", "scale"].map(|role| node.tensor_name(role));
        let scales = graph.tensors.remove(&scale).unwrap();
        let stored = &graph.tensors[&weight];
        let (n, k) = (stored.shape()[0], groups.row_len(stored.shape()[1]));
        let q = groups.unpack(stored.bytes());
        let count = groups.count(k);
        let scales = scales.f32s().unwrap();
        let value = |i: usize| f32::from(q[i]) * scales[i / k * count + i % k / groups.size];
        let values: Vec<f32> = (0..n * k).map(value).collect();
        graph.tensors.insert(weight, Tensor::from_f32([n, k], &values));
        node.op =
            if matches!(node.op, Op::LinearGroups { .. }) { Op::Linear } else { Op::Embedding };
    }
    graph
}

/// Linear layers with whole blocks and not, with and without bias, over tokens and not, an embedding.
fn wide_texts() -> Graph {
    let (mut n, ids) = Net::new(&[1, 6]);
    let x = n.op(Op::Embedding, &[ids], &[("weight", &[40, 48])]);
    let y = n.linear(x, [144, 48]);
    let y = n.op(Op::Attention { heads: 4 }, &[y, ids], &[]);
    let y = n.op(Op::Linear, &[y], &[("weight", &[64, 48])]);
    let x = n.op(Op::MeanTokens, &[y, ids], &[]);
    let y = n.linear(x, [33, 64]);
    n.b.finish(&[y]).unwrap()
}

#[test]
fn weights_in_groups_are_read_again_as_the_numbers_that_they_stand_for() {
    for (bits, size) in [(4, 32), (8, 32), (4, 64), (8, 128)] {
        let graph = crate::to_weight_only(&wide_texts(), Groups { bits, size }).unwrap();
        let grouped = graph.nodes.iter().filter(|node| node.op.groups().is_some()).count();
        assert_eq!(grouped, 4);
        let mut wanted = widened(&graph);
        wanted.layout = Layout::Nchw;
        same_networks(&again(&graph), &wanted);
    }
}

#[test]
fn metadata_go_along() {
    let metadata = BTreeMap::from([("key".to_string(), "a value".to_string())]);
    let bytes = to_bytes(&images(), &metadata).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(crate::onnx::read(path).unwrap().metadata, metadata);
}

#[test]
fn what_onnx_cannot_say_is_refused_by_node() {
    let mut graph = int8(&tokens(Activation::Gelu));
    let name = graph.nodes.iter().find(|n| matches!(n.op, Op::Activation { .. })).unwrap();
    let (node, name) = (name.name.clone(), name.tensor_name("table"));
    graph.tensors.insert(name, Tensor::from_i8([256], &[1; 256]));
    let error = to_bytes(&graph, &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains(&format!("node {node:?}: its table is not that of gelu")), "{error}");
}

#[test]
fn a_bias_is_exported_without_its_zero_point() {
    // x = 0.5 · (q - 3), w = 0.25 · [2, -4], b = 7 · 0.125; the file's bias is 7 - 3 · (2 - 4) = 13.
    let mut b = GraphBuilder::new("net", Layout::Nhwc);
    let x = b.input("x", [1, 2]);
    let q = |scale, zero_point| Some(QuantParams { scale, zero_point });
    let x = b.node_as("x.quantize", Op::Quantize, &[x], [], q(0.5, 3)).unwrap();
    let weights = [
        ("weight", Tensor::from_i8([1, 2], &[2, -4])),
        ("bias", Tensor::from_i32([1], &[13])),
        ("scale", Tensor::from_f32([1], &[0.25])),
        ("multiplier", Tensor::from_f32([1], &[0.125])),
    ];
    let y = b.node_as("fc", Op::Linear, &[x], weights, q(1.0, -2)).unwrap();
    let y = b.node("fc.dequantize", Op::Dequantize, &[y], []).unwrap();
    let graph = b.finish(&[y]).unwrap();
    let bytes = to_bytes(&graph, &BTreeMap::new()).unwrap();
    let proto: crate::onnx::proto::ModelProto = prost::Message::decode(&bytes[..]).unwrap();
    let constants = proto.graph.unwrap().initializer;
    let constant = |name: &str| {
        let found = constants.iter().find(|t| t.name == name);
        found.unwrap_or_else(|| panic!("{name}")).raw_data.to_vec()
    };
    assert_eq!(constant("fc.bias"), 7_i32.to_le_bytes());
    assert_eq!(constant("fc.bias.scale"), 0.125_f32.to_le_bytes());
    assert_eq!(constant("fc.weight"), [2, 252]);
    assert_eq!(constant("x.quantize.zero_point"), [3]);
    same_networks(&again(&graph), &graph);
}
