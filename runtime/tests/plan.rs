//! A planned network (margins, shared buffers, work in place) against its nodes one by one.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use hipflask_runtime::graph::{Graph, GraphBuilder, Layout, Node, Op, ValueId};
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Options, Session, Tensor, View};

/// A value's elements.
#[derive(Clone, Debug, PartialEq)]
enum Elements {
    F32(Vec<f32>),
    I8(Vec<i8>),
}

impl Elements {
    fn of(view: View<'_>) -> Self {
        match view {
            View::F32(values) => Self::F32(values.to_vec()),
            View::I8(values) => Self::I8(values.to_vec()),
        }
    }

    fn view(&self) -> View<'_> {
        match self {
            Self::F32(values) => View::F32(values),
            Self::I8(values) => View::I8(values),
        }
    }
}

fn session(graph: Graph, isa: Isa) -> Session {
    let options = Options { isa: Some(isa), ..Options::default() };
    Session::new(&Model::from_graph(graph).unwrap(), &options).unwrap()
}

/// The graph of one node, whose inputs and output are the graph's.
fn alone(graph: &Graph, node: &Node) -> Graph {
    let mut inputs = node.inputs.clone();
    inputs.dedup();
    let alone =
        Graph { nodes: vec![node.clone()], inputs, outputs: vec![node.output], ..graph.clone() };
    alone.compacted()
}

fn check(graph: &Graph) {
    for isa in Isa::available() {
        let model = Model::from_graph(graph.clone()).unwrap();
        let graph = model.graph();
        let mut whole = session(graph.clone(), isa);
        let mut values: BTreeMap<usize, Elements> = BTreeMap::new();
        let input = common::sample(3);
        whole
            .run_observed(&[View::F32(&input)], &mut |ValueId(id), view| {
                values.insert(id, Elements::of(view));
            })
            .unwrap();
        let unobserved = {
            whole.run(&[View::F32(&input)]).unwrap();
            Elements::of(whole.output(0))
        };
        assert_eq!(unobserved, values[&graph.outputs[0].0], "{isa}: output");
        for node in &graph.nodes {
            let alone = alone(graph, node);
            let mut inputs = node.inputs.clone();
            inputs.dedup();
            let inputs: Vec<View<'_>> = inputs.iter().map(|id| values[&id.0].view()).collect();
            let mut session = session(alone, isa);
            session.run(&inputs).unwrap();
            let expected = Elements::of(session.output(0));
            assert_eq!(values[&node.output.0], expected, "{isa}: {}", node.name);
        }
    }
}

#[test]
fn every_value_of_an_int8_network_is_that_of_its_node_alone() {
    check(&common::int8_network());
    check(&common::int8_residual_network());
    check(&common::int8_joined_network());
    check(&common::int8_channels_network());
    check(&common::int8_transformer());
}

#[test]
fn every_value_of_a_float_network_is_that_of_its_node_alone() {
    check(&common::float_network());
    check(&common::weight_only::network());
}

#[test]
fn padding_much_wider_than_the_image_takes_no_memory_for_a_margin() {
    let mut b = GraphBuilder::new("wide", Layout::Nhwc);
    let x = b.input("x", [1, 2, 2, 1]);
    let sum = b.node("sum", Op::Add, &[x, x], []).unwrap();
    let op = Op::Conv2d { stride: [4000; 2], padding: [4000; 4], dilation: [1, 1], groups: 1 };
    let weight = [("weight", Tensor::from_f32([1, 1, 1, 1], &[2.0]))];
    let y = b.node("conv", op, &[sum], weight).unwrap();
    let graph = b.finish(&[y]).unwrap();
    for isa in Isa::available() {
        let mut session = session(graph.clone(), isa);
        assert!(session.arena_bytes() < 1 << 20, "{isa}: {} bytes", session.arena_bytes());
        session.run(&[View::F32(&[1.0, 2.0, 3.0, 4.0])]).unwrap();
        let expected = [0.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(session.output(0), View::F32(&expected), "{isa}");
    }
}

#[test]
fn a_step_says_what_is_alive_and_the_arena_is_what_its_peak_takes() {
    let mut b = GraphBuilder::new("chain", Layout::Nhwc);
    let x = b.input("x", [1, 8, 8, 2]);
    let pool = Op::MaxPool2d { kernel: [2, 2], stride: [2, 2], padding: [0; 4] };
    let y = b.node("pool", pool, &[x], []).unwrap();
    let mean = b.node("mean", Op::GlobalAvgPool, &[y], []).unwrap();
    let graph = b.finish(&[mean]).unwrap();
    for isa in Isa::available() {
        let session = session(graph.clone(), isa);
        let alive: Vec<usize> = session.steps().map(|step| step.alive_bytes).collect();
        // f32: 8 · 8 · 2 in and 4 · 4 · 2 out; then these and 2 out.
        assert_eq!(alive, [512 + 128, 128 + 8], "{isa}");
        assert_eq!(session.arena_bytes(), 512 + 128, "{isa}");
    }
}
