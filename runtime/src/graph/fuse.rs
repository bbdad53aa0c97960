//! Graph rewriting that planning and quantization share: fuse ReLU, drop what is dead.

use alloc::vec;
use alloc::vec::Vec;

use super::{Graph, Node, Op, ValueId};

impl Graph {
    /// Moves each ReLU and ReLU6 into the convolution, linear layer or addition before it, where
    /// that is the only reader.
    #[must_use]
    pub fn with_fused_activations(mut self) -> Self {
        let uses = self.use_counts();
        let mut nodes: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for node in core::mem::take(&mut self.nodes) {
            if let (Op::Activation { function }, &[x]) = (&node.op, &node.inputs[..])
                && function.clamp().is_some()
                && uses[x.0] == 1
                && let Some(producer) = nodes.iter_mut().find(|n| n.output == x)
                && matches!(producer.op, Op::Conv2d { .. } | Op::Linear | Op::Add)
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
