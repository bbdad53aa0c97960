//! Linear layers: `Gemm` and `MatMul` with constant weights.

use hipflask_runtime::graph::{Op, ValueId};
use hipflask_runtime::{Result, Tensor};

use super::conv::sum;
use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, fault, unsupported};
use crate::onnx::qdq::{self, Layer};
use crate::onnx::tensors::Floats;

/// The bits of 1.0.
const ONE: u32 = 1.0_f32.to_bits();

/// `alpha · x · B + beta · C`; `alpha` goes into the weights, `beta` into the bias.
pub(super) fn gemm<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    node.only("transA", 0)?;
    let x = importer.value(node, 0)?;
    let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
    let transposed = node.int("transB", 0) != 0;
    let mut weight = rows(importer.floats(node, 1)?, transposed)?;
    scale(&mut weight.values, alpha);
    let axis = usize::from(!transposed);
    let mut layer = qdq::layer(importer, node.required(1)?, axis, outputs(&weight))?;
    if layer.is_some() && (alpha.to_bits(), beta.to_bits()) != (ONE, ONE) {
        return Err(unsupported(format!(
            "alpha = {alpha}, beta = {beta} beside quantized weights; only 1 is supported"
        )));
    }
    if let (Some(layer), Some(name)) = (&mut layer, node.input(2)) {
        layer.add_bias(importer, name);
    }
    let bias = match importer.optional_floats(node, 2)? {
        Some(mut bias) => {
            scale(&mut bias.values, beta);
            Some(per_channel(&bias, outputs(&weight), 2)?)
        }
        None => None,
    };
    linear(importer, node, x, Parts { weight, bias, layer })
}

/// `x · B` with constant `B` `[i, o]`.
pub(super) fn mat_mul<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let weight = rows(importer.floats(node, 1)?, false)?;
    let layer = qdq::layer(importer, node.required(1)?, 1, outputs(&weight))?;
    linear(importer, node, x, Parts { weight, bias: None, layer })
}

/// What a linear layer is made of.
pub(super) struct Parts {
    /// `[o, i]`
    pub(super) weight: Floats,
    pub(super) bias: Option<Vec<f32>>,
    /// Where the weights are quantized.
    pub(super) layer: Option<Layer>,
}

/// A linear layer; an addition of a constant after it becomes its bias.
pub(super) fn linear<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    x: ValueId,
    parts: Parts,
) -> Result<()> {
    let Parts { mut weight, mut bias, mut layer } = parts;
    if let Some(image) = importer.pixels_flattened(x) {
        columns_to_planes(&mut weight, image);
    }
    let mut folded = None;
    if let Some((index, name, added)) = importer.added_constant(node)?
        && let Some(added) = per_feature(&added, outputs(&weight))
    {
        folded = Some(index);
        bias = Some(sum(bias, added));
        if let Some(layer) = &mut layer {
            layer.add_bias(importer, name);
        }
    }
    let bias = bias.map(|bias| ("bias", Tensor::from_f32([bias.len()], &bias)));
    let weight = ("weight", Tensor::from_f32(weight.dims, &weight.values));
    let y = importer.emit(node, Op::Linear, &[x], [weight].into_iter().chain(bias))?;
    importer.note_layer(y, layer);
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

/// Columns for an image flattened as `[h, w, c]` become columns for `[c, h, w]`.
fn columns_to_planes(weight: &mut Floats, [h, w, c]: [usize; 3]) {
    let pixels = h.saturating_mul(w);
    let columns = pixels.saturating_mul(c).max(1);
    for row in weight.values.chunks_exact_mut(columns) {
        let old = row.to_vec();
        for (channel, plane) in row.chunks_exact_mut(pixels.max(1)).enumerate() {
            for (to, from) in plane.iter_mut().zip(old.iter().skip(channel).step_by(c.max(1))) {
                *to = *from;
            }
        }
    }
}

/// One value for each feature, from a constant that has as many or one, in its last dimension.
fn per_feature(constant: &Floats, features: usize) -> Option<Vec<f32>> {
    match (&constant.values[..], constant.dims.last()) {
        (&[one], _) => Some(vec![one; features]),
        (values, Some(&last)) if last == features && values.len() == features => {
            Some(values.to_vec())
        }
        _ => None,
    }
}

fn outputs(weight: &Floats) -> usize {
    weight.dims.first().copied().unwrap_or(0)
}

fn scale(values: &mut [f32], factor: f32) {
    if factor.to_bits() != ONE {
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
