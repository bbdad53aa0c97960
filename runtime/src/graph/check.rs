//! Validation: everything that the rest of the crate relies on, before the first inference.
//!
//! A graph comes from a file that may be hostile, so nothing here indexes, allocates by a size
//! from the file, or does arithmetic that can overflow.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{Graph, Node, Op, Value, ValueId, shape};
use crate::dtype::{DType, Shape};
use crate::groups::Groups;
use crate::quant::{QuantParams, multiplier};
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result};

/// Sizes beyond which a model is refused.
#[derive(Clone, Copy, Debug)]
pub struct LoadLimits {
    /// Most nodes and most values.
    pub nodes: usize,
    /// Most elements of one value.
    pub elements: usize,
    /// Largest kernel, stride, dilation or padding.
    pub window: usize,
    /// Longest sequence that attention takes: its work grows with the square.
    pub tokens: usize,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self { nodes: 16_384, elements: 1 << 28, window: 4096, tokens: 16_384 }
    }
}

impl Graph {
    /// Checks the whole graph; the error names the node, value or tensor at fault.
    pub fn check(&self, limits: &LoadLimits) -> Result<()> {
        self.check_values(limits)?;
        self.check_order()?;
        for node in &self.nodes {
            self.check_node(node, limits).map_err(|(kind, reason)| {
                Error::new(kind, format!("node {:?}", node.name), reason)
            })?;
        }
        let known: BTreeSet<String> = self.tensor_order().collect();
        match self.tensors.keys().find(|name| !known.contains(*name)) {
            Some(name) => {
                Err(graph_error(format!("tensor {name:?}"), "belongs to no node of the graph"))
            }
            None => Ok(()),
        }
    }

    fn check_values(&self, limits: &LoadLimits) -> Result<()> {
        for (what, count) in [("nodes", self.nodes.len()), ("values", self.values.len())] {
            if count > limits.nodes {
                let message = format!("{count} {what}, the limit is {}", limits.nodes);
                return Err(Error::new(ErrorKind::Limit, "graph", message));
            }
        }
        let mut names = BTreeSet::new();
        for value in &self.values {
            let at = || format!("value {:?}", value.name);
            if !names.insert(value.name.as_str()) {
                return Err(graph_error(at(), "the name is used twice"));
            }
            let elements = value.shape.checked_elements();
            if elements.is_none_or(|n| n > limits.elements) {
                let message =
                    format!("shape {} is beyond {} elements", value.shape, limits.elements);
                return Err(Error::new(ErrorKind::Limit, at(), message));
            }
            if elements == Some(0) || value.shape.first() != Some(&1) {
                let message = format!("shape {} must begin with 1 and hold something", value.shape);
                return Err(graph_error(at(), message));
            }
            check_quant(value).map_err(|reason| graph_error(at(), reason))?;
        }
        let mut names = BTreeSet::new();
        for node in &self.nodes {
            if node.name.is_empty() || !names.insert(node.name.as_str()) {
                return Err(graph_error(
                    format!("node {:?}", node.name),
                    "the name is empty or used twice",
                ));
            }
        }
        Ok(())
    }

    /// Each value is written once, before it is read; inputs and outputs exist.
    fn check_order(&self) -> Result<()> {
        let mut written = vec![false; self.values.len()];
        let mut write = |id: ValueId, at: &dyn Fn() -> String| match written.get_mut(id.0) {
            None => Err(graph_error(at(), format!("value {} does not exist", id.0))),
            Some(true) => Err(graph_error(at(), format!("value {} is written twice", id.0))),
            Some(slot) => {
                *slot = true;
                Ok(())
            }
        };
        for &id in &self.inputs {
            write(id, &|| "graph inputs".into())?;
        }
        // A second pass over the same order decides what had been written when a node reads.
        let mut order = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            write(node.output, &|| format!("node {:?}", node.name))?;
            order.push(node.output);
        }
        let mut ready = vec![false; self.values.len()];
        let mut mark = |id: ValueId| {
            if let Some(slot) = ready.get_mut(id.0) {
                *slot = true;
            }
        };
        self.inputs.iter().for_each(|&id| mark(id));
        for node in &self.nodes {
            for id in &node.inputs {
                if ready.get(id.0) != Some(&true) {
                    let message = format!("reads value {} before anything writes it", id.0);
                    return Err(graph_error(format!("node {:?}", node.name), message));
                }
            }
            if let Some(slot) = ready.get_mut(node.output.0) {
                *slot = true;
            }
        }
        if self.inputs.is_empty() || self.outputs.is_empty() {
            return Err(graph_error("graph".into(), "needs at least one input and one output"));
        }
        match self.outputs.iter().find(|id| ready.get(id.0) != Some(&true)) {
            Some(id) => {
                Err(graph_error("graph outputs".into(), format!("nothing writes value {}", id.0)))
            }
            None => Ok(()),
        }
    }

    fn check_node(&self, node: &Node, limits: &LoadLimits) -> Result<(), (ErrorKind, String)> {
        let wrong = |reason: String| (ErrorKind::Graph, reason);
        check_windows(&node.op, limits.window).map_err(|reason| (ErrorKind::Limit, reason))?;
        let inputs: Vec<&Value> =
            node.inputs.iter().filter_map(|id| self.values.get(id.0)).collect();
        let (Some(x), Some(output)) = (inputs.first(), self.values.get(node.output.0)) else {
            return Err(wrong("has no input".into()));
        };
        if let (Op::Attention { .. }, Some(&t)) = (&node.op, x.shape.get(1))
            && t > limits.tokens
        {
            let reason = format!("{t} tokens are beyond the limit of {}", limits.tokens);
            return Err((ErrorKind::Limit, reason));
        }
        node.op.groups().map_or(Ok(()), Groups::check).map_err(wrong)?;
        let shapes: Vec<&Shape> = inputs.iter().map(|v| &v.shape).collect();
        let weight = self.weight(node, "weight");
        let inferred = shape::infer(&node.op, self.layout, &shapes, weight.map(Tensor::shape))
            .map_err(wrong)?;
        if inferred != output.shape {
            return Err(wrong(format!("gives shape {inferred}, the file says {}", output.shape)));
        }
        check_dtypes(&node.op, &inputs, output).map_err(wrong)?;
        if node.op.keeps_quant() && x.quant != output.quant {
            return Err(wrong("must keep the scale and zero point of its input".into()));
        }
        if let Some(function) = node.activation
            && (!node.op.fuses_activations() || function.clamp().is_none())
        {
            let reason = format!("cannot have {} fused into it", function.name());
            return Err((ErrorKind::Unsupported, reason));
        }
        self.check_weights(node, x, output).map_err(wrong)
    }

    fn check_weights(&self, node: &Node, x: &Value, output: &Value) -> Result<(), String> {
        let channels = match (&node.op, self.layout.image(&output.shape)) {
            (_, Some([_, _, c])) => c,
            (_, None) => output.shape.last().copied().unwrap_or(0),
        };
        // Inference has compared the weight with the groups.
        let grouped = node.op.groups().zip(self.weight(node, "weight"));
        let grouped = grouped.and_then(|(groups, weight)| {
            let [rows, bytes] = weight.shape().dims::<2>()?;
            Some([rows, groups.count(groups.row_len(bytes))])
        });
        for role in node.op.roles(x.dtype) {
            let Some(tensor) = self.weight(node, role.name) else {
                if role.required {
                    return Err(format!("tensor {:?} is missing", node.tensor_name(role.name)));
                }
                continue;
            };
            let at = |reason: String| format!("tensor {:?}: {reason}", node.tensor_name(role.name));
            let half = role.dtype == DType::F32 && tensor.dtype() == DType::F16;
            if tensor.dtype() != role.dtype && !half {
                return Err(at(format!("dtype {} where {} is needed", tensor.dtype(), role.dtype)));
            }
            let wanted: &[usize] = match (role.name, &node.op) {
                // Inference has compared them with the input.
                (
                    "weight",
                    Op::Conv2d { .. }
                    | Op::Linear
                    | Op::LinearGroups { .. }
                    | Op::Embedding
                    | Op::EmbeddingGroups { .. }
                    | Op::AddPosition,
                ) => tensor.shape(),
                ("scale", _) if grouped.is_some() => grouped.as_ref().map_or(&[], |shape| shape),
                ("table", _) => &[256],
                _ => &[channels],
            };
            if &tensor.shape()[..] != wanted {
                return Err(at(format!(
                    "shape {} where {} is needed",
                    tensor.shape(),
                    Shape::from(wanted)
                )));
            }
        }
        if grouped.is_some() {
            let scales = self.f32s(node, "scale").map_err(|e| format!("{e}"))?;
            if let Some((i, scale)) = scales.iter().enumerate().find(|(_, s)| !s.is_finite()) {
                return Err(format!("scale {i} of its groups is {scale}: it must be finite"));
            }
        }
        match (&node.op, x.quant, output.quant) {
            (Op::Conv2d { .. } | Op::Linear, Some(xq), Some(yq)) => self.check_int8(node, xq, yq),
            _ => Ok(()),
        }
    }

    /// Weights in [-127, 127], multipliers that follow from the scales, sums that fit an i32.
    fn check_int8(&self, node: &Node, x: QuantParams, y: QuantParams) -> Result<(), String> {
        let text = |e: Error| format!("{e}");
        let weights = self.i8s(node, "weight").map_err(text)?;
        let biases = self.i32s(node, "bias").map_err(text)?;
        let scales = self.f32s(node, "scale").map_err(text)?;
        let multipliers = self.f32s(node, "multiplier").map_err(text)?;
        let row = weights.len().checked_div(biases.len()).unwrap_or(0).max(1);
        let channels =
            weights.chunks(row).zip(biases.iter()).zip(scales.iter().zip(multipliers.iter()));
        for (c, ((weights, &bias), (&scale, &m))) in channels.enumerate() {
            if !(scale.is_finite() && scale > 0.0) {
                return Err(format!("scale of channel {c} is {scale}: it must be positive"));
            }
            let wanted = multiplier(x.scale, scale, y.scale);
            if m.to_bits() != wanted.to_bits() || !m.is_finite() {
                return Err(format!(
                    "multiplier of channel {c} is {m}, the scales say {wanted}: the file was edited"
                ));
            }
            if weights.contains(&-128) {
                return Err(format!("channel {c} has the weight -128: weights are in [-127, 127]"));
            }
            let magnitude: u64 = weights.iter().map(|w| u64::from(w.unsigned_abs())).sum();
            let bound =
                magnitude.saturating_mul(255).saturating_add(u64::from(bias.unsigned_abs()));
            if bound >= 1 << 31 {
                return Err(format!("the sums of channel {c} could overflow 32 bits"));
            }
        }
        Ok(())
    }
}

fn check_quant(value: &Value) -> Result<(), String> {
    match (value.dtype, value.quant) {
        (DType::F32, None) => Ok(()),
        (DType::I8, Some(q)) if q.scale.is_finite() && q.scale >= f32::MIN_POSITIVE => Ok(()),
        (DType::I8, Some(q)) => Err(format!("scale {} must be positive and finite", q.scale)),
        (DType::I8, None) => Err("is int8 but has no scale and zero point".into()),
        (DType::F32, Some(_)) => Err("is F32 but has a scale".into()),
        (dtype, _) => Err(format!("values are F32 or I8, not {dtype}")),
    }
}

fn check_dtypes(op: &Op, inputs: &[&Value], output: &Value) -> Result<(), String> {
    let all = |dtype| inputs.iter().all(|v| v.dtype == dtype);
    let fits = match op {
        Op::Quantize => all(DType::F32) && output.dtype == DType::I8,
        Op::Dequantize => all(DType::I8) && output.dtype == DType::F32,
        op if op.is_real() => all(DType::F32) && output.dtype == DType::F32,
        _ => all(output.dtype),
    };
    if fits {
        return Ok(());
    }
    let dtypes: Vec<DType> = inputs.iter().map(|v| v.dtype).collect();
    Err(format!("{} cannot turn {dtypes:?} into {}", op.name(), output.dtype))
}

fn check_windows(op: &Op, limit: usize) -> Result<(), String> {
    let sizes: Vec<usize> = match op {
        Op::Conv2d { stride, padding, dilation, .. } => [&stride[..], padding, dilation].concat(),
        Op::MaxPool2d { kernel, stride, padding }
        | Op::AvgPool2d { kernel, stride, padding, .. } => [&kernel[..], stride, padding].concat(),
        Op::Pad { padding } => padding.to_vec(),
        Op::BatchNorm { eps } | Op::LayerNorm { eps } if !(eps.is_finite() && *eps >= 0.0) => {
            return Err(format!("eps {eps} must be finite and not negative"));
        }
        _ => Vec::new(),
    };
    match sizes.iter().find(|&&s| s > limit) {
        Some(s) => {
            Err(format!("a window, stride or padding of {s} is beyond the limit of {limit}"))
        }
        None => Ok(()),
    }
}

fn graph_error(at: String, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Graph, at, message)
}
