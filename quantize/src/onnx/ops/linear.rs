//! Linear layers: `Gemm` and `MatMul` with constant weights.

use hipflask_runtime::graph::{Op, ValueId};
use hipflask_runtime::{Result, Tensor};

use super::conv::sum;
use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, fault, unsupported};
use crate::onnx::tensors::Floats;

/// `alpha · x · B + beta · C`; `alpha` goes into the weights, `beta` into the bias.
pub(super) fn gemm<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    node.only("transA", 0)?;
    let x = importer.value(node, 0)?;
    let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
    let mut weight = rows(importer.floats(node, 1)?, node.int("transB", 0) != 0)?;
    scale(&mut weight.values, alpha);
    let bias = match importer.optional_floats(node, 2)? {
        Some(mut bias) => {
            scale(&mut bias.values, beta);
            Some(per_channel(&bias, outputs(&weight), 2)?)
        }
        None => None,
    };
    linear(importer, node, x, weight, bias)
}

/// `x · B` with constant `B` `[i, o]`.
pub(super) fn mat_mul<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let weight = rows(importer.floats(node, 1)?, false)?;
    linear(importer, node, x, weight, None)
}

/// A linear layer with `weight` `[o, i]`; an addition of a constant after it becomes its bias.
fn linear<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    x: ValueId,
    weight: Floats,
    mut bias: Option<Vec<f32>>,
) -> Result<()> {
    let mut folded = None;
    if let Some((index, added)) = importer.added_constant(node)?
        && let Ok(added) = per_channel(&added, outputs(&weight), 2)
    {
        folded = Some(index);
        bias = Some(sum(bias, added));
    }
    let bias = bias.map(|bias| ("bias", Tensor::from_f32([bias.len()], &bias)));
    let weight = ("weight", Tensor::from_f32(weight.dims, &weight.values));
    let y = importer.emit(node, Op::Linear, &[x], [weight].into_iter().chain(bias))?;
    folded.map_or(Ok(()), |index| importer.fold(index, y))
}

/// The weight as `[o, i]`, from `[o, i]` where `transposed`, else from `[i, o]`.
fn rows(weight: Floats, transposed: bool) -> Result<Floats> {
    let &[first, second] = &weight.dims[..] else {
        return Err(unsupported(format!(
            "the weight has the shape {:?}; only matrices of two dimensions are supported",
            weight.dims
        )));
    };
    if transposed || weight.values.is_empty() {
        return Ok(weight);
    }
    let column = |o: usize| weight.values.iter().skip(o).step_by(second);
    let values = (0..second).flat_map(column).copied().collect();
    Ok(Floats { dims: vec![second, first], values })
}

fn outputs(weight: &Floats) -> usize {
    weight.dims.first().copied().unwrap_or(0)
}

fn scale(values: &mut [f32], factor: f32) {
    if factor.to_bits() != 1.0_f32.to_bits() {
        for v in values {
            *v *= factor;
        }
    }
}

/// One value for each of `channels`, from a constant that is broadcast to `[n, channels, …]` of
/// `rank` dimensions (rank 1: `[channels]`).
pub(super) fn per_channel(constant: &Floats, channels: usize, rank: usize) -> Result<Vec<f32>> {
    let axis = rank.min(2).saturating_sub(1);
    let missing = rank.checked_sub(constant.dims.len());
    let fits = missing.is_some_and(|missing| {
        constant.dims.iter().enumerate().all(|(i, &size)| {
            size == 1 || (size == channels && i.checked_add(missing) == Some(axis))
        })
    });
    match &constant.values[..] {
        &[one] if fits => Ok(vec![one; channels]),
        values if fits && values.len() == channels => Ok(values.to_vec()),
        _ => Err(fault(format!(
            "a constant of shape {:?} does not give one value to each of {channels} channels",
            constant.dims
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn floats(dims: &[usize], values: &[f32]) -> Floats {
        Floats { dims: dims.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn weights_become_rows_of_outputs() {
        // [i, o] = [[1, 2, 3], [4, 5, 6]]: output 0 reads column 0.
        let weight = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let wanted = floats(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(rows(weight.clone(), false).unwrap(), wanted);
        assert_eq!(rows(weight.clone(), true).unwrap(), weight);
        assert!(rows(floats(&[6], &[0.0; 6]), false).is_err());
    }

    #[test]
    fn constants_are_broadcast_over_channels_only() {
        let three = [1.0, 2.0, 3.0];
        assert_eq!(per_channel(&floats(&[3], &three), 3, 2).unwrap(), three);
        assert_eq!(per_channel(&floats(&[1, 3], &three), 3, 2).unwrap(), three);
        assert_eq!(per_channel(&floats(&[3, 1, 1], &three), 3, 4).unwrap(), three);
        assert_eq!(per_channel(&floats(&[], &[5.0]), 3, 4).unwrap(), [5.0; 3]);
        // Over the width of an image, which is no channel.
        assert!(per_channel(&floats(&[3], &three), 3, 4).is_err());
        assert!(per_channel(&floats(&[2], &three[..2]), 3, 2).is_err());
        assert!(per_channel(&floats(&[1, 1, 3], &three), 3, 2).is_err());
    }
}
