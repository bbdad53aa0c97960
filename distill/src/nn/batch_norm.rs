//! Batch normalisation (Ioffe & Szegedy 2015) with hand-written gradients.

use candle_core::{CpuStorage, CustomOp3, Layout, Result as CandleResult, Shape, Tensor};
use hipflask_runtime::kernels::Body;
use rayon::prelude::*;

use super::buffer::{PairSums, host, on_host, operand, output, tensor};
use super::composed;
use super::simd::vectorized;
use crate::{Error, ErrorKind, Result};

/// The statistics of one batch, `[c]` each, without gradient.
#[derive(Debug)]
pub struct BatchStatistics {
    /// Mean of each channel.
    pub mean: Tensor,
    /// Biased variance (divided by the count): what the batch was normalised with.
    pub variance: Tensor,
    /// Unbiased variance (divided by the count less one): what PyTorch's running average takes.
    pub unbiased_variance: Tensor,
}

/// Normalises `x [n, c]` or `[n, c, h, w]` with its own statistics, as in training.
///
/// `y = (x - mean) / √(variance + ε) · γ + β`, then `max(y, 0)` if `relu`. Gradients flow to `x`,
/// `γ [c]` and `β [c]`, through the statistics too. Fails when a channel has fewer than two
/// values, whose variance is not defined.
pub fn batch_norm_train(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
    relu: bool,
) -> Result<(Tensor, BatchStatistics)> {
    let (c, plane) = channels(x, &[gamma, beta])?;
    let count = x.elem_count() / c.max(1);
    if count < 2 {
        return Err(Error::new(
            ErrorKind::Shape,
            "batch norm",
            format!("training on {:?} needs two values a channel: use a larger batch", x.dims()),
        ));
    }
    let (y, mean, variance) = if on_host(x) {
        let x = x.contiguous()?;
        let moments = Moments::of(&host(&x)?, c, plane);
        let vector = |f: fn(&(f64, f64)) -> f64| {
            let values: Vec<f32> = moments.0.iter().map(|m| f(m) as f32).collect();
            Tensor::from_vec(values, c, x.device())
        };
        let (mean, variance) = (vector(|m| m.0)?, vector(|m| m.1)?);
        let op = BatchNorm {
            plane,
            relu,
            mean: moments.0.iter().map(|m| m.0 as f32).collect(),
            inverse: moments.0.iter().map(|m| (1.0 / (m.1 + epsilon).sqrt()) as f32).collect(),
        };
        let y = x.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op)?;
        (y, mean, variance)
    } else {
        composed::batch_norm(x, gamma, beta, epsilon, relu)?
    };
    let unbiased_variance = (&variance * (count as f64 / (count - 1) as f64))?;
    Ok((y, BatchStatistics { mean, variance, unbiased_variance }))
}

/// Normalises with given statistics, as in evaluation: `(x - mean) / √(variance + ε) · γ + β`.
///
/// Gradients flow to `x`, `γ` and `β`; `mean` and `variance` `[c]` are constants.
pub fn batch_norm_eval(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let (c, plane) = channels(x, &[gamma, beta, mean, variance])?;
    let scale = (gamma * (variance.detach() + epsilon)?.sqrt()?.recip()?)?;
    let shift = (beta - (mean.detach() * &scale)?)?;
    if !on_host(x) {
        return composed::channel_affine(x, &scale, &shift);
    }
    Ok(x.contiguous()?.apply_op3(&scale, &shift, ChannelAffine { channels: c, plane })?)
}

/// `(c, h · w)` of `x`, after checking that each of `vectors` is `[c]`.
fn channels(x: &Tensor, vectors: &[&Tensor]) -> Result<(usize, usize)> {
    let (c, plane) = match *x.dims() {
        [_, c] => (c, 1),
        [_, c, h, w] => (c, h * w),
        _ => (0, 0),
    };
    if c * plane == 0 || vectors.iter().any(|vector| vector.dims() != [c]) {
        let shapes: Vec<_> = vectors.iter().map(|vector| vector.dims()).collect();
        return Err(Error::new(
            ErrorKind::Shape,
            "batch norm",
            format!(
                "input {:?} must be [n, c] or [n, c, h, w] and parameters [c], got {shapes:?}",
                x.dims()
            ),
        ));
    }
    Ok((c, plane))
}

/// Mean and biased variance of each channel, in f64.
struct Moments(Vec<(f64, f64)>);

impl Moments {
    fn of(x: &[f32], channels: usize, plane: usize) -> Self {
        let of_channel = |c: usize| {
            // Shifted by one of the values: the squares of a channel far from zero stay exact.
            let shift = x[c * plane];
            let f = |v: f32, _| (v - shift, (v - shift) * (v - shift));
            let (sum, squares) = vectorized(PairSums { a: x, b: x, channels, plane, c, f });
            let count = (x.len() / channels) as f64;
            let offset = sum / count;
            (f64::from(shift) + offset, (squares / count - offset * offset).max(0.0))
        };
        Self((0..channels).into_par_iter().map(of_channel).collect())
    }
}

/// Normalisation with statistics taken before; its gradient knows that they depend on `x`.
struct BatchNorm {
    plane: usize,
    relu: bool,
    mean: Vec<f32>,
    /// `1 / √(variance + ε)`.
    inverse: Vec<f32>,
}

impl BatchNorm {
    fn forward(&self, x: &[f32], gamma: &[f32], beta: &[f32]) -> Vec<f32> {
        let lowest = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let sample = self.mean.len() * self.plane;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(sample).zip(x.par_chunks(sample)).for_each(|(y, x)| {
            vectorized(Normalise { norm: self, gamma, beta, lowest, x, y });
        });
        y
    }

    /// `(∂x, ∂γ, ∂β)`. With `g` the gradient that passed the ReLU and `x̂` the normalised input:
    /// `∂β = Σg`, `∂γ = Σg·x̂`, `∂x = γ/σ · (g - ∂β/m - x̂·∂γ/m)` over the `m` values of a channel.
    fn backward(
        &self,
        x: &[f32],
        gamma: &[f32],
        beta: &[f32],
        dy: &[f32],
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (channels, plane) = (self.mean.len(), self.plane);
        let sample = channels * plane;
        let sums: Vec<(f64, f64)> = (0..channels)
            .into_par_iter()
            .map(|c| {
                let (mean, scale, shift) = (self.mean[c], self.inverse[c] * gamma[c], beta[c]);
                let sums = if self.relu {
                    // The very bits of the forward pass.
                    let f = |dy, x| {
                        let g = if (x - mean) * scale + shift > 0.0 { dy } else { 0.0 };
                        (g, g * (x - mean))
                    };
                    vectorized(PairSums { a: dy, b: x, channels, plane, c, f })
                } else {
                    let f = |dy, x| (dy, dy * (x - mean));
                    vectorized(PairSums { a: dy, b: x, channels, plane, c, f })
                };
                (sums.0, sums.1 * f64::from(self.inverse[c]))
            })
            .collect();
        let count = (x.len() / channels) as f64;
        let by = |c: usize| {
            let by_variance = sums[c].1 * f64::from(self.inverse[c]) / count;
            ((sums[c].0 / count) as f32, by_variance as f32)
        };
        let by: Vec<(f32, f32)> = (0..channels).map(by).collect();
        let mut dx = vec![0.0; x.len()];
        let samples = dx.par_chunks_mut(sample).zip(x.par_chunks(sample));
        samples.zip(dy.par_chunks(sample)).for_each(|((dx, x), dy)| {
            vectorized(Slopes { norm: self, gamma, beta, by: &by, x, dy, dx });
        });
        let (d_beta, d_gamma) = sums.into_iter().map(|(b, g)| (b as f32, g as f32)).unzip();
        (dx, d_gamma, d_beta)
    }
}

/// One sample's forward pass.
struct Normalise<'a> {
    norm: &'a BatchNorm,
    gamma: &'a [f32],
    beta: &'a [f32],
    /// Of the result: 0 where a ReLU follows.
    lowest: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Body for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { norm, gamma, beta, lowest, x, y } = self;
        let planes = y.chunks_exact_mut(norm.plane).zip(x.chunks_exact(norm.plane));
        for (c, (y, x)) in planes.enumerate() {
            let (mean, scale, shift) = (norm.mean[c], norm.inverse[c] * gamma[c], beta[c]);
            for (y, x) in y.iter_mut().zip(x) {
                let v = (x - mean) * scale + shift;
                // Not `max`: a NaN must stay one for the trainer to see.
                *y = if v < lowest { lowest } else { v };
            }
        }
    }
}

/// One sample's `∂x`, from the channels' means of `g` and of `g·x̂/σ`.
struct Slopes<'a> {
    norm: &'a BatchNorm,
    gamma: &'a [f32],
    beta: &'a [f32],
    by: &'a [(f32, f32)],
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Body for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { norm, gamma, beta, by, x, dy, dx } = self;
        // Where no ReLU follows, everything passes.
        let lowest = if norm.relu { 0.0 } else { f32::NEG_INFINITY };
        let planes = dx.chunks_exact_mut(norm.plane).zip(x.chunks_exact(norm.plane));
        for (c, ((dx, x), dy)) in planes.zip(dy.chunks_exact(norm.plane)).enumerate() {
            let (mean, scale, shift) = (norm.mean[c], norm.inverse[c] * gamma[c], beta[c]);
            let (by_mean, by_variance) = by[c];
            for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                let g = if (x - mean) * scale + shift > lowest { *dy } else { 0.0 };
                *dx = scale * (g - by_mean - (x - mean) * by_variance);
            }
        }
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (gamma, beta) = (operand(gamma, gamma_layout)?, operand(beta, beta_layout)?);
        let y = self.forward(operand(x, x_layout)?, gamma, beta);
        Ok(output(y, x_layout.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dx, d_gamma, d_beta) =
            self.backward(&host(x)?, &host(gamma)?, &host(beta)?, &host(&dy)?);
        Ok((Some(tensor(dx, x)?), Some(tensor(d_gamma, gamma)?), Some(tensor(d_beta, beta)?)))
    }
}

/// `x · scale + shift` a channel.
struct ChannelAffine {
    channels: usize,
    plane: usize,
}

impl CustomOp3 for ChannelAffine {
    fn name(&self) -> &'static str {
        "channel affine"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (x, sample) = (operand(x, x_layout)?, self.channels * self.plane);
        let (scale, shift) = (operand(scale, scale_layout)?, operand(shift, shift_layout)?);
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(sample).zip(x.par_chunks(sample)).for_each(|(y, x)| {
            let planes = y.chunks_exact_mut(self.plane).zip(x.chunks_exact(self.plane));
            for ((y, x), (scale, shift)) in planes.zip(scale.iter().zip(shift)) {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = x * scale + shift;
                }
            }
        });
        Ok(output(y, x_layout.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (x_host, scale_host, dy_host) = (host(x)?, host(scale)?, host(&dy)?);
        let (xs, scales, dys): (&[f32], &[f32], &[f32]) = (&x_host, &scale_host, &dy_host);
        let sample = self.channels * self.plane;
        let mut dx = vec![0.0; xs.len()];
        dx.par_chunks_mut(sample).zip(dys.par_chunks(sample)).for_each(|(dx, dy)| {
            let planes = dx.chunks_exact_mut(self.plane).zip(dy.chunks_exact(self.plane));
            for ((dx, dy), scale) in planes.zip(scales) {
                for (dx, dy) in dx.iter_mut().zip(dy) {
                    *dx = dy * scale;
                }
            }
        });
        let sums = (0..self.channels).into_par_iter().map(|c| {
            let f = |dy, x| (dy, dy * x);
            let (channels, plane) = (self.channels, self.plane);
            let sums = PairSums { a: dys, b: xs, channels, plane, c, f };
            let (d_shift, d_scale) = vectorized(sums);
            (d_scale as f32, d_shift as f32)
        });
        let (d_scale, d_shift) = sums.unzip();
        Ok((Some(tensor(dx, x)?), Some(tensor(d_scale, scale)?), Some(tensor(d_shift, shift)?)))
    }
}
