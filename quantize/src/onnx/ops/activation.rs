//! Elementwise functions.

use hipflask_runtime::Result;
use hipflask_runtime::graph::{Activation, Op};

use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, fault, unsupported};

/// Functions without attributes.
pub(super) fn plain<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let function = match node.op() {
        "Relu" => Activation::Relu,
        "HardSwish" => Activation::HardSwish,
        "Tanh" => Activation::Tanh,
        other => return Err(fault(format!("{other} is no function without attributes"))),
    };
    emit(importer, node, function)
}

/// `Sigmoid`; where only a product with its own input reads it, both together are SiLU.
pub(super) fn sigmoid<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    gate(importer, node, Activation::Sigmoid, Activation::Silu)
}

/// `HardSigmoid` as PyTorch has it, `relu6(x + 3) / 6`; with a product as for [`sigmoid`] it is
/// HardSwish.
pub(super) fn hard_sigmoid<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
    if (alpha - 1.0 / 6.0).abs() > 1e-6 || beta.to_bits() != 0.5_f32.to_bits() {
        return Err(unsupported(format!(
            "alpha = {alpha}, beta = {beta}; only PyTorch's hardsigmoid with alpha = 1/6 and beta = \
             0.5 is supported"
        )));
    }
    gate(importer, node, Activation::HardSigmoid, Activation::HardSwish)
}

/// `Clip` to `[0, 6]` or to `[0, ∞)`; the bounds are inputs since opset 11.
pub(super) fn clip<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let (min, max) = if importer.opset < 11 {
        (node.float("min", f32::MIN), node.float("max", f32::MAX))
    } else {
        let mut bound = |index, otherwise: f32| {
            let given = importer.optional_floats(node, index)?;
            Ok(given.and_then(|v| v.values.first().copied()).unwrap_or(otherwise))
        };
        (bound(1, f32::MIN)?, bound(2, f32::MAX)?)
    };
    let function = match (min, max) {
        (0.0, 6.0) => Activation::Relu6,
        (0.0, f32::MAX | f32::INFINITY) => Activation::Relu,
        _ => {
            return Err(unsupported(format!(
                "clips to [{min}, {max}]; only [0, 6] and [0, ∞) are supported: train with Relu or \
                 Relu6"
            )));
        }
    };
    emit(importer, node, function)
}

/// `alone`, or `gated` where the only reader multiplies it with what it was computed from.
fn gate<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    alone: Activation,
    gated: Activation,
) -> Result<()> {
    let (x, y) = (node.required(0)?, node.output()?);
    if let Some((index, reader)) = importer.only_reader(y)
        && reader.op() == "Mul"
        && let [Some(a), Some(b)] = [reader.input(0), reader.input(1)]
        && ((a, b) == (x, y) || (a, b) == (y, x))
    {
        let id = emit_value(importer, node, gated)?;
        return importer.fold(index, id);
    }
    emit(importer, node, alone)
}

fn emit<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>, function: Activation) -> Result<()> {
    emit_value(importer, node, function).map(|_| ())
}

fn emit_value<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    function: Activation,
) -> Result<hipflask_runtime::graph::ValueId> {
    let x = importer.value(node, 0)?;
    importer.emit(node, Op::Activation { function }, &[x], [])
}
