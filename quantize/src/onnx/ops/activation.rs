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
        "Sigmoid" => Activation::Sigmoid,
        other => return Err(fault(format!("{other} is no function without attributes"))),
    };
    emit(importer, node, function)
}

/// `HardSigmoid` as PyTorch has it, `relu6(x + 3) / 6`.
pub(super) fn hard_sigmoid<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
    if (alpha - 1.0 / 6.0).abs() > 1e-6 || beta.to_bits() != 0.5_f32.to_bits() {
        return Err(unsupported(format!(
            "alpha = {alpha}, beta = {beta}; only PyTorch's hardsigmoid with alpha = 1/6 and beta = \
             0.5 is supported"
        )));
    }
    emit(importer, node, Activation::HardSigmoid)
}

/// `Gelu`, exact or approximated.
pub(super) fn gelu<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    match node.text("approximate", "none") {
        "none" => emit(importer, node, Activation::GeluErf),
        "tanh" => emit(importer, node, Activation::Gelu),
        other => Err(fault(format!("approximate = {other:?} is none of ONNX's"))),
    }
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

fn emit<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>, function: Activation) -> Result<()> {
    let x = importer.value(node, 0)?;
    importer.emit(node, Op::Activation { function }, &[x], [])?;
    Ok(())
}
