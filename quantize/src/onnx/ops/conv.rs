//! Convolutions, and padding before them.

use hipflask_runtime::graph::Op;
use hipflask_runtime::{Result, Tensor};

use super::linear::per_channel;
use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, fault, sizes, unsupported};
use crate::onnx::qdq;

/// `Conv` with a constant weight `[o, i / groups, kh, kw]`; an addition of a constant after it
/// becomes its bias.
pub(super) fn conv<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let weight = importer.floats(node, 1)?;
    let &[outputs, _, kh, kw] = &weight.dims[..] else {
        return Err(unsupported(format!(
            "the weight has the shape {:?}; only two-dimensional convolutions with weights \
             [o, i, kh, kw] are supported",
            weight.dims
        )));
    };
    if node.sizes("kernel_shape", 0)? != [kh, kw] && node.has("kernel_shape") {
        return Err(fault(format!(
            "kernel_shape contradicts the weight's shape {:?}",
            weight.dims
        )));
    }
    let stride = node.sizes("strides", 1)?;
    let dilation = node.sizes("dilations", 1)?;
    let mut padding = window_padding(importer, node, [kh, kw], stride, dilation)?;
    if let Some(before) = node.input(0).and_then(|name| importer.paddings.get(name)) {
        for (side, more) in padding.iter_mut().zip(before) {
            *side = side.saturating_add(*more);
        }
    }
    let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
    let mut bias = match importer.optional_floats(node, 2)? {
        Some(bias) => Some(per_channel(&bias, outputs, 1)?),
        None => None,
    };
    let mut layer = qdq::layer(importer, node.required(1)?, 0, outputs)?;
    if let (Some(layer), Some(name)) = (&mut layer, node.input(2)) {
        layer.add_bias(importer, name);
    }
    let mut folded = None;
    if let Some((index, name, added)) = importer.added_constant(node)?
        && let Ok(added) = per_channel(&added, outputs, 4)
    {
        folded = Some(index);
        bias = Some(sum(bias, added));
        if let Some(layer) = &mut layer {
            layer.add_bias(importer, name);
        }
    }
    let weight = Tensor::from_f32(weight.dims, &weight.values);
    let bias = bias.map(|bias| ("bias", Tensor::from_f32([outputs], &bias)));
    let op = Op::Conv2d { stride, padding, dilation, groups };
    let y = importer.emit(node, op, &[x], [("weight", weight)].into_iter().chain(bias))?;
    importer.note_layer(y, layer);
    folded.map_or(Ok(()), |index| importer.fold(index, y))
}

/// The sum of two biases, the first of which may be missing.
pub(super) fn sum(bias: Option<Vec<f32>>, added: Vec<f32>) -> Vec<f32> {
    match bias {
        Some(bias) => bias.iter().zip(added).map(|(a, b)| a + b).collect(),
        None => added,
    }
}

/// Padding at top, left, bottom, right of a window that slides over input 0, from `pads` or
/// `auto_pad`.
pub(super) fn window_padding<'a>(
    importer: &Importer<'a>,
    node: OnnxNode<'a>,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Result<[usize; 4]> {
    let mode = node.text("auto_pad", "NOTSET");
    let upper = match mode {
        "NOTSET" => return node.sizes("pads", 0),
        "VALID" => return Ok([0; 4]),
        "SAME_UPPER" => true,
        "SAME_LOWER" => false,
        other => return Err(fault(format!("auto_pad = {other:?} is none of ONNX's"))),
    };
    let Some([_, _, h, w]) = importer.shape(importer.value(node, 0)?).dims::<4>() else {
        return Err(unsupported("the input must be an image [n, c, h, w]"));
    };
    let side = |size: usize, axis: usize| {
        let get = |sizes: [usize; 2]| sizes.get(axis).copied();
        same_padding(size, get(kernel)?, get(stride)?, get(dilation)?, upper)
    };
    match (side(h, 0), side(w, 1)) {
        (Some((top, bottom)), Some((left, right))) => Ok([top, left, bottom, right]),
        _ => Err(fault("kernel, stride and dilation must be positive and not huge")),
    }
}

/// Padding before and after a dimension so that `ceil(size / stride)` windows fit; the odd one
/// goes to the end where `upper` (ONNX operator Conv, `auto_pad`).
fn same_padding(
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    upper: bool,
) -> Option<(usize, usize)> {
    let windows = size.checked_add(stride.checked_sub(1)?)?.checked_div(stride)?;
    let span = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let needed = windows.checked_sub(1)?.checked_mul(stride)?.checked_add(span)?;
    let padding = needed.saturating_sub(size);
    let less = padding / 2;
    let more = padding.checked_sub(less)?;
    Some(if upper { (less, more) } else { (more, less) })
}

/// `Pad` with zeros around height and width; where only a convolution reads it, its padding grows
/// instead.
pub(super) fn pad<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let mode = node.text("mode", "constant");
    let value = match importer.opset {
        ..11 => node.float("value", 0.0),
        _ => importer.optional_floats(node, 2)?.map_or(0.0, |v| v.values.iter().sum()),
    };
    if mode != "constant" || value != 0.0 {
        return Err(unsupported(format!("pads with {value} in mode {mode:?}; only with zeros")));
    }
    let listed = match importer.opset {
        ..11 => node.ints("pads").map(<[i64]>::to_vec),
        _ => importer.ints(node, 1)?,
    };
    let axes = importer.ints(node, 3)?.unwrap_or_else(|| vec![0, 1, 2, 3]);
    let listed = listed.unwrap_or_default();
    if let Some((before, after)) = channel_padding(&listed, &axes) {
        importer.emit(node, Op::PadChannels { before, after }, &[x], [])?;
        return Ok(());
    }
    let padding = image_padding(&listed, &axes).ok_or_else(|| {
        unsupported(
            "only the height and width of images [n, c, h, w] can be padded, or their channels, and \
             not by less than zero",
        )
    })?;
    let output = node.output()?;
    if let Some((_, reader)) = importer.only_reader(output)
        && reader.op() == "Conv"
        && reader.text("auto_pad", "NOTSET") == "NOTSET"
        && reader.input(0) == Some(output)
    {
        importer.paddings.insert(output, padding);
        return importer.bind(output, x);
    }
    importer.emit(node, Op::Pad { padding }, &[x], [])?;
    Ok(())
}

/// Channels before and after, where `pads` (as for [`image_padding`]) adds only to those of an
/// image, and to those some.
fn channel_padding(pads: &[i64], axes: &[i64]) -> Option<(usize, usize)> {
    let all = |index: usize| pads.get(index).copied().and_then(|p| usize::try_from(p).ok());
    let channel = axes.iter().position(|&a| matches!(a, 1 | -3))?;
    let end = channel.checked_add(axes.len())?;
    let others = pads.iter().enumerate().filter(|&(i, _)| i != channel && i != end);
    let only = pads.len() == axes.len().checked_mul(2)? && others.into_iter().all(|(_, &p)| p == 0);
    let padding = (all(channel)?, all(end)?);
    (only && padding != (0, 0)).then_some(padding)
}

/// Top, left, bottom, right of `pads`, which lists all begins, then all ends, of `axes`.
fn image_padding(pads: &[i64], axes: &[i64]) -> Option<[usize; 4]> {
    let mut padding = [0_i64; 4];
    if pads.len() != axes.len().checked_mul(2)? {
        return None;
    }
    let (begins, ends) = pads.split_at(axes.len());
    for ((&axis, &begin), &end) in axes.iter().zip(begins).zip(ends) {
        let [top, left, bottom, right] = &mut padding;
        match axis {
            2 | -2 => (*top, *bottom) = (begin, end),
            3 | -1 => (*left, *right) = (begin, end),
            _ if begin == 0 && end == 0 => {}
            _ => return None,
        }
    }
    sizes(&padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_by_hand() {
        // 5 pixels, kernel 3, stride 2: 3 windows span 2 · 2 + 3 = 7, so 2 more; 6 pixels: 3
        // windows again, 1 more.
        assert_eq!(same_padding(5, 3, 2, 1, true), Some((1, 1)));
        assert_eq!(same_padding(6, 3, 2, 1, true), Some((0, 1)));
        assert_eq!(same_padding(6, 3, 2, 1, false), Some((1, 0)));
        // Dilation 2 makes the kernel span 5: 4 more for each of 6 windows.
        assert_eq!(same_padding(6, 3, 1, 2, true), Some((2, 2)));
        assert_eq!(same_padding(6, 0, 1, 1, true), None);
        assert_eq!(same_padding(6, 3, 0, 1, true), None);
    }

    #[test]
    fn padding_of_an_image_is_found_by_its_axes() {
        assert_eq!(image_padding(&[0, 0, 1, 2, 0, 0, 3, 4], &[0, 1, 2, 3]), Some([1, 2, 3, 4]));
        assert_eq!(image_padding(&[1, 2, 3, 4], &[-2, -1]), Some([1, 2, 3, 4]));
        assert_eq!(image_padding(&[0, 1, 0, 0, 0, 0, 0, 0], &[0, 1, 2, 3]), None);
        assert_eq!(channel_padding(&[0, 1, 0, 0, 0, 2, 0, 0], &[0, 1, 2, 3]), Some((1, 2)));
        assert_eq!(channel_padding(&[0, 1, 0, 0, 0, 2, 0, 1], &[0, 1, 2, 3]), None);
        assert_eq!(channel_padding(&[0; 8], &[0, 1, 2, 3]), None);
        assert_eq!(channel_padding(&[-1, 0], &[1]), None);
        assert_eq!(image_padding(&[-1, 0], &[2]), None);
        assert_eq!(image_padding(&[1, 0, 0], &[2]), None);
    }
}
