//! Batch normalization as in evaluation, and layer normalization.

use hipflask_runtime::graph::Op;
use hipflask_runtime::{Result, Tensor};

use super::elementwise::axis;
use super::linear::per_channel;
use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, unsupported};

/// `BatchNormalization` with constant statistics.
pub(super) fn batch_norm<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    node.only("training_mode", 0)?;
    node.only("spatial", 1)?;
    let x = importer.value(node, 0)?;
    let channels = importer.shape(x).get(1).copied().unwrap_or(0);
    let mut weights = Vec::with_capacity(4);
    for (index, role) in (1..).zip(["weight", "bias", "running_mean", "running_var"]) {
        let values = per_channel(&importer.floats(node, index)?, channels, 1)?;
        weights.push((role, Tensor::from_f32([channels], &values)));
    }
    let eps = node.float("epsilon", 1e-5);
    importer.emit(node, Op::BatchNorm { eps }, &[x], weights)?;
    Ok(())
}

/// `LayerNormalization` over the last dimension.
pub(super) fn layer_norm<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let shape = importer.shape(x).to_vec();
    let along = axis(node.int("axis", -1), shape.len())?;
    if !matches!(shape.len(), 2 | 3) || along.checked_add(1) != Some(shape.len()) {
        return Err(unsupported(format!(
            "is over dimension {along} and those behind it of {shape:?}; only over the last of \
             [n, features] or [n, tokens, features]"
        )));
    }
    let features = shape.last().copied().unwrap_or(0);
    let weight = per_channel(&importer.floats(node, 1)?, features, 1)?;
    let bias = match importer.optional_floats(node, 2)? {
        Some(bias) => per_channel(&bias, features, 1)?,
        None => vec![0.0; features],
    };
    let weights = [("weight", weight), ("bias", bias)]
        .map(|(role, values)| (role, Tensor::from_f32([features], &values)));
    let eps = node.float("epsilon", 1e-5);
    importer.emit(node, Op::LayerNorm { eps }, &[x], weights)?;
    Ok(())
}
