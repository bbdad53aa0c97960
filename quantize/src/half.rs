//! Storing weights as f16: half the bytes, f32 arithmetic.

use half::f16;
use hipflask_runtime::Tensor;
use hipflask_runtime::graph::{Graph, Node, Op};

use crate::error::{Error, Result};
use crate::fold::prepare;

/// The folded graph with the weights of convolutions and linear layers in f16; biases stay f32.
pub fn to_f16(graph: &Graph) -> Result<Graph> {
    let mut graph = prepare(graph)?;
    for index in 0..graph.nodes.len() {
        let node = graph.nodes[index].clone();
        if matches!(node.op, Op::Conv2d { .. } | Op::Linear) {
            halve(&mut graph, &node, "f16")?;
        }
    }
    Ok(graph)
}

/// Stores the weight of `node` as f16, for a network in `format`.
pub(crate) fn halve(graph: &mut Graph, node: &Node, format: &'static str) -> Result<()> {
    let name = node.tensor_name("weight");
    let weights = graph.f32s(node, "weight")?;
    if let Some(&found) = weights.iter().find(|w| !f16::from_f32(**w).is_finite()) {
        return Err(Error::Weight { tensor: name, found, format });
    }
    let halves: Vec<f16> = weights.iter().map(|&w| f16::from_f32(w)).collect();
    let shape = graph.tensors[&name].shape().clone();
    graph.tensors.insert(name, Tensor::from_f16(shape, &halves));
    Ok(())
}
