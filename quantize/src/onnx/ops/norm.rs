//! Batch normalization as in evaluation.

use hipflask_runtime::graph::Op;
use hipflask_runtime::{Result, Tensor};

use super::linear::per_channel;
use crate::onnx::importer::Importer;
use crate::onnx::node::OnnxNode;

/// `BatchNormalization` with constant statistics.
pub(super) fn batch_norm<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    node.only("training_mode", 0)?;
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
