//! What a node costs: multiply-accumulates and bytes.

use super::{Graph, Node, Op};

impl Graph {
    /// Multiply-accumulates of one inference of `node`.
    pub fn node_macs(&self, node: &Node) -> u64 {
        let outputs = self.value(node.output).shape.elements() as u64;
        let per_output = match &node.op {
            Op::Conv2d { .. } | Op::Linear => self
                .weight(node, "weight")
                .map_or(0, |w| w.shape().elements() as u64 / w.shape()[0].max(1) as u64),
            Op::LinearGroups { .. } => {
                self.value(node.inputs[0]).shape.last().map_or(0, |&inputs| inputs as u64)
            }
            // Each output takes part in as many products as there are tokens, twice.
            Op::Attention { .. } => 2 * self.value(node.output).shape[1] as u64,
            _ => 0,
        };
        outputs * per_output
    }

    /// Multiply-accumulates of one inference.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(|node| self.node_macs(node)).sum()
    }

    /// Bytes of the weights of `node`.
    pub fn node_bytes(&self, node: &Node) -> usize {
        let dtype = self.value(node.inputs[0]).dtype;
        let roles = node.op.roles(dtype).iter();
        roles.filter_map(|r| self.weight(node, r.name)).map(|t| t.bytes().len()).sum()
    }
}
