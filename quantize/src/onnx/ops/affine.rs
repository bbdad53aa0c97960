//! Constants for each channel that are added or multiplied: batch norms that fold into layers beside
//! them; and positions, which are added to tokens.

use hipflask_runtime::graph::{Op, ValueId};
use hipflask_runtime::{Result, Tensor};

use super::linear::per_channel;
use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, unsupported};
use crate::onnx::tensors::Floats;

/// `x + constant`
pub(super) fn shift<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    x: ValueId,
    constant: Floats,
) -> Result<()> {
    if let &[1, tokens, width] = &importer.shape(x)[..] {
        return positions(importer, node, x, constant, [tokens, width]);
    }
    let channels = channels(importer, x);
    let bias = fitting(importer, x, &constant)?;
    norm(importer, node, x, &vec![1.0; channels], &bias)
}

/// `x · constant`
pub(super) fn scale<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    x: ValueId,
    constant: &Floats,
) -> Result<()> {
    let channels = channels(importer, x);
    let weight = fitting(importer, x, constant)?;
    norm(importer, node, x, &weight, &vec![0.0; channels])
}

/// A batch norm without statistics: it is `x · weight + bias` exactly.
fn norm<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    x: ValueId,
    weight: &[f32],
    bias: &[f32],
) -> Result<()> {
    let (zeros, ones) = (vec![0.0; weight.len()], vec![1.0; weight.len()]);
    let tensor = |values: &[f32]| Tensor::from_f32([values.len()], values);
    let weights = [
        ("weight", tensor(weight)),
        ("bias", tensor(bias)),
        ("running_mean", tensor(&zeros)),
        ("running_var", tensor(&ones)),
    ];
    importer.emit(node, Op::BatchNorm { eps: 0.0 }, &[x], weights)?;
    Ok(())
}

/// A vector for each token, or one for all, that is added to `[1, tokens, width]`.
fn positions<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    x: ValueId,
    constant: Floats,
    [tokens, width]: [usize; 2],
) -> Result<()> {
    let elements = tokens.saturating_mul(width);
    let dims = constant.dims.iter().copied().skip_while(|&d| d == 1).collect::<Vec<_>>();
    let count = constant.values.len();
    let values = match (&dims[..], count) {
        (&[t, d], _) if (t, d) == (tokens, width) => constant.values,
        (&[d], _) if d == width => {
            importer.spend(elements)?;
            constant.values.repeat(tokens)
        }
        (_, 1) => {
            importer.spend(elements)?;
            constant.values.repeat(elements)
        }
        _ => {
            return Err(unsupported(format!(
                "adds a constant of shape {:?} to tokens {}; it must have a vector for each token, \
                 or one for all",
                constant.dims,
                importer.shape(x)
            )));
        }
    };
    let weight = [("weight", Tensor::from_f32([1, tokens, width], &values))];
    importer.emit(node, Op::AddPosition, &[x], weight)?;
    Ok(())
}

fn channels(importer: &Importer<'_>, x: ValueId) -> usize {
    importer.shape(x).get(1).copied().unwrap_or(0)
}

/// One value for each channel of `x`.
fn fitting(importer: &Importer<'_>, x: ValueId, constant: &Floats) -> Result<Vec<f32>> {
    let shape = importer.shape(x);
    let rank = shape.len();
    if !matches!(rank, 2 | 4) {
        return Err(unsupported(format!("computes with a constant and a value {shape}")));
    }
    per_channel(constant, channels(importer, x), rank).map_err(|_| {
        unsupported(format!(
            "computes with a constant of shape {:?} and a value {shape}; only one number for each \
             channel is supported: leave the rest to the preprocessing",
            constant.dims
        ))
    })
}
