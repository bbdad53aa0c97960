//! Shape inference: the shape that an operation gives, or why it cannot.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Layout, Op};
use crate::dtype::Shape;

/// Why a shape cannot be computed; the caller adds the node's name.
pub(super) type Reason = String;

/// Output size of a sliding window along one dimension, or why there is none.
pub(super) fn window(
    size: usize,
    kernel: usize,
    stride: usize,
    padding: (usize, usize),
    dilation: usize,
) -> Result<usize, Reason> {
    let span = kernel
        .checked_sub(1)
        .and_then(|k| k.checked_mul(dilation))
        .and_then(|k| k.checked_add(1))
        .ok_or("a kernel of size 0, or one too large")?;
    let padded = size.checked_add(padding.0).and_then(|s| s.checked_add(padding.1));
    let padded = padded.ok_or("padding too large")?;
    if stride == 0 || dilation == 0 {
        return Err("stride and dilation must be at least 1".into());
    }
    if span > padded {
        return Err(format!(
            "the window spans {span} but the input has only {size} (with padding {padded}): \
             the image is too small here; use a larger input, less stride or more padding"
        ));
    }
    Ok((padded - span) / stride + 1)
}

impl Op {
    /// The output's shape for inputs and a `weight` tensor of these shapes, or why there is none.
    ///
    /// For checking a network before its weights exist.
    pub fn output_shape(
        &self,
        layout: Layout,
        inputs: &[&Shape],
        weight: Option<&Shape>,
    ) -> Result<Shape, String> {
        infer(self, layout, inputs, weight)
    }
}

/// The output shape of `op`; `weight` is the shape of its `weight` tensor if it has one.
pub(super) fn infer(
    op: &Op,
    layout: Layout,
    inputs: &[&Shape],
    weight: Option<&Shape>,
) -> Result<Shape, Reason> {
    let (least, most) = op.arity();
    if inputs.len() < least || inputs.len() > most {
        return Err(format!("takes {least} to {most} inputs, not {}", inputs.len()));
    }
    let x = inputs[0];
    let image = || {
        layout.image(x).ok_or_else(|| format!("needs an image of 4 dimensions, the input is {x}"))
    };
    let windows = |kernel: [usize; 2], stride: [usize; 2], p: [usize; 4], dilation: [usize; 2]| {
        let [h, w, _] = image()?;
        let rows = window(h, kernel[0], stride[0], (p[0], p[2]), dilation[0])?;
        let columns = window(w, kernel[1], stride[1], (p[1], p[3]), dilation[1])?;
        Ok::<_, Reason>((rows, columns))
    };
    match op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            let [_, _, c] = image()?;
            let weight = weight.ok_or("has no weight")?;
            let ((Layout::Nchw, &[o, i, kh, kw]) | (Layout::Nhwc, &[o, kh, kw, i])) =
                (layout, &weight[..])
            else {
                return Err(format!("needs a weight of 4 dimensions, not {weight}"));
            };
            if *groups == 0 || o == 0 || c % groups != 0 || o % groups != 0 || c / groups != i {
                return Err(format!(
                    "{c} input channels in {groups} groups do not fit a weight of shape {weight}"
                ));
            }
            let (h, w) = windows([kh, kw], *stride, *padding, *dilation)?;
            Ok(layout.shape([h, w, o]))
        }
        Op::Linear => {
            let weight = weight.ok_or("has no weight")?;
            match (&x[..], &weight[..]) {
                (&[n, i], &[o, wi]) if i == wi && o > 0 => Ok([n, o].into()),
                (&[n, t, i], &[o, wi]) if i == wi && o > 0 => Ok([n, t, o].into()),
                _ => Err(format!("an input of shape {x} does not fit a weight of shape {weight}")),
            }
        }
        Op::BatchNorm { .. } => {
            let channels = match x.len() {
                2 => x[1],
                _ => image()?[2],
            };
            match weight {
                Some(w) if w[..] == [channels] => Ok(x.clone()),
                _ => Err(format!("needs weights of shape [{channels}]")),
            }
        }
        Op::LinearGroups { groups } => {
            let weight = weight.ok_or("has no weight")?;
            let row = x.last().and_then(|&inputs| groups.row_bytes(inputs));
            match (&x[..], &weight[..], row) {
                (&[n, _], &[o, bytes], Some(row)) if bytes == row && o > 0 => Ok([n, o].into()),
                (&[n, t, _], &[o, bytes], Some(row)) if bytes == row && o > 0 => {
                    Ok([n, t, o].into())
                }
                _ => Err(format!(
                    "an input of shape {x} does not fit a weight of shape {weight} with {} bits",
                    groups.bits
                )),
            }
        }
        Op::LayerNorm { .. } | Op::Embedding | Op::EmbeddingGroups { .. } | Op::AddPosition => {
            tokens(op, x, weight)
        }
        Op::Tokens => {
            let [h, w, c] = image()?;
            Ok([x[0], h.checked_mul(w).ok_or("too large")?, c].into())
        }
        Op::Attention { .. } | Op::MeanTokens => of_tokens(op, x, inputs.get(1).copied()),
        Op::Activation { .. } | Op::Quantize | Op::Dequantize => Ok(x.clone()),
        Op::Add if inputs[0] == inputs[1] => Ok(x.clone()),
        Op::Add => Err(format!("adds shapes {} and {}, which differ", inputs[0], inputs[1])),
        Op::Mul => {
            let factors = inputs[1];
            let per_channel = || {
                let ([_, _, c], [1, 1, factors]) = (image().ok()?, layout.image(factors)?) else {
                    return None;
                };
                (c == factors).then_some(())
            };
            if x != factors && per_channel().is_none() {
                return Err(format!(
                    "multiplies {x} by {factors}: the second has the shape of the first, or one \
                     factor for each channel of an image"
                ));
            }
            Ok(x.clone())
        }
        Op::Slice { axis, start, end } => {
            let mut dims = x.to_vec();
            let size = dims.get(*axis).copied().unwrap_or(0);
            if *axis == 0 || start >= end || *end > size {
                return Err(format!("cannot take {start} to {end} of dimension {axis} of {x}"));
            }
            dims[*axis] = end - start;
            Ok(dims.into())
        }
        Op::ChannelShuffle { groups } => {
            let [_, _, c] = image()?;
            if *groups == 0 || c % groups != 0 {
                return Err(format!("{c} channels are not {groups} groups of one size"));
            }
            Ok(x.clone())
        }
        Op::Concat { axis } => {
            let mut dims = x.to_vec();
            if *axis == 0 || *axis >= dims.len() {
                return Err(format!("cannot join {x} along dimension {axis}"));
            }
            for other in &inputs[1..] {
                let fits = other.len() == dims.len()
                    && (0..dims.len()).all(|i| i == *axis || other[i] == dims[i]);
                if !fits {
                    return Err(format!("cannot join {x} and {other} along dimension {axis}"));
                }
                dims[*axis] = dims[*axis].checked_add(other[*axis]).ok_or("joins too much")?;
            }
            Ok(dims.into())
        }
        Op::MaxPool2d { kernel, stride, padding }
        | Op::AvgPool2d { kernel, stride, padding, .. } => {
            let [_, _, c] = image()?;
            let overlaps =
                padding[0].max(padding[2]) < kernel[0] && padding[1].max(padding[3]) < kernel[1];
            if !overlaps {
                return Err("padding as wide as the window: some windows would be empty".into());
            }
            let (h, w) = windows(*kernel, *stride, *padding, [1, 1])?;
            Ok(layout.shape([h, w, c]))
        }
        Op::GlobalAvgPool => {
            let [_, _, c] = image()?;
            Ok(layout.shape([1, 1, c]))
        }
        Op::Flatten => {
            if x.is_empty() {
                return Err("cannot flatten a scalar".into());
            }
            let rest: Vec<usize> = x[1..].to_vec();
            let rest = Shape::from(rest).checked_elements().ok_or("too large")?;
            Ok([x[0], rest].into())
        }
        Op::Reshape { shape } => {
            let shape = Shape::from(shape.as_slice());
            if shape.checked_elements() != x.checked_elements() || shape.first() != x.first() {
                return Err(format!("cannot make {shape} of {x}"));
            }
            Ok(shape)
        }
        Op::Softmax => match x.len() {
            2 => Ok(x.clone()),
            _ => Err(format!("needs an input of shape [1, classes], not {x}")),
        },
        Op::Pad { padding: p } => {
            let [h, w, c] = image()?;
            let rows = h.checked_add(p[0]).and_then(|h| h.checked_add(p[2]));
            let columns = w.checked_add(p[1]).and_then(|w| w.checked_add(p[3]));
            Ok(layout.shape([rows.ok_or("too large")?, columns.ok_or("too large")?, c]))
        }
        Op::PadChannels { before, after } => {
            let [h, w, c] = image()?;
            let channels = c.checked_add(*before).and_then(|c| c.checked_add(*after));
            Ok(layout.shape([h, w, channels.ok_or("too large")?]))
        }
    }
}

/// The operations that give tokens by weights of `d` elements each.
fn tokens(op: &Op, x: &Shape, weight: Option<&Shape>) -> Result<Shape, Reason> {
    let weight = weight.ok_or("has no weight")?;
    match (op, &x[..], &weight[..]) {
        (Op::LayerNorm { .. }, &[_, d] | &[_, _, d], &[wd]) if d == wd => Ok(x.clone()),
        (Op::Embedding, &[n, t], &[rows, d]) if rows > 0 => Ok([n, t, d].into()),
        (Op::EmbeddingGroups { groups }, &[n, t], &[rows, bytes]) if rows > 0 => {
            Ok([n, t, groups.row_len(bytes)].into())
        }
        (Op::AddPosition, &[_, t, d], &[1, wt, wd]) if (t, d) == (wt, wd) => Ok(x.clone()),
        _ => Err(format!("an input of shape {x} does not fit a weight of shape {weight}")),
    }
}

/// The operations over all tokens `x`, with their ids where padding shall not count.
fn of_tokens(op: &Op, x: &Shape, ids: Option<&Shape>) -> Result<Shape, Reason> {
    let &[n, t, width] = &x[..] else {
        return Err(format!("needs tokens of shape [1, tokens, width], the input is {x}"));
    };
    if let Some(ids) = ids.filter(|ids| ids[..] != [n, t]) {
        return Err(format!("needs ids of shape [1, {t}], not {ids}"));
    }
    let Op::Attention { heads } = op else { return Ok([n, width].into()) };
    match width.checked_div(3) {
        Some(d) if *heads > 0 && width.is_multiple_of(3) && d.is_multiple_of(*heads) => {
            Ok([n, t, d].into())
        }
        _ => Err(format!("a width of {width} is not q, k and v of {heads} heads")),
    }
}
