//! Pooling.

use hipflask_runtime::Result;
use hipflask_runtime::graph::Op;

use super::conv::window_padding;
use super::elementwise::axis;
use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, fault, unsupported};

/// `MaxPool`; padding never wins, so `ceil_mode` is more padding at the end.
pub(super) fn max<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let Window { kernel, stride, padding, .. } = Window::of(importer, node)?;
    importer.emit(node, Op::MaxPool2d { kernel, stride, padding }, &[x], [])?;
    Ok(())
}

/// `AveragePool`
pub(super) fn average<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let Window { kernel, stride, padding, extended } = Window::of(importer, node)?;
    let count_include_pad = node.int("count_include_pad", 0) != 0 && padding != [0; 4];
    if count_include_pad && extended {
        return Err(unsupported("ceil_mode and count_include_pad together; use only one of them"));
    }
    let op = Op::AvgPool2d { kernel, stride, padding, count_include_pad };
    importer.emit(node, op, &[x], [])?;
    Ok(())
}

/// `GlobalAveragePool`
pub(super) fn global<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    importer.emit(node, Op::GlobalAvgPool, &[x], [])?;
    Ok(())
}

/// `ReduceMean` over height and width of images in either order, or over tokens; the dimensions are
/// an attribute before opset 18.
pub(super) fn reduce_mean<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let view = importer.view(node, 0);
    let x = match view {
        Some(image) => image,
        None => importer.value(node, 0)?,
    };
    let rank = importer.shape(x).len();
    let listed = match importer.opset {
        ..18 => node.ints("axes").map(<[i64]>::to_vec),
        _ => importer.ints(node, 1)?,
    };
    let axes: Result<Vec<usize>> =
        listed.unwrap_or_default().iter().map(|&number| axis(number, rank)).collect();
    let mut axes = axes?;
    axes.sort_unstable();
    let keep = node.int("keepdims", 1) != 0;
    let image = if view.is_some() { axes == [1, 2] } else { axes == [2, 3] };
    match rank {
        4 if image && keep => {
            let pooled = importer.emit_part(node.name(), Op::GlobalAvgPool, &[x], [])?;
            match view {
                Some(_) => importer.bind_view(node.output()?, pooled),
                None => importer.bind(node.output()?, pooled),
            }
        }
        4 if image => {
            let name = format!("{}.mean", node.name());
            let pooled = importer.emit_part(&name, Op::GlobalAvgPool, &[x], [])?;
            importer.emit(node, Op::Flatten, &[pooled], [])?;
            Ok(())
        }
        3 if axes == [1] && !keep => {
            importer.emit(node, Op::MeanTokens, &[x], [])?;
            Ok(())
        }
        _ => Err(unsupported(format!(
            "is over the dimensions {axes:?} of {}; only over height and width of images, or over \
             tokens without keepdims",
            importer.shape(x)
        ))),
    }
}

/// What slides over an image.
struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    /// Whether `ceil_mode` added to the padding.
    extended: bool,
}

impl Window {
    fn of<'a>(importer: &Importer<'a>, node: OnnxNode<'a>) -> Result<Self> {
        if node.sizes("dilations", 1)? != [1, 1] {
            return Err(unsupported("a pool with dilation; only dilations = [1, 1]"));
        }
        if !node.has("kernel_shape") {
            return Err(fault("has no kernel_shape"));
        }
        let kernel = node.sizes("kernel_shape", 1)?;
        let stride = node.sizes("strides", 1)?;
        let mut padding = window_padding(importer, node, kernel, stride, [1, 1])?;
        let before = padding;
        if node.int("ceil_mode", 0) != 0
            && let Some([_, _, h, w]) = importer.shape(importer.value(node, 0)?).dims::<4>()
        {
            let ([kh, kw], [sh, sw], [top, left, bottom, right]) = (kernel, stride, padding);
            let huge = || fault("kernel, stride and padding must be positive and not huge");
            let bottom = ceil_padding(h, kh, sh, (top, bottom)).ok_or_else(huge)?;
            let right = ceil_padding(w, kw, sw, (left, right)).ok_or_else(huge)?;
            padding = [top, left, bottom, right];
        }
        Ok(Self { kernel, stride, padding, extended: padding != before })
    }
}

/// Padding at the end that gives the windows of `ceil_mode`: the last one may begin in the image
/// or in the padding before it, not behind.
fn ceil_padding(
    size: usize,
    kernel: usize,
    stride: usize,
    (begin, end): (usize, usize),
) -> Option<usize> {
    let padded = size.checked_add(begin)?.checked_add(end)?;
    let steps = padded.checked_sub(kernel)?;
    let mut last = steps.checked_add(stride.checked_sub(1)?)?.checked_div(stride)?;
    if last.checked_mul(stride)? >= size.checked_add(begin)? {
        last = last.checked_sub(1)?;
    }
    let needed = last.checked_mul(stride)?.checked_add(kernel)?;
    end.checked_add(needed.saturating_sub(padded))
}

#[cfg(test)]
mod tests {
    use super::ceil_padding;

    #[test]
    fn ceil_mode_by_hand() {
        // 6 pixels, kernel 3, stride 2: windows at 0, 2 and, rounded up, 4, which needs pixel 6.
        assert_eq!(ceil_padding(6, 3, 2, (0, 0)), Some(1));
        assert_eq!(ceil_padding(7, 3, 2, (0, 0)), Some(0));
        // 3 pixels, kernel 1, stride 2: windows at 0 and 2, none behind the image.
        assert_eq!(ceil_padding(3, 1, 2, (0, 1)), Some(1));
        assert_eq!(ceil_padding(2, 3, 2, (0, 0)), None);
        assert_eq!(ceil_padding(6, 3, 0, (0, 0)), None);
    }
}
