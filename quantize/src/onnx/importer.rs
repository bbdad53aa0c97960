//! From an ONNX graph to a hipflask graph, node by node.

use std::collections::{BTreeMap, BTreeSet};

use hipflask_runtime::graph::{Graph, GraphBuilder, Layout, LoadLimits, Op, ValueId};
use hipflask_runtime::{Error, ErrorKind, Result, Shape, Tensor};

use super::integers::Ints;
use super::names::Names;
use super::node::{OnnxNode, fault, unsupported};
use super::ops;
use super::proto::{DimensionProto, GraphProto, TensorProto, ValueInfoProto};
use super::tensors::{Floats, Tensors, data_type};

/// A constant that nodes read by name.
#[derive(Clone)]
pub(super) enum Constant<'a> {
    /// As in the file.
    Stored(&'a TensorProto),
    /// Floats of a `Constant` node.
    Floats(Floats),
    /// Integers that a node gives.
    Ints(Ints),
}

/// What is known while nodes are imported.
pub(super) struct Importer<'a> {
    graph: &'a GraphProto,
    /// Version of ONNX's operators.
    pub(super) opset: i64,
    tensors: Tensors,
    builder: GraphBuilder,
    names: Names,
    values: BTreeMap<&'a str, ValueId>,
    constants: BTreeMap<&'a str, Constant<'a>>,
    /// The nodes that read each value, by index.
    readers: BTreeMap<&'a str, Vec<usize>>,
    outputs: BTreeSet<&'a str>,
    /// Nodes that became part of the node before them.
    folded: BTreeSet<usize>,
    /// For the output of a Pad that only a convolution reads: what it adds to that one's padding.
    pub(super) paddings: BTreeMap<&'a str, [usize; 4]>,
    /// How many more elements of weights may be decoded.
    budget: usize,
}

impl<'a> Importer<'a> {
    /// For one graph; `name` is used where it has none.
    pub(super) fn new(graph: &'a GraphProto, opset: i64, name: &str, tensors: Tensors) -> Self {
        let name = if graph.name.is_empty() { name } else { &graph.name };
        let mut readers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            for input in &node.input {
                readers.entry(input).or_default().push(index);
            }
        }
        Self {
            graph,
            opset,
            tensors,
            builder: GraphBuilder::new(name, Layout::Nchw),
            names: Names::default(),
            values: BTreeMap::new(),
            constants: graph
                .initializer
                .iter()
                .map(|t| (t.name.as_str(), Constant::Stored(t)))
                .collect(),
            readers,
            outputs: graph.output.iter().map(|o| o.name.as_str()).collect(),
            folded: BTreeSet::new(),
            paddings: BTreeMap::new(),
            budget: LoadLimits::default().elements,
        }
    }

    /// The finished graph; an error names the node at fault.
    pub(super) fn run(mut self) -> Result<Graph> {
        let limit = LoadLimits::default().nodes;
        if self.graph.node.len() > limit {
            let what = format!("{} nodes, the limit is {limit}", self.graph.node.len());
            return Err(Error::new(ErrorKind::Limit, "graph", what));
        }
        for input in &self.graph.input {
            // Old files list their constants among the inputs too.
            if !self.constants.contains_key(input.name.as_str()) {
                self.input(input).map_err(|e| e.in_file(&format!("input {:?}", input.name)))?;
            }
        }
        for (index, proto) in self.graph.node.iter().enumerate() {
            if self.folded.contains(&index) {
                continue;
            }
            let node = OnnxNode { proto };
            ops::import(&mut self, node)
                .map_err(|e| e.in_file(&format!("node {:?} ({})", node.name(), node.op())))?;
        }
        let outputs: Result<Vec<ValueId>> = self
            .graph
            .output
            .iter()
            .map(|o| {
                let known = self.values.get(o.name.as_str()).copied();
                known.ok_or_else(|| {
                    fault("no node computes it").in_file(&format!("output {:?}", o.name))
                })
            })
            .collect();
        self.builder.finish(&outputs?)
    }

    fn input(&mut self, input: &'a ValueInfoProto) -> Result<()> {
        let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        let tensor =
            tensor.ok_or_else(|| unsupported("is no tensor; only tensors are supported"))?;
        if !matches!(tensor.elem_type, data_type::FLOAT | data_type::FLOAT16) {
            return Err(unsupported(format!(
                "has elements of ONNX's type {}; export the model with a float input",
                tensor.elem_type
            )));
        }
        let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
        let shape = sample_shape(dims)?;
        let name = self.names.unique(&input.name);
        let id = self.builder.input(&name, shape);
        self.bind(&input.name, id)
    }

    /// The value that input `index` of `node` names.
    pub(super) fn value(&self, node: OnnxNode<'a>, index: usize) -> Result<ValueId> {
        let name = node.required(index)?;
        match self.values.get(name) {
            Some(&id) => Ok(id),
            None if self.constants.contains_key(name) => Err(unsupported(format!(
                "input {index} ({name:?}) is a constant where a computed value is needed: fold \
                 constants before the export (onnxsim, or do_constant_folding = True)"
            ))),
            None => Err(fault(format!(
                "input {index} ({name:?}) is computed by no node before this one"
            ))),
        }
    }

    /// The shape of a value, with its batch dimension.
    pub(super) fn shape(&self, id: ValueId) -> &Shape {
        self.builder.shape(id)
    }

    /// The floats that input `index` of `node` names, which must be constant.
    pub(super) fn floats(&mut self, node: OnnxNode<'a>, index: usize) -> Result<Floats> {
        let name = node.required(index)?;
        match self.floats_named(name)? {
            Some(floats) => Ok(floats),
            None => Err(unsupported(format!(
                "input {index} ({name:?}) is computed; it must be a constant: fold constants \
                 before the export (onnxsim, or do_constant_folding = True)"
            ))),
        }
    }

    /// As [`Importer::floats`]; `None` where the input is left out.
    pub(super) fn optional_floats(
        &mut self,
        node: OnnxNode<'a>,
        index: usize,
    ) -> Result<Option<Floats>> {
        match node.input(index) {
            Some(_) => self.floats(node, index).map(Some),
            None => Ok(None),
        }
    }

    fn floats_named(&mut self, name: &str) -> Result<Option<Floats>> {
        let floats = match self.constants.get(name) {
            Some(Constant::Stored(tensor)) => self.tensors.floats(tensor)?,
            Some(Constant::Floats(floats)) => floats.clone(),
            Some(Constant::Ints(_)) => {
                return Err(fault(format!("{name:?} has integers where floats are needed")));
            }
            None => return Ok(None),
        };
        self.spend(floats.values.len())?;
        Ok(Some(floats))
    }

    /// Counts `elements` of weights; the same constant may be read by every node, so its copies
    /// count too.
    pub(super) fn spend(&mut self, elements: usize) -> Result<()> {
        self.budget = self.budget.checked_sub(elements).ok_or_else(|| {
            let limit = LoadLimits::default().elements;
            Error::new(ErrorKind::Limit, "", format!("the weights have more than {limit} elements"))
        })?;
        Ok(())
    }

    /// The integers that input `index` of `node` names, which must be constant; `None` where the
    /// input is left out.
    pub(super) fn ints(&self, node: OnnxNode<'a>, index: usize) -> Result<Option<Vec<i64>>> {
        let Some(name) = node.input(index) else { return Ok(None) };
        match self.constants.get(name) {
            Some(Constant::Stored(tensor)) => self.tensors.ints(tensor).map(Some),
            Some(Constant::Ints(ints)) => Ok(Some(ints.values.clone())),
            _ => Err(unsupported(format!(
                "input {index} ({name:?}) must be constant integers: export with fixed shapes and \
                 constant folding (onnxsim)"
            ))),
        }
    }

    /// The integers that are called `name`, if they are a constant and few.
    pub(super) fn integers(&self, name: &str) -> Option<Ints> {
        match self.constants.get(name)? {
            Constant::Stored(tensor) => {
                let dims = tensor.dims.iter().map(|&d| usize::try_from(d).ok());
                Ints::new(dims.collect::<Option<_>>()?, self.tensors.ints(tensor).ok()?).ok()
            }
            Constant::Ints(ints) => Some(ints.clone()),
            Constant::Floats(_) => None,
        }
    }

    /// The constant floats that the only reader of `node`'s output adds to it, and that reader.
    pub(super) fn added_constant(&mut self, node: OnnxNode<'a>) -> Result<Option<(usize, Floats)>> {
        let output = node.output()?;
        let Some((index, reader)) = self.only_reader(output) else { return Ok(None) };
        let other = match &reader.proto.input[..] {
            [a, b] if reader.op() == "Add" && a == output => b,
            [a, b] if reader.op() == "Add" && b == output => a,
            _ => return Ok(None),
        };
        Ok(self.floats_named(other)?.map(|floats| (index, floats)))
    }

    /// The one node that reads `value`, and its index; `None` where it is also an output or is
    /// read more than once.
    pub(super) fn only_reader(&self, value: &str) -> Option<(usize, OnnxNode<'a>)> {
        match self.readers.get(value)?[..] {
            [index] if !self.outputs.contains(value) => {
                Some((index, OnnxNode { proto: self.graph.node.get(index)? }))
            }
            _ => None,
        }
    }

    /// Makes the node with this index, which reads only `id`, part of what computed it.
    pub(super) fn fold(&mut self, index: usize, id: ValueId) -> Result<()> {
        self.folded.insert(index);
        let reader = self.graph.node.get(index).map(|proto| OnnxNode { proto });
        reader.map_or(Ok(()), |reader| self.bind(reader.output()?, id))
    }

    /// Adds an operation that computes `node`'s output; gives its value.
    pub(super) fn emit(
        &mut self,
        node: OnnxNode<'a>,
        op: Op,
        inputs: &[ValueId],
        weights: impl IntoIterator<Item = (&'static str, Tensor)>,
    ) -> Result<ValueId> {
        let id = self.emit_part(node.name(), op, inputs, weights)?;
        self.bind(node.output()?, id)?;
        Ok(id)
    }

    /// Adds an operation that is only a step towards a node's output.
    pub(super) fn emit_part(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        weights: impl IntoIterator<Item = (&'static str, Tensor)>,
    ) -> Result<ValueId> {
        let name = self.names.unique(name);
        // The place is added by the caller, with ONNX's own name.
        self.builder
            .node(&name, op, inputs, weights)
            .map_err(|e| Error::new(e.kind(), "", e.message()))
    }

    /// Makes `id` the value that ONNX calls `name`.
    pub(super) fn bind(&mut self, name: &'a str, id: ValueId) -> Result<()> {
        match self.values.insert(name, id) {
            None => Ok(()),
            Some(_) => Err(fault(format!("{name:?} is computed twice"))),
        }
    }

    /// Makes `node` give the constant that it reads, if it reads one; says whether.
    pub(super) fn pass_constant(&mut self, node: OnnxNode<'a>) -> Result<bool> {
        let constant = self.constants.get(node.required(0)?).cloned();
        match constant {
            Some(constant) => self.bind_constant(node, constant).map(|()| true),
            None => Ok(false),
        }
    }

    /// Makes `constant` what `node` gives.
    pub(super) fn bind_constant(
        &mut self,
        node: OnnxNode<'a>,
        constant: Constant<'a>,
    ) -> Result<()> {
        let name = node.output()?;
        match self.constants.insert(name, constant) {
            None => Ok(()),
            Some(_) => Err(fault(format!("{name:?} is computed twice"))),
        }
    }
}

/// The shape of one sample: a batch of any size becomes 1, all else must be known.
fn sample_shape(dims: &[DimensionProto]) -> Result<Shape> {
    let mut shape = Vec::with_capacity(dims.len());
    for (axis, dim) in dims.iter().enumerate() {
        shape.push(match (axis, dim.dim_value) {
            (0, None | Some(1)) => 1,
            (0, Some(n)) => {
                return Err(unsupported(format!(
                    "has a batch of {n}: export the model with batch 1 or a dynamic batch"
                )));
            }
            (_, Some(size)) => usize::try_from(size)
                .map_err(|_| fault(format!("dimension {axis} has the size {size}")))?,
            (_, None) => {
                return Err(unsupported(format!(
                    "dimension {axis} ({}) has no fixed size: export with a fixed size, only the \
                     batch may be dynamic",
                    dim.dim_param.as_deref().unwrap_or("?")
                )));
            }
        });
    }
    match shape.len() {
        2 | 4 => Ok(shape.into()),
        _ => Err(unsupported(format!(
            "has {} dimensions; it must be [n, features] or [n, channels, height, width]",
            dims.len()
        ))),
    }
}
