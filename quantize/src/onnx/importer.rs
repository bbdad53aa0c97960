//! From an ONNX graph to a hipflask graph, node by node.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use hipflask_runtime::graph::{Graph, GraphBuilder, Layout, LoadLimits, Op, ValueId};
use hipflask_runtime::quant::QuantParams;
use hipflask_runtime::{Error, ErrorKind, Result, Shape, Tensor};

use super::integers::Ints;
use super::names::Names;
use super::node::{OnnxNode, fault, unsupported};
use super::ops;
use super::patterns::Patterns;
use super::proto::{DimensionProto, GraphProto, TensorProto, ValueInfoProto};
use super::qdq::{Integers, Layer};
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
    /// Floats that were quantized.
    Quantized(Rc<Integers>),
    /// Quantized floats, to be read as floats again.
    Dequantized(Rc<Integers>),
}

/// What is known while nodes are imported.
pub(super) struct Importer<'a> {
    graph: &'a GraphProto,
    /// Version of ONNX's operators.
    pub(super) opset: i64,
    pub(super) tensors: Tensors,
    builder: GraphBuilder,
    names: Names,
    pub(super) values: BTreeMap<&'a str, ValueId>,
    pub(super) constants: BTreeMap<&'a str, Constant<'a>>,
    /// The nodes that read each value, by index.
    readers: BTreeMap<&'a str, Vec<usize>>,
    outputs: BTreeSet<&'a str>,
    /// Nodes that became part of the node before them.
    folded: BTreeSet<usize>,
    /// For the output of a Pad that only a convolution reads: what it adds to that one's padding.
    pub(super) paddings: BTreeMap<&'a str, [usize; 4]>,
    /// Names of images that the file sees as `[n, h, w, c]`.
    pub(super) views: BTreeMap<&'a str, ValueId>,
    /// Whether the node at hand gives one.
    pub(super) viewing: bool,
    /// Names of planes `[n, c, h · w]` of images.
    pub(super) planes: BTreeMap<&'a str, ValueId>,
    /// For images that the file flattens as `[h, w, c]`: their size.
    pub(super) pixels: BTreeMap<ValueId, [usize; 3]>,
    /// Of values in int8: what their integers stand for.
    quant: BTreeMap<ValueId, QuantParams>,
    /// For the outputs of layers with quantized weights: their integers.
    layers: BTreeMap<ValueId, Layer>,
    /// How many more elements of weights may be decoded.
    pub(super) budget: usize,
}

/// A graph in PyTorch's layout, and the integers of its layers by the names of their nodes, where
/// the file is quantized.
pub(super) struct Imported {
    pub(super) graph: Graph,
    pub(super) layers: BTreeMap<String, Layer>,
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
            views: BTreeMap::new(),
            viewing: false,
            planes: BTreeMap::new(),
            pixels: BTreeMap::new(),
            quant: BTreeMap::new(),
            layers: BTreeMap::new(),
            budget: LoadLimits::default().elements,
        }
    }

    /// The finished graph; an error names the node at fault.
    pub(super) fn run(mut self) -> Result<Imported> {
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
        let patterns = Patterns::of(self.graph, self.opset, &self.tensors);
        for (index, proto) in self.graph.node.iter().enumerate() {
            if self.folded.contains(&index) || patterns.inside(index) {
                continue;
            }
            let node = OnnxNode { proto };
            ops::import(&mut self, node, patterns.ending(index))
                .map_err(|e| e.in_file(&format!("node {:?} ({})", node.name(), node.op())))?;
        }
        let outputs: Result<Vec<ValueId>> = self
            .graph
            .output
            .iter()
            .map(|o| {
                let known = match self.values.get(o.name.as_str()).copied() {
                    None => Err(fault("no node computes it")),
                    Some(id) if self.quant.contains_key(&id) => Err(unsupported(
                        "has quantized elements; end the model with DequantizeLinear",
                    )),
                    Some(id) => Ok(id),
                };
                known.map_err(|e| e.in_file(&format!("output {:?}", o.name)))
            })
            .collect();
        let graph = self.builder.finish(&outputs?)?;
        let mut layers = self.layers;
        let named =
            graph.nodes.iter().filter_map(|n| Some((n.name.clone(), layers.remove(&n.output)?)));
        Ok(Imported { layers: named.collect(), graph })
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
        let name = self.names.unique(&input.name, false);
        let readers = self.readers.get(input.name.as_str()).into_iter().flatten();
        let readers = readers.filter_map(|&i| self.graph.node.get(i));
        let reorders = ops::reorders_input(readers.map(|proto| OnnxNode { proto }));
        match shape.dims::<4>() {
            Some([n, h, w, c]) if reorders => {
                let id = self.builder.input(&name, [n, c, h, w]);
                self.bind_view(&input.name, id)
            }
            _ => {
                let id = self.builder.input(&name, shape);
                self.bind(&input.name, id)
            }
        }
    }

    /// The value that input `index` of `node` names.
    pub(super) fn value(&self, node: OnnxNode<'a>, index: usize) -> Result<ValueId> {
        self.named(node.required(index)?)
    }

    /// The value called `name`.
    pub(super) fn named(&self, name: &str) -> Result<ValueId> {
        match self.values.get(name) {
            Some(&id) => Ok(id),
            None if self.views.contains_key(name) => Err(unsupported(format!(
                "input {name:?} is an image in the order [n, h, w, c]; only elementwise operators, \
                 means, flattening and Transpose may read one: export in PyTorch's order"
            ))),
            None if self.constants.contains_key(name) => Err(unsupported(format!(
                "input {name:?} is a constant where a computed value is needed: fold constants \
                 before the export (onnxsim, or do_constant_folding = True)"
            ))),
            None => Err(fault(format!("input {name:?} is computed by no node before this one"))),
        }
    }

    /// The shape of a value, with its batch dimension.
    pub(super) fn shape(&self, id: ValueId) -> &Shape {
        self.builder.shape(id)
    }

    /// What the elements of a value stand for, where it is int8.
    pub(super) fn params(&self, id: ValueId) -> Option<QuantParams> {
        self.quant.get(&id).copied()
    }

    /// Notes that the layer with the output `id` has quantized weights.
    pub(super) fn note_layer(&mut self, id: ValueId, layer: Option<Layer>) {
        self.layers.extend(layer.map(|layer| (id, layer)));
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
        // Integers are only moved, and keep their parameters.
        let params = inputs.first().and_then(|id| self.quant.get(id)).copied();
        let params = match op {
            Op::Dequantize => None,
            _ if params.is_some() && !op.keeps_quant() => {
                return Err(unsupported(
                    "computes with quantized elements; only models in the format QDQ, with \
                     DequantizeLinear before each such node, are supported",
                ));
            }
            _ => params,
        };
        self.emit_as(name, op, inputs, weights, params)
    }

    /// As [`Importer::emit_part`], with an int8 output where `params` are given.
    pub(super) fn emit_as(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        weights: impl IntoIterator<Item = (&'static str, Tensor)>,
        params: Option<QuantParams>,
    ) -> Result<ValueId> {
        let name = self.names.unique(name, matches!(op, Op::Quantize | Op::Dequantize));
        // The place is added by the caller, with ONNX's own name.
        let made = self.builder.node_as(&name, op, inputs, weights, params);
        let id = made.map_err(|e| Error::new(e.kind(), "", e.message()))?;
        self.quant.extend(params.map(|params| (id, params)));
        Ok(id)
    }

    /// Makes `id` the value that ONNX calls `name`.
    pub(super) fn bind(&mut self, name: &'a str, id: ValueId) -> Result<()> {
        if self.viewing {
            return self.bind_view(name, id);
        }
        match self.values.insert(name, id) {
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
