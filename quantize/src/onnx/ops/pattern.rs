//! What a pattern of several nodes becomes.

use hipflask_runtime::graph::Op;
use hipflask_runtime::{Result, Tensor};

use super::linear::per_channel;
use super::shape::resolve;
use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, fault, unsupported};
use crate::onnx::patterns::Pattern;

/// How far the scale of attention may be from `1 / √d`: exporters round it, some its root twice.
const SCALE_TOLERANCE: f64 = 1e-4;

/// Imports a pattern, whose last node is `node`.
pub(super) fn import<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    pattern: &Pattern<'a>,
) -> Result<()> {
    match *pattern {
        Pattern::Function { x, function } => {
            let x = importer.named(x)?;
            importer.emit(node, Op::Activation { function }, &[x], [])?;
        }
        Pattern::LayerNorm { x, weight, bias, eps } => {
            let x = importer.named(x)?;
            let features = importer.shape(x).last().copied().unwrap_or(0);
            let mut tensor = |name: Option<&str>, otherwise: f32| {
                let floats = match name {
                    Some(name) => importer.optional_constant(name)?,
                    None => None,
                };
                let values = match floats {
                    Some(floats) => per_channel(&floats, features, 1)?,
                    None => vec![otherwise; features],
                };
                Ok(Tensor::from_f32([features], &values))
            };
            let weights = [("weight", tensor(weight, 1.0)?), ("bias", tensor(bias, 0.0)?)];
            importer.emit(node, Op::LayerNorm { eps }, &[x], weights)?;
        }
        Pattern::Shuffle { x, split, joined } => {
            let x = importer.named(x)?;
            let from = importer.shape(x).to_vec();
            let [split, joined] = [split, joined].map(|name| {
                let shape = importer.integers(name);
                shape.and_then(|ints| resolve(&ints.values, &from, false))
            });
            let (&[n, c, h, w], Some(split)) = (&from[..], split) else {
                return Err(unsupported("reorders what is no image of known size"));
            };
            let &[_, groups, within, ..] = &split[..] else {
                return Err(fault("splits channels into no groups"));
            };
            let whole = split == [n, groups, within, h, w] && groups.checked_mul(within) == Some(c);
            if !whole || joined.is_some_and(|joined| joined != from) {
                return Err(unsupported(format!(
                    "makes {split:?} of {from:?}; only groups of channels may change places"
                )));
            }
            importer.emit(node, Op::ChannelShuffle { groups }, &[x], [])?;
        }
        Pattern::Attention { x, split, scale, ids } => {
            let x = importer.named(x)?;
            let from = importer.shape(x).to_vec();
            let split = importer.integers(split);
            let split = split.and_then(|ints| resolve(&ints.values, &from, false));
            let Some(&[_, _, 3, heads, d]) = split.as_deref() else {
                return Err(unsupported("attention whose q, k and v do not lie side by side"));
            };
            if (scale * (d as f64).sqrt() - 1.0).abs() > SCALE_TOLERANCE {
                return Err(unsupported(format!(
                    "attention with scores times {scale:.4}; only 1 / √{d} is supported"
                )));
            }
            let mut inputs = vec![x];
            inputs.extend(ids.map(|ids| importer.named(ids)).transpose()?);
            importer.emit(node, Op::Attention { heads }, &inputs, [])?;
        }
        Pattern::Embedding { ids, weight } => {
            let ids = importer.named(ids)?;
            let rows = importer.optional_constant(weight)?;
            let rows = rows.ok_or_else(|| unsupported("reads rows of what is no constant"))?;
            let weight = [("weight", Tensor::from_f32(rows.dims, &rows.values))];
            importer.emit(node, Op::Embedding, &[ids], weight)?;
        }
        Pattern::MeanTokens { x, ids } => {
            let inputs = [importer.named(x)?, importer.named(ids)?];
            importer.emit(node, Op::MeanTokens, &inputs, [])?;
        }
    }
    Ok(())
}
