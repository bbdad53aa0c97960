//! Building a graph node by node; shapes follow.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Activation, Graph, Layout, LoadLimits, Node, Op, Value, ValueId, shape};
use crate::dtype::{DType, Shape};
use crate::quant::QuantParams;
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result};

/// Collects nodes in execution order; [`GraphBuilder::finish`] checks the whole.
pub struct GraphBuilder {
    graph: Graph,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: impl Into<String>, layout: Layout) -> Self {
        Self {
            graph: Graph {
                name: name.into(),
                layout,
                values: Vec::new(),
                nodes: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                tensors: BTreeMap::new(),
            },
        }
    }

    /// Adds an f32 input of the graph; `shape` begins with the batch dimension 1.
    pub fn input(&mut self, name: &str, shape: impl Into<Shape>) -> ValueId {
        let id = self.value(name, shape.into(), DType::F32, None);
        self.graph.inputs.push(id);
        id
    }

    /// Adds an f32 node with its weights by role (`weight`, `bias`, …); gives its output.
    pub fn node(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        weights: impl IntoIterator<Item = (&'static str, Tensor)>,
    ) -> Result<ValueId> {
        self.node_as(name, op, inputs, weights, None)
    }

    /// As [`GraphBuilder::node`]; the output is int8 when `quant` is given.
    pub fn node_as(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        weights: impl IntoIterator<Item = (&'static str, Tensor)>,
        quant: Option<QuantParams>,
    ) -> Result<ValueId> {
        let mut own: BTreeMap<&'static str, Tensor> = weights.into_iter().collect();
        let shapes: Vec<&Shape> = inputs.iter().map(|&id| &self.graph.value(id).shape).collect();
        let weight = own.get("weight").map(Tensor::shape);
        let shape = shape::infer(&op, self.graph.layout, &shapes, weight)
            .map_err(|reason| Error::new(ErrorKind::Graph, format!("node {name:?}"), reason))?;
        while let Some((role, tensor)) = own.pop_first() {
            self.graph.tensors.insert(format!("{name}.{role}"), tensor);
        }
        let dtype = if quant.is_some() { DType::I8 } else { DType::F32 };
        let output = self.value(name, shape, dtype, quant);
        let node =
            Node { name: name.to_string(), op, inputs: inputs.to_vec(), output, activation: None };
        self.graph.nodes.push(node);
        Ok(output)
    }

    /// Fuses ReLU or ReLU6 into the node added last.
    pub fn fuse(&mut self, activation: Option<Activation>) {
        if let Some(node) = self.graph.nodes.last_mut() {
            node.activation = activation;
        }
    }

    /// The shape of a value, with its batch dimension.
    pub fn shape(&self, id: ValueId) -> &Shape {
        &self.graph.value(id).shape
    }

    /// `[h, w, c]` of a value that is an image.
    pub fn image(&self, id: ValueId) -> Option<[usize; 3]> {
        self.graph.layout.image(self.shape(id))
    }

    /// The checked graph with these outputs.
    pub fn finish(mut self, outputs: &[ValueId]) -> Result<Graph> {
        self.graph.outputs = outputs.to_vec();
        self.graph.check(&LoadLimits::default())?;
        Ok(self.graph)
    }

    fn value(
        &mut self,
        name: &str,
        shape: Shape,
        dtype: DType,
        quant: Option<QuantParams>,
    ) -> ValueId {
        self.graph.values.push(Value { name: name.to_string(), shape, dtype, quant });
        ValueId(self.graph.values.len() - 1)
    }
}
