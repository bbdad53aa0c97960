//! Sums and joins of values, and softmax.

use hipflask_runtime::Result;
use hipflask_runtime::graph::{Op, ValueId};

use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, fault, unsupported};

/// `Add` of two values of one shape; a constant is added only right after a layer.
pub(super) fn add<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let inputs = all(importer, node)?;
    let &[a, b] = &inputs[..] else {
        return Err(unsupported(format!("adds {} values; only two at a time", inputs.len())));
    };
    importer.emit(node, Op::Add, &[a, b], [])?;
    Ok(())
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
