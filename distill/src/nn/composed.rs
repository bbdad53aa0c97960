//! The same operators as compositions of candle's differentiable ones, for devices where our own
//! have no kernel (Metal, some on CUDA) and for dtypes other than f32.
//!
//! Only candle operations whose gradients are right under finite differences are used; its
//! pooling is not among them.

use candle_core::{D, Tensor};
use hipflask_runtime::graph::Activation;

use super::activation::activate;
use super::conv2d::Conv2dSpec;
#[cfg(feature = "cuda")]
use super::cuda;
use super::pool::PoolSpec;
use super::window::Window;
use crate::Result;

/// See [`conv2d`](super::conv2d()).
pub(super) fn conv2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    spec: &Conv2dSpec,
) -> Result<Tensor> {
    let (_, c_in, ..) = x.dims4()?;
    let c_out = w.dim(0)?;
    let stride = [spec.stride[0].min(spec.stride[1]); 2];
    let dilation = [spec.dilation[0].min(spec.dilation[1]); 2];
    let y = if spec.groups == c_in && c_in == c_out && c_in > 1 {
        depthwise(x, w, spec)?
    } else if let Some(y) = on_cuda(x, w, spec)? {
        y
    } else if spec.stride == stride && spec.dilation == dilation {
        square(x, w, spec)?
    } else {
        // candle has one stride and one dilation for both axes: dilate by zeros in the kernel,
        // and convolve at stride 1 to pick outputs afterwards.
        let w = spread_kernel(&spread_kernel(w, 2, spec.dilation[0])?, 3, spec.dilation[1])?;
        let at_one = Conv2dSpec { stride: [1; 2], dilation: [1; 2], ..*spec };
        let y = square(x, &w, &at_one)?;
        let (_, _, h, width) = y.dims4()?;
        let y = every(&y, 2, 0, spec.stride[0], h.div_ceil(spec.stride[0]))?;
        every(&y, 3, 0, spec.stride[1], width.div_ceil(spec.stride[1]))?
    };
    Ok(match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, c_out, 1, 1))?)?,
        None => y,
    })
}

/// Our own convolution where it applies: one group on CUDA.
#[cfg(feature = "cuda")]
fn on_cuda(x: &Tensor, w: &Tensor, spec: &Conv2dSpec) -> Result<Option<Tensor>> {
    if !cuda::applies(x) || spec.groups != 1 {
        return Ok(None);
    }
    Ok(Some(cuda::conv2d(x, w, window_of(x, w, spec)?, spec.precision)?))
}

#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "the twin with CUDA can fail")]
fn on_cuda(_: &Tensor, _: &Tensor, _: &Conv2dSpec) -> Result<Option<Tensor>> {
    Ok(None)
}

fn window_of(x: &Tensor, w: &Tensor, spec: &Conv2dSpec) -> Result<Window> {
    let (_, _, h, width) = x.dims4()?;
    let (_, _, kh, kw) = w.dims4()?;
    Window::new("conv2d", [h, width], [kh, kw], spec.stride, spec.padding, spec.dilation)
}

/// A convolution with one stride and one dilation for both axes.
fn square(x: &Tensor, w: &Tensor, spec: &Conv2dSpec) -> Result<Tensor> {
    let (_, _, kh, kw) = w.dims4()?;
    let mut x = pad(x, spec.padding, 0.0)?;
    for (axis, kernel) in [(0, kh), (1, kw)] {
        // candle derives the gradient's size from the height alone, which fails when the two
        // axes leave different remainders: cut what no output reads.
        let reach = (kernel - 1) * spec.dilation[axis] + 1;
        let size = x.dim(axis + 2)?;
        let used = (size - reach) / spec.stride[axis] * spec.stride[axis] + reach;
        x = x.narrow(axis + 2, 0, used)?;
    }
    let x = x.contiguous()?;
    Ok(x.conv2d(w, 0, spec.stride[0], spec.dilation[0], spec.groups)?)
}

/// Depthwise convolution as a sum of shifted products: candle's is one launch for each channel.
fn depthwise(x: &Tensor, w: &Tensor, spec: &Conv2dSpec) -> Result<Tensor> {
    let (_, c, _, _) = x.dims4()?;
    let (_, _, kh, kw) = w.dims4()?;
    let window = window_of(x, w, spec)?;
    #[cfg(feature = "cuda")]
    if cuda::applies(x) {
        return Ok(cuda::depthwise(x, w, window)?);
    }
    let x = pad(x, spec.padding, 0.0)?;
    let mut sum: Option<Tensor> = None;
    for ky in 0..kh {
        let rows = every(&x, 2, ky * spec.dilation[0], spec.stride[0], window.output[0])?;
        for kx in 0..kw {
            let under = every(&rows, 3, kx * spec.dilation[1], spec.stride[1], window.output[1])?;
            let tap = w.narrow(2, ky, 1)?.narrow(3, kx, 1)?.reshape((1, c, 1, 1))?;
            let term = under.broadcast_mul(&tap)?;
            sum = Some(match sum {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
    }
    match sum {
        Some(sum) => Ok(sum),
        None => Ok(x),
    }
}

/// Normalises with statistics of the batch, then `max(y, 0)` if `relu`; returns `(y, mean, biased variance)`.
pub(super) fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
    relu: bool,
) -> Result<(Tensor, Tensor, Tensor)> {
    #[cfg(feature = "cuda")]
    if cuda::applies(x) {
        let (y, moments) = cuda::batch_norm(x, gamma, beta, epsilon, relu)?;
        let (mean, variance) = cuda::moments_to_statistics(&moments)?;
        return Ok((y, mean, variance));
    }
    let c = x.dim(1)?;
    let per_channel = match x.rank() {
        2 => vec![1, c],
        _ => vec![1, c, 1, 1],
    };
    let flat = x.transpose(0, 1)?.flatten_from(1)?.contiguous()?;
    let mean = flat.mean_keepdim(1)?;
    let centred = flat.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim(1)?;
    let mean_shaped = mean.reshape(&per_channel[..])?;
    let inverse = (&variance + epsilon)?.sqrt()?.recip()?.reshape(&per_channel[..])?;
    let y = x
        .broadcast_sub(&mean_shaped)?
        .broadcast_mul(&inverse)?
        .broadcast_mul(&gamma.reshape(&per_channel[..])?)?
        .broadcast_add(&beta.reshape(&per_channel[..])?)?;
    let y = if relu { activate(&y, Activation::Relu)? } else { y };
    Ok((y, mean.detach().flatten_all()?, variance.detach().flatten_all()?))
}

/// `x · scale + shift` a channel.
pub(super) fn channel_affine(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let mut per_channel = vec![1; x.rank()];
    per_channel[1] = x.dim(1)?;
    let scale = scale.reshape(&per_channel[..])?;
    let shift = shift.reshape(&per_channel[..])?;
    Ok(x.broadcast_mul(&scale)?.broadcast_add(&shift)?)
}

/// See [`max_pool2d`](super::max_pool2d); the gradient goes to one maximum of each window.
pub(super) fn max_pool2d(x: &Tensor, spec: &PoolSpec) -> Result<Tensor> {
    let window = spec.window(x)?;
    #[cfg(feature = "cuda")]
    if cuda::applies(x) {
        return Ok(cuda::max_pool2d(x, window)?);
    }
    let windows = unfold(x, &window, f64::NEG_INFINITY)?;
    // candle's `max` gives every tie the whole gradient; picking by index gives it to one.
    let first = windows.argmax_keepdim(D::Minus1)?;
    Ok(windows.gather(&first, D::Minus1)?.squeeze(D::Minus1)?)
}

/// See [`avg_pool2d`](super::avg_pool2d).
pub(super) fn avg_pool2d(x: &Tensor, spec: &PoolSpec, count_padding: bool) -> Result<Tensor> {
    let window = spec.window(x)?;
    #[cfg(feature = "cuda")]
    if cuda::applies(x) {
        return Ok(cuda::avg_pool2d(x, window, count_padding)?);
    }
    let sums = unfold(x, &window, 0.0)?.sum(D::Minus1)?;
    if count_padding {
        return Ok((sums / window.taps() as f64)?);
    }
    let [out_h, out_w] = window.output;
    let reciprocals: Vec<f32> = (0..out_h * out_w)
        .map(|at| {
            let count = window.covered(0, at / out_w).len() * window.covered(1, at % out_w).len();
            1.0 / count as f32
        })
        .collect();
    let reciprocals = Tensor::from_vec(reciprocals, (1, 1, out_h, out_w), x.device())?;
    Ok(sums.broadcast_mul(&reciprocals.to_dtype(x.dtype())?)?)
}

/// `[n, c, out_h, out_w, taps]`: the values under the kernel for each output.
fn unfold(x: &Tensor, window: &Window, fill: f64) -> Result<Tensor> {
    let x = pad(x, window.padding, fill)?;
    let mut taps = Vec::with_capacity(window.taps());
    for ky in 0..window.kernel[0] {
        let rows = every(&x, 2, ky, window.stride[0], window.output[0])?;
        for kx in 0..window.kernel[1] {
            taps.push(every(&rows, 3, kx, window.stride[1], window.output[1])?);
        }
    }
    Ok(Tensor::stack(&taps, 4)?)
}

/// Elements `start, start + step, …` along `dim`, `len` of them.
fn every(x: &Tensor, dim: usize, start: usize, step: usize, len: usize) -> Result<Tensor> {
    if step == 1 {
        return Ok(x.narrow(dim, start, len)?);
    }
    let indices: Vec<u32> = (0..len).map(|i| (start + i * step) as u32).collect();
    let indices = Tensor::from_vec(indices, len, x.device())?;
    Ok(x.contiguous()?.index_select(&indices, dim)?)
}

/// Puts `dilation - 1` zeros between neighbours along `dim`.
fn spread_kernel(w: &Tensor, dim: usize, dilation: usize) -> Result<Tensor> {
    if dilation == 1 {
        return Ok(w.clone());
    }
    let size = w.dim(dim)?;
    let with_zero = w.pad_with_zeros(dim, 0, 1)?.contiguous()?;
    let indices: Vec<u32> = (0..=(size - 1) * dilation)
        .map(|i| if i % dilation == 0 { i / dilation } else { size } as u32)
        .collect();
    let len = indices.len();
    Ok(with_zero.index_select(&Tensor::from_vec(indices, len, w.device())?, dim)?)
}

/// Surrounds the planes of `[n, c, h, w]` with `fill`.
fn pad(x: &Tensor, [top, left, bottom, right]: [usize; 4], fill: f64) -> Result<Tensor> {
    let mut x = x.clone();
    for (dim, before, after) in [(2, top, bottom), (3, left, right)] {
        let border = |size: usize| -> Result<Tensor> {
            let mut shape = x.dims().to_vec();
            shape[dim] = size;
            let zeros = Tensor::full(fill as f32, shape, x.device())?;
            Ok(zeros.to_dtype(x.dtype())?)
        };
        if before + after > 0 {
            x = Tensor::cat(&[&border(before)?, &x, &border(after)?], dim)?;
        }
    }
    Ok(x)
}

/// See [`log_softmax`](super::log_softmax).
pub(super) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    // The shift cancels in value and gradient, so no gradient need flow through it.
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    Ok(shifted.broadcast_sub(&log_sum)?)
}
