//! A planned network (margins, shared buffers, work in place) against its nodes one by one.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use hipflask_runtime::graph::{Graph, Node, ValueId};
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Options, Session, View};

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
}

#[test]
fn every_value_of_a_float_network_is_that_of_its_node_alone() {
    check(&common::float_network());
}
