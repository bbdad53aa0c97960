//! Converting a prepared float graph to int8, node by node.

use std::collections::{BTreeMap, BTreeSet};

use hipflask_runtime::graph::{Graph, GraphBuilder, Layout, Node, Op, ValueId};
use hipflask_runtime::quant::QuantParams;

use crate::calibration::Calibration;
use crate::error::{Error, Result};
use crate::{lut, scheme};

/// The int8 graph of a graph from [`prepare`](crate::prepare) with its calibration.
///
/// Convolutions, linear layers, pools, additions, joins and activations run in int8. What
/// [knows f32 alone](Op::is_real) stays in it, with conversions around: softmax, a batch norm of a
/// vector that could not be folded, and of a transformer all but its linear layers and the
/// activations between them. Inputs and outputs of the network stay f32.
pub fn to_int8(graph: &Graph, calibration: &Calibration) -> Result<Graph> {
    to_mixed(graph, calibration, &BTreeSet::new())
}

/// As [`to_int8`], where the nodes named in `islands` stay in f32 too.
pub fn to_mixed(
    graph: &Graph,
    calibration: &Calibration,
    islands: &BTreeSet<String>,
) -> Result<Graph> {
    if calibration.ranges.len() != graph.values.len() {
        let (got, wanted) = (calibration.ranges.len(), graph.values.len());
        return Err(Error::OtherGraph { got, wanted });
    }
    let mut converter = Converter {
        graph,
        calibration,
        islands,
        builder: GraphBuilder::new(graph.name.clone(), Layout::Nhwc),
        int8: BTreeMap::new(),
        float: BTreeMap::new(),
    };
    for &id in &graph.inputs {
        let value = graph.value(id);
        let input = converter.builder.input(&value.name, value.shape.clone());
        converter.float.insert(id, input);
    }
    for node in &graph.nodes {
        converter.node(node)?;
    }
    let outputs: Result<Vec<_>> = graph.outputs.iter().map(|&id| converter.as_float(id)).collect();
    Ok(converter.builder.finish(&outputs?)?)
}

/// Whether `node` of a float graph stays in f32 whatever is asked: it knows nothing else, or it adds
/// to the tokens that pass through a transformer: layer after layer adds to the same ones, and each
/// rounding to int8 would stay in them to the end.
pub(crate) fn stays_real(graph: &Graph, node: &Node) -> bool {
    node.op.is_real() || node.op == Op::Add && graph.value(node.output).shape.len() == 3
}

struct Converter<'a> {
    graph: &'a Graph,
    calibration: &'a Calibration,
    islands: &'a BTreeSet<String>,
    builder: GraphBuilder,
    /// For values of the float graph: their int8 form, once there is one.
    int8: BTreeMap<ValueId, (ValueId, QuantParams)>,
    /// For values of the float graph: their f32 form, once there is one.
    float: BTreeMap<ValueId, ValueId>,
}

impl Converter<'_> {
    fn node(&mut self, node: &Node) -> Result<()> {
        let y = node.output;
        match &node.op {
            op if stays_real(self.graph, node)
                || self.islands.contains(&node.name)
                || self.moves_island(node) =>
            {
                let inputs: Result<Vec<_>> =
                    node.inputs.iter().map(|&id| self.as_float(id)).collect();
                let weights = op.roles(hipflask_runtime::DType::F32).iter();
                let weights: Vec<_> = weights
                    .filter_map(|r| Some((r.name, self.graph.weight(node, r.name)?.clone())))
                    .collect();
                let out = self.builder.node(&node.name, op.clone(), &inputs?, weights)?;
                self.builder.fuse(node.activation);
                self.float.insert(y, out);
            }
            Op::Conv2d { .. } | Op::Linear => {
                let (x, xq) = self.as_int8(node.inputs[0])?;
                let yq = self.calibrated(joined(self.graph, y));
                let weight = self.graph.f32s(node, "weight")?;
                let name = node.tensor_name("weight");
                let shape = self.graph.tensors[&name].shape().clone();
                let bias = match self.graph.weight(node, "bias") {
                    Some(_) => self.graph.f32s(node, "bias")?.into_owned(),
                    None => vec![0.0; shape[0]],
                };
                let tensors = scheme::layer(&node.name, &shape, &weight, &bias, xq, yq)?;
                let out =
                    self.builder.node_as(&node.name, node.op.clone(), &[x], tensors, Some(yq))?;
                self.builder.fuse(node.activation);
                self.int8.insert(y, (out, yq));
            }
            Op::Activation { function } => {
                let (x, xq) = self.as_int8(node.inputs[0])?;
                let yq = lut::fixed_params(*function).unwrap_or_else(|| self.calibrated(y));
                let table = [("table", lut::table(*function, xq, yq))];
                let out =
                    self.builder.node_as(&node.name, node.op.clone(), &[x], table, Some(yq))?;
                self.int8.insert(y, (out, yq));
            }
            op => {
                let inputs: Result<Vec<_>> =
                    node.inputs.iter().map(|&id| self.as_int8(id)).collect();
                let inputs = inputs?;
                let yq = if op.keeps_quant() { inputs[0].1 } else { self.calibrated(y) };
                let ids: Vec<ValueId> = inputs.iter().map(|&(id, _)| id).collect();
                let out = self.builder.node_as(&node.name, op.clone(), &ids, [], Some(yq))?;
                self.builder.fuse(node.activation);
                self.int8.insert(y, (out, yq));
            }
        }
        Ok(())
    }

    /// Whether `node` only moves the values of an island: they stay what they are until something
    /// computes in int8.
    fn moves_island(&self, node: &Node) -> bool {
        node.op.keeps_quant()
            && self.float.contains_key(&node.inputs[0])
            && !self.int8.contains_key(&node.inputs[0])
            && self.graph.nodes.iter().any(|made| {
                let is_island = self.islands.contains(&made.name);
                made.output == node.inputs[0] && (is_island || self.moves_island(made))
            })
    }

    fn calibrated(&self, id: ValueId) -> QuantParams {
        self.calibration.ranges[id.0].params()
    }

    /// The int8 form of a value, made by a quantize node where there is none yet.
    fn as_int8(&mut self, id: ValueId) -> Result<(ValueId, QuantParams)> {
        if let Some(&there) = self.int8.get(&id) {
            return Ok(there);
        }
        let params = self.calibrated(id);
        let name = format!("{}.quantize", self.graph.value(id).name);
        let from = self.float[&id];
        let made = (self.builder.node_as(&name, Op::Quantize, &[from], [], Some(params))?, params);
        self.int8.insert(id, made);
        Ok(made)
    }

    /// The f32 form of a value, made by a dequantize node where there is none yet.
    fn as_float(&mut self, id: ValueId) -> Result<ValueId> {
        if let Some(&there) = self.float.get(&id) {
            return Ok(there);
        }
        let name = format!("{}.dequantize", self.graph.value(id).name);
        let (from, _) = self.int8[&id];
        let made = self.builder.node(&name, Op::Dequantize, &[from], [])?;
        self.float.insert(id, made);
        Ok(made)
    }
}

/// The value that a value becomes a part of, where it is read for that alone: with the parameters
/// of the whole it needs no rescaling, and can be computed in its place.
pub(crate) fn joined(graph: &Graph, id: ValueId) -> ValueId {
    let mut readers = graph.nodes.iter().filter(|node| node.inputs.contains(&id));
    match (readers.next(), readers.next()) {
        (Some(node), None)
            if matches!(node.op, Op::Concat { .. }) && !graph.outputs.contains(&id) =>
        {
            node.output
        }
        _ => id,
    }
}
