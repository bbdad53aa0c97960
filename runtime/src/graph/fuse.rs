//! Graph rewriting that planning and quantization share: fuse ReLU and padding, drop what is dead.

use alloc::vec;
use alloc::vec::Vec;

use super::{Graph, Node, Op, ValueId};

impl Graph {
    /// The same function in fewer nodes: ReLUs and padding are part of other nodes, and values are
    /// not dequantized to be quantized as they were.
    #[must_use]
    pub fn simplified(self) -> Self {
        self.with_fused_activations().with_fused_pads().without_needless_conversions()
    }

    /// Lets convolutions pad by themselves, where only they read what was padded.
    #[must_use]
    fn with_fused_pads(mut self) -> Self {
        for i in 0..self.nodes.len() {
            let Node { op: Op::Pad { padding }, inputs, output, .. } = &self.nodes[i] else {
                continue;
            };
            let (added, x, y) = (*padding, inputs[0], *output);
            let readers = || self.nodes.iter().filter(move |node| node.inputs.contains(&y));
            if self.outputs.contains(&y) || !readers().all(|n| matches!(n.op, Op::Conv2d { .. })) {
                continue;
            }
            for reader in self.nodes.iter_mut().filter(|node| node.inputs.contains(&y)) {
                if let Op::Conv2d { padding, .. } = &mut reader.op {
                    *padding = core::array::from_fn(|side| padding[side] + added[side]);
                    reader.inputs[0] = x;
                }
            }
        }
        self.without_dead_nodes()
    }

    /// Reads int8 values themselves where they were dequantized and quantized with the same scale
    /// and zero point, which gives the same values (`docs/int8.md`).
    #[must_use]
    fn without_needless_conversions(mut self) -> Self {
        let mut renamed: Vec<ValueId> = (0..self.values.len()).map(ValueId).collect();
        let mut dequantized = vec![None; self.values.len()];
        for node in &mut self.nodes {
            node.inputs.iter_mut().for_each(|x| *x = renamed[x.0]);
            let (x, y) = (node.inputs[0], node.output);
            match node.op {
                Op::Dequantize => dequantized[y.0] = Some(x),
                Op::Quantize => {
                    let Some(from) = dequantized[x.0] else { continue };
                    let same = self.values[from.0].quant == self.values[y.0].quant;
                    if same && !self.outputs.contains(&y) {
                        renamed[y.0] = from;
                    }
                }
                _ => {}
            }
        }
        self.without_dead_nodes()
    }

    /// The same graph without nodes whose output nothing reads.
    fn without_dead_nodes(mut self) -> Self {
        let mut read = vec![false; self.values.len()];
        self.outputs.iter().for_each(|id| read[id.0] = true);
        let mut alive: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for node in core::mem::take(&mut self.nodes).into_iter().rev() {
            if read[node.output.0] {
                node.inputs.iter().for_each(|id| read[id.0] = true);
                alive.push(node);
            }
        }
        alive.reverse();
        self.nodes = alive;
        self.compacted()
    }

    /// Moves each ReLU and ReLU6 into the convolution, linear layer or addition before it, where
    /// that is the only reader.
    #[must_use]
    fn with_fused_activations(mut self) -> Self {
        let uses = self.use_counts();
        let mut nodes: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for node in core::mem::take(&mut self.nodes) {
            if let (Op::Activation { function }, &[x]) = (&node.op, &node.inputs[..])
                && function.clamp().is_some()
                && uses[x.0] == 1
                && let Some(producer) = nodes.iter_mut().find(|n| n.output == x)
                && producer.op.fuses_activations()
                && producer.activation.is_none()
                && self.values[x.0].quant.is_none()
            {
                producer.activation = Some(*function);
                producer.output = node.output;
                continue;
            }
            nodes.push(node);
        }
        self.nodes = nodes;
        self.compacted()
    }

    /// The same graph without values and tensors that nothing mentions.
    #[must_use]
    pub fn compacted(mut self) -> Self {
        let mut used = vec![false; self.values.len()];
        let mentioned = self.nodes.iter().flat_map(|n| n.inputs.iter().chain([&n.output]));
        for id in mentioned.chain(&self.inputs).chain(&self.outputs) {
            used[id.0] = true;
        }
        let mut renamed = vec![ValueId(0); self.values.len()];
        let mut values = Vec::new();
        for (i, value) in self.values.drain(..).enumerate() {
            if used[i] {
                renamed[i] = ValueId(values.len());
                values.push(value);
            }
        }
        self.values = values;
        let nodes = self.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().chain([&mut n.output]));
        for id in nodes.chain(&mut self.inputs).chain(&mut self.outputs) {
            *id = renamed[id.0];
        }
        let order: alloc::collections::BTreeSet<_> = self.tensor_order().collect();
        self.tensors.retain(|name, _| order.contains(name));
        self
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Tensor;
    use crate::graph::{GraphBuilder, Layout};
    use crate::quant::QuantParams;

    fn conv() -> Op {
        Op::Conv2d { stride: [1, 1], padding: [0, 1, 0, 0], dilation: [1, 1], groups: 1 }
    }

    fn weight(seed: f32) -> [(&'static str, Tensor); 1] {
        let values: Vec<f32> = (0..12).map(|i| seed + i as f32).collect();
        [("weight", Tensor::from_f32([3, 2, 2, 1], &values))]
    }

    #[test]
    fn padding_goes_into_all_its_convolutions_or_stays() {
        for pooled in [false, true] {
            let mut b = GraphBuilder::new("pads", Layout::Nhwc);
            let x = b.input("x", [1, 4, 4, 1]);
            let x = b.node("pad", Op::Pad { padding: [1, 2, 3, 4] }, &[x], []).unwrap();
            let c = b.node("conv", conv(), &[x], weight(1.0)).unwrap();
            let d = b.node("other", conv(), &[x], weight(2.0)).unwrap();
            let mut outputs = vec![c, d];
            if pooled {
                outputs.push(b.node("pool", Op::GlobalAvgPool, &[x], []).unwrap());
            }
            let graph = b.finish(&outputs).unwrap().simplified();
            let pads = graph.nodes.iter().filter(|n| matches!(n.op, Op::Pad { .. })).count();
            assert_eq!(pads, usize::from(pooled));
            let wanted = if pooled { [0, 1, 0, 0] } else { [1, 3, 3, 4] };
            for node in graph.nodes.iter().filter(|n| matches!(n.op, Op::Conv2d { .. })) {
                assert!(matches!(node.op, Op::Conv2d { padding, .. } if padding == wanted));
            }
        }
    }

    #[test]
    fn a_value_that_is_quantized_as_it_was_is_not_converted() {
        let same = QuantParams { scale: 0.5, zero_point: 3 };
        for other in [same, QuantParams { scale: 0.25, zero_point: 3 }] {
            let mut b = GraphBuilder::new("conversions", Layout::Nhwc);
            let x = b.input("x", [1, 4]);
            let q = b.node_as("q", Op::Quantize, &[x], [], Some(same)).unwrap();
            let f = b.node("f", Op::Dequantize, &[q], []).unwrap();
            let q = b.node_as("again", Op::Quantize, &[f], [], Some(other)).unwrap();
            let sum = b.node_as("sum", Op::Add, &[q, q], [], Some(same)).unwrap();
            let y = b.node("y", Op::Dequantize, &[sum], []).unwrap();
            let graph = b.finish(&[y]).unwrap().simplified();
            let names: Vec<&str> = graph.nodes.iter().map(|n| &*n.name).collect();
            if other == same {
                assert_eq!(names, ["q", "sum", "y"]);
            } else {
                assert_eq!(names, ["q", "f", "again", "sum", "y"]);
            }
        }
    }
}
