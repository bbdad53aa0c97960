//! Sums, products and joins of values, and softmax.

use hipflask_runtime::Result;
use hipflask_runtime::graph::{Op, ValueId};

use super::affine;
use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, fault, unsupported};
use crate::onnx::tensors::Floats;

/// `Add` of two values of one shape, or of a value and a constant for each channel.
pub(super) fn add<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    if let Some((x, constant)) = beside_constant(importer, node)? {
        return affine::shift(importer, node, x, constant);
    }
    let inputs = all(importer, node)?;
    let &[a, b] = &inputs[..] else {
        return Err(unsupported(format!("adds {} values; only two at a time", inputs.len())));
    };
    importer.emit(node, Op::Add, &[a, b], [])?;
    Ok(())
}

/// `Mul` of two values of one shape, of an image and a factor for each channel, or of a value and a
/// constant for each channel.
pub(super) fn mul<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    if let Some((x, constant)) = beside_constant(importer, node)? {
        return affine::scale(importer, node, x, &constant);
    }
    let (a, b) = (importer.value(node, 0)?, importer.value(node, 1)?);
    // The factors come second.
    let swap = importer.shape(a).elements() < importer.shape(b).elements();
    let inputs = if swap { [b, a] } else { [a, b] };
    importer.emit(node, Op::Mul, &inputs, [])?;
    Ok(())
}

/// `Sub` of a constant for each channel.
pub(super) fn sub<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let mut constant = divisor(importer, node, "subtracts")?;
    constant.values.iter_mut().for_each(|v| *v = -*v);
    let x = importer.value(node, 0)?;
    affine::shift(importer, node, x, constant)
}

/// `Div` by a constant for each channel.
pub(super) fn div<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let mut constant = divisor(importer, node, "divides by")?;
    constant.values.iter_mut().for_each(|v| *v = 1.0 / *v);
    let x = importer.value(node, 0)?;
    affine::scale(importer, node, x, &constant)
}

fn divisor<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>, what: &str) -> Result<Floats> {
    match importer.optional_constant(node.required(1)?)? {
        Some(constant) => Ok(constant),
        None => Err(unsupported(format!(
            "{what} a computed value; only constants for each channel are supported"
        ))),
    }
}

/// The value and the constant, where `node` has one of each.
fn beside_constant<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
) -> Result<Option<(ValueId, Floats)>> {
    if node.proto.input.len() != 2 {
        return Ok(None);
    }
    for (value, constant) in [(0, 1), (1, 0)] {
        if let Some(floats) = importer.optional_constant(node.required(constant)?)? {
            return Ok(Some((importer.value(node, value)?, floats)));
        }
    }
    Ok(None)
}

/// `Concat` along any dimension but the batch.
pub(super) fn concat<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let inputs = all(importer, node)?;
    let rank = inputs.first().map_or(0, |&x| importer.shape(x).len());
    let axis = axis(node.int("axis", 1), rank)?;
    importer.emit(node, Op::Concat { axis }, &inputs, [])?;
    Ok(())
}

/// `Softmax` over the classes of `[n, classes]`.
pub(super) fn softmax<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let rank = importer.shape(x).len();
    // Of a matrix, the default of old opsets (1) is that of new ones (-1).
    let axis = axis(node.int("axis", -1), rank)?;
    if rank != 2 || axis != 1 {
        return Err(unsupported(format!(
            "is over dimension {axis} of {}; only over the classes of [n, classes]",
            importer.shape(x)
        )));
    }
    importer.emit(node, Op::Softmax, &[x], [])?;
    Ok(())
}

fn all<'a>(importer: &Importer<'a>, node: OnnxNode<'a>) -> Result<Vec<ValueId>> {
    (0..node.proto.input.len()).map(|index| importer.value(node, index)).collect()
}

/// A dimension by its number, which counts from the end where negative.
pub(super) fn axis(number: i64, rank: usize) -> Result<usize> {
    let from_end = i64::try_from(rank).ok().and_then(|rank| number.checked_add(rank));
    let axis = if number < 0 { from_end } else { Some(number) };
    axis.and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| fault(format!("dimension {number} of a value with {rank} dimensions")))
}
