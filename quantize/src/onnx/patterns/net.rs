//! A graph as patterns look at it: what computes a value, what reads it, which are constants.

use std::collections::{BTreeMap, BTreeSet};

use super::super::node::OnnxNode;
use super::super::proto::{GraphProto, TensorProto};
use super::super::tensors::Tensors;

/// The nodes of a graph and its constants.
pub(super) struct Net<'a, 'b> {
    graph: &'a GraphProto,
    tensors: &'b Tensors,
    pub(super) opset: i64,
    producers: BTreeMap<&'a str, usize>,
    readers: BTreeMap<&'a str, Vec<usize>>,
    outputs: BTreeSet<&'a str>,
    constants: BTreeMap<&'a str, &'a TensorProto>,
    /// Of `Constant` nodes that hold a plain number.
    numbers: BTreeMap<&'a str, f32>,
}

impl<'a, 'b> Net<'a, 'b> {
    pub(super) fn new(graph: &'a GraphProto, opset: i64, tensors: &'b Tensors) -> Self {
        let mut net = Self {
            graph,
            tensors,
            opset,
            producers: BTreeMap::new(),
            readers: BTreeMap::new(),
            outputs: graph.output.iter().map(|o| o.name.as_str()).collect(),
            constants: graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect(),
            numbers: BTreeMap::new(),
        };
        for (index, proto) in graph.node.iter().enumerate() {
            let node = OnnxNode { proto };
            for input in &proto.input {
                net.readers.entry(input).or_default().push(index);
            }
            for output in &proto.output {
                net.producers.insert(output, index);
            }
            let (Some(output), "Constant") = (proto.output.first(), node.op()) else { continue };
            if let Some(tensor) = node.tensor("value") {
                net.constants.insert(output, tensor);
            } else if node.has("value_float") {
                net.numbers.insert(output, node.float("value_float", 0.0));
            }
        }
        net
    }

    pub(super) fn node(&self, index: usize) -> Option<OnnxNode<'a>> {
        self.graph.node.get(index).map(|proto| OnnxNode { proto })
    }

    /// The node of operator `op` that computes `value`; its index goes into `inner`.
    pub(super) fn made_by(
        &self,
        value: &str,
        op: &str,
        inner: &mut BTreeSet<usize>,
    ) -> Option<OnnxNode<'a>> {
        let index = *self.producers.get(value)?;
        let node = self.node(index).filter(|node| node.op() == op)?;
        inner.insert(index);
        Some(node)
    }

    /// What computes `value`, with its index, and which of its outputs that is.
    pub(super) fn producer(&self, value: &str) -> Option<(usize, OnnxNode<'a>, usize)> {
        let index = *self.producers.get(value)?;
        let node = self.node(index)?;
        let output = node.proto.output.iter().position(|o| o == value)?;
        Some((index, node, output))
    }

    /// The number that a constant of one element holds.
    pub(super) fn number(&self, name: &str) -> Option<f32> {
        if let Some(&number) = self.numbers.get(name) {
            return Some(number);
        }
        let tensor = self.constants.get(name)?;
        // A list is no number, however many elements a broken file claims.
        if tensor.dims.iter().any(|&d| d != 1) {
            return None;
        }
        match self.tensors.floats(tensor).ok()?.values[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The integers of a short constant.
    pub(super) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        let tensor = self.constants.get(name)?;
        match tensor.dims[..] {
            [] | [1..=8] => self.tensors.ints(tensor).ok(),
            _ => None,
        }
    }

    /// Whether `name` is a constant.
    pub(super) fn is_constant(&self, name: &str) -> bool {
        self.constants.contains_key(name)
    }

    /// The dimensions of a constant.
    pub(super) fn dims(&self, name: &str) -> Option<&'a [i64]> {
        self.constants.get(name).map(|tensor| &tensor.dims[..])
    }

    /// Whether only these nodes read what the `inner` ones compute.
    pub(super) fn closed(&self, inner: &BTreeSet<usize>, last: usize) -> bool {
        let within = |index: &usize| *index == last || inner.contains(index);
        let nodes = inner.iter().filter_map(|&index| self.node(index));
        nodes.flat_map(|node| &node.proto.output).all(|output| {
            let read = self.readers.get(output.as_str());
            !self.outputs.contains(output.as_str())
                && read.is_none_or(|readers| readers.iter().all(within))
        })
    }

    /// The dimensions of a reduction or `Unsqueeze`: an attribute, or input 1 since `since`.
    pub(super) fn axes(&self, node: OnnxNode<'a>, since: i64) -> Option<Vec<i64>> {
        if self.opset < since {
            return node.ints("axes").map(<[i64]>::to_vec);
        }
        self.ints(node.input(1)?)
    }
}

/// The two inputs of a node, in both orders.
pub(super) fn both_orders(node: OnnxNode<'_>) -> Option<[(&str, &str); 2]> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    Some([(a, b), (b, a)])
}
