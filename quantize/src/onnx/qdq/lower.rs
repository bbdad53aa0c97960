//! From a float graph with conversions around its operations, as QDQ files have them, to one whose
//! operations are int8 themselves.

use std::collections::{BTreeMap, BTreeSet};

use hipflask_runtime::graph::{Graph, GraphBuilder, Node, Op, ValueId};
use hipflask_runtime::quant::{QuantParams, multiplier};
use hipflask_runtime::{DType, Error, ErrorKind, Result, Tensor};

use super::{Bias, Layer};
use crate::lut;

/// The scale of a bias may differ from `s_x · s_w` by this share: a few roundings of floats.
const BIAS_SCALE_TOLERANCE: f64 = 1e-5;

/// The int8 network of `graph`, which [`prepare`](crate::prepare) made; `layers` has the integers of
/// its quantized layers by node name.
///
/// An operation becomes int8 where all its inputs are quantized and its output is quantized before
/// anything else reads it; all else stays in f32, with the file's own roundings around it.
pub(in crate::onnx) fn lower(graph: &Graph, layers: &BTreeMap<String, Layer>) -> Result<Graph> {
    let mut lowering = Lowering {
        graph,
        layers,
        builder: GraphBuilder::new(graph.name.clone(), graph.layout),
        names: graph.nodes.iter().map(|node| node.name.clone()).collect(),
        dequantized: of_op(graph, &Op::Dequantize),
        read_as: read_as(graph),
        int8: BTreeMap::new(),
        float: BTreeMap::new(),
    };
    for &id in &graph.inputs {
        let value = graph.value(id);
        let input = lowering.builder.input(&value.name, value.shape.clone());
        lowering.float.insert(id, input);
    }
    for node in &graph.nodes {
        lowering.node(node).map_err(|e| match e.at() {
            "" => Error::new(e.kind(), format!("node {:?}", node.name), e.message()),
            _ => e,
        })?;
    }
    let outputs: Result<Vec<_>> = graph.outputs.iter().map(|&id| lowering.as_float(id)).collect();
    lowering.builder.finish(&outputs?)
}

/// How all that reads a value does so.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    /// Quantized with these parameters, be it after moving its elements.
    Quantized(QuantParams),
    /// Otherwise.
    Real,
}

/// How each value that is read, is.
fn read_as(graph: &Graph) -> BTreeMap<ValueId, Read> {
    let mut found: BTreeMap<ValueId, Read> =
        graph.outputs.iter().map(|&id| (id, Read::Real)).collect();
    // Backwards, so that all that reads an output was seen before its node.
    for node in graph.nodes.iter().rev() {
        let read = match (&node.op, graph.value(node.output).quant) {
            (Op::Quantize, Some(params)) => Read::Quantized(params),
            (op, _) if op.keeps_quant() => found.get(&node.output).copied().unwrap_or(Read::Real),
            _ => Read::Real,
        };
        for &id in &node.inputs {
            let known = found.entry(id).or_insert(read);
            if *known != read {
                *known = Read::Real;
            }
        }
    }
    found
}

fn of_op(graph: &Graph, op: &Op) -> BTreeSet<ValueId> {
    graph.nodes.iter().filter(|node| node.op == *op).map(|node| node.output).collect()
}

struct Lowering<'a> {
    graph: &'a Graph,
    layers: &'a BTreeMap<String, Layer>,
    builder: GraphBuilder,
    /// Of all nodes, old and new.
    names: BTreeSet<String>,
    /// Values of `graph` that it dequantizes.
    dequantized: BTreeSet<ValueId>,
    /// For values of `graph`: how they are read.
    read_as: BTreeMap<ValueId, Read>,
    /// For values of `graph`: their int8 form, once there is one.
    int8: BTreeMap<ValueId, (ValueId, QuantParams)>,
    /// For values of `graph`: their f32 form, once there is one.
    float: BTreeMap<ValueId, ValueId>,
}

impl Lowering<'_> {
    fn node(&mut self, node: &Node) -> Result<()> {
        let x = *node.inputs.first().ok_or_else(|| broken("has no input"))?;
        let inputs: Option<Vec<(ValueId, QuantParams)>> =
            node.inputs.iter().map(|id| self.int8.get(id).copied()).collect();
        match (&node.op, inputs) {
            (Op::Dequantize, Some(inputs)) => {
                self.int8.extend(inputs.first().map(|&form| (node.output, form)));
                Ok(())
            }
            (Op::Quantize, inputs) => {
                let params = self.graph.value(node.output).quant;
                let params = params.ok_or_else(|| broken("has no scale"))?;
                let there = inputs.and_then(|forms| forms.first().copied());
                let form = match there {
                    Some(form) if form.1 == params => form,
                    _ => {
                        let from = self.as_float(x)?;
                        let to = Some(params);
                        (self.builder.node_as(&node.name, Op::Quantize, &[from], [], to)?, params)
                    }
                };
                self.int8.insert(node.output, form);
                Ok(())
            }
            (op, Some(inputs)) if !op.is_real() => match self.wanted(node, &inputs) {
                Some(params) => self.integer_node(node, &inputs, params),
                None => self.float_node(node),
            },
            _ => self.float_node(node),
        }
    }

    /// The parameters that `node`'s output gets in int8; `None` where it stays in f32.
    fn wanted(&self, node: &Node, inputs: &[(ValueId, QuantParams)]) -> Option<QuantParams> {
        if node.op.keeps_quant() {
            return inputs.first().map(|form| form.1);
        }
        if matches!(node.op, Op::Conv2d { .. } | Op::Linear)
            && !self.layers.contains_key(&node.name)
        {
            return None;
        }
        match self.read_as.get(&node.output) {
            Some(&Read::Quantized(params)) => Some(params),
            _ => None,
        }
    }

    fn integer_node(
        &mut self,
        node: &Node,
        inputs: &[(ValueId, QuantParams)],
        y: QuantParams,
    ) -> Result<()> {
        let ids: Vec<ValueId> = inputs.iter().map(|form| form.0).collect();
        let x = inputs.first().map(|form| form.1).ok_or_else(|| broken("has no input"))?;
        let tensors = match &node.op {
            Op::Conv2d { .. } | Op::Linear => self.layer(node, x, y)?,
            Op::Activation { function } => vec![("table", lut::table(*function, x, y))],
            _ => Vec::new(),
        };
        let id = self.builder.node_as(&node.name, node.op.clone(), &ids, tensors, Some(y))?;
        self.builder.fuse(node.activation);
        self.int8.insert(node.output, (id, y));
        Ok(())
    }

    /// The tensors of a layer with the file's own integers.
    fn layer(
        &self,
        node: &Node,
        x: QuantParams,
        y: QuantParams,
    ) -> Result<Vec<(&'static str, Tensor)>> {
        let layer = self.layers.get(&node.name).ok_or_else(|| broken("has no integers"))?;
        let weight = self.graph.f32s(node, "weight")?;
        let shape =
            self.graph.weight(node, "weight").map(|t| t.shape().clone()).unwrap_or_default();
        let channels = layer.scales.len();
        let row = weight.len().checked_div(channels).unwrap_or(0).max(1);
        let floats = match self.graph.weight(node, "bias") {
            Some(_) => self.graph.f32s(node, "bias")?.into_owned(),
            None => vec![0.0; channels],
        };
        let mut integers = Vec::with_capacity(weight.len());
        let (mut biases, mut multipliers) = (Vec::new(), Vec::new());
        let channels_of = weight.chunks(row).zip(&layer.scales).zip(floats).enumerate();
        for (c, ((weights, &scale), real)) in channels_of {
            let mut sum = 0_i64;
            for &w in weights {
                let q = (w / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
                // Holds for each product of an integer of 8 bits and a scale.
                if (f32::from(q) * scale).to_bits() != w.to_bits() && w != 0.0 {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "",
                        "its weights were quantized before a batch norm was folded into them: fold \
                         it first (for onnxruntime: quantization.preprocess) and quantize again",
                    ));
                }
                sum = sum.saturating_add(i64::from(q));
                integers.push(q);
            }
            let step = f64::from(x.scale) * f64::from(scale);
            let bias = match &layer.bias {
                Bias::Integers(stored) => {
                    let &(value, own) = stored.get(c).unwrap_or(&(0, 0.0));
                    let close = (f64::from(own) / step - 1.0).abs() <= BIAS_SCALE_TOLERANCE;
                    if close { f64::from(value) } else { f64::from(value) * f64::from(own) / step }
                }
                Bias::Floats => f64::from(real) / step,
            };
            let zero = i64::from(x.zero_point).saturating_mul(sum);
            let stored = bias.round_ties_even() - zero as f64;
            if stored.is_nan() || stored.abs() >= f64::from(i32::MAX) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "",
                    format!(
                        "the bias of channel {c} is {stored:.0} steps, beyond 32 bits: its weights \
                         are too small beside it; quantize again with per_channel = False"
                    ),
                ));
            }
            biases.push(stored as i32);
            multipliers.push(multiplier(x.scale, scale, y.scale));
        }
        Ok(vec![
            ("weight", Tensor::from_i8(shape, &integers)),
            ("bias", Tensor::from_i32([channels], &biases)),
            ("scale", Tensor::from_f32([channels], &layer.scales)),
            ("multiplier", Tensor::from_f32([channels], &multipliers)),
        ])
    }

    fn float_node(&mut self, node: &Node) -> Result<()> {
        let inputs: Result<Vec<_>> = node.inputs.iter().map(|&id| self.as_float(id)).collect();
        let roles = node.op.roles(DType::F32).iter();
        let weights: Vec<_> = roles
            .filter_map(|role| Some((role.name, self.graph.weight(node, role.name)?.clone())))
            .collect();
        let id = self.builder.node(&node.name, node.op.clone(), &inputs?, weights)?;
        self.builder.fuse(node.activation);
        self.float.insert(node.output, id);
        Ok(())
    }

    /// The f32 form of a value, made by a dequantize node where there is none yet.
    fn as_float(&mut self, id: ValueId) -> Result<ValueId> {
        if let Some(&there) = self.float.get(&id) {
            return Ok(there);
        }
        let &(from, _) = self.int8.get(&id).ok_or_else(|| broken("reads what nothing computed"))?;
        let value = &self.graph.value(id).name;
        let name = if self.dequantized.contains(&id) {
            // The file's own node, which is named as its value.
            value.clone()
        } else {
            self.fresh(&format!("{value}.dequantize"))
        };
        let made = self.builder.node(&name, Op::Dequantize, &[from], [])?;
        self.float.insert(id, made);
        Ok(made)
    }

    fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        let mut number = 2_usize;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}_{number}");
            number = number.saturating_add(1);
        }
        name
    }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Graph, "", what)
}
