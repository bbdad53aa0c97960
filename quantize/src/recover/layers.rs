//! The int8 layers of a graph beside what they were made of, and what they are given.

use std::borrow::Cow;

use hipflask_runtime::graph::{Graph, Node, Op};
use hipflask_runtime::quant::QuantParams;
use hipflask_runtime::{DType, Model, Options, Session, View};

use crate::error::Result;
use crate::inputs::Inputs;
use crate::recover::{GoOn, check};

/// A convolution or linear layer that runs in int8.
pub(super) struct Layer {
    /// Its place among the nodes of the int8 graph.
    pub(super) place: usize,
    /// The same layer in f32.
    pub(super) float: Node,
}

/// The int8 layers of `int8`, in execution order.
pub(super) fn int8_layers(float: &Graph, int8: &Graph) -> Vec<Layer> {
    let layers = int8.nodes.iter().enumerate().filter(|(_, node)| {
        let is_layer = matches!(node.op, Op::Conv2d { .. } | Op::Linear);
        is_layer && int8.value(node.inputs[0]).dtype == DType::I8
    });
    let pairs = layers.filter_map(|(place, node)| {
        let float = float.nodes.iter().find(|other| other.name == node.name)?;
        Some(Layer { place, float: float.clone() })
    });
    pairs.collect()
}

/// Scale and zero point of what an int8 layer reads.
pub(super) fn input_params(int8: &Graph, node: &Node) -> QuantParams {
    let params = int8.value(node.inputs[0]).quant;
    params.expect("the input of an int8 layer is int8")
}

/// Shows `see` the real numbers that the node at `place` of `graph` reads, for each of `samples`.
///
/// Only what comes before the node is run.
pub(super) fn for_inputs(
    graph: &Graph,
    place: usize,
    samples: &dyn Inputs,
    indices: impl Iterator<Item = usize>,
    go_on: GoOn<'_>,
    mut see: impl FnMut(&[f32]),
) -> Result<()> {
    let node = &graph.nodes[place];
    let params = graph.value(node.inputs[0]).quant;
    if graph.inputs.contains(&node.inputs[0]) {
        indices.for_each(|index| see(&samples.get(index)));
        return Ok(());
    }
    let mut before = graph.clone();
    before.nodes.truncate(place);
    before.outputs = vec![node.inputs[0]];
    let model = Model::from_graph(before.compacted())?;
    let mut session = Session::new(&model, &Options::default())?;
    for index in indices {
        check(go_on)?;
        session.run(&[View::F32(&samples.get(index))])?;
        let values: Cow<'_, [f32]> = match (session.output(0), params) {
            (View::I8(values), Some(params)) => {
                values.iter().map(|&q| params.dequantize(q)).collect()
            }
            (View::F32(values), _) => Cow::Borrowed(values),
            (View::I8(_), None) => Cow::Borrowed(&[]),
        };
        see(&values);
    }
    Ok(())
}
