//! Layer normalisation (Ba et al. 2016) with hand-written gradients.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result as CandleResult, Shape, Tensor};
use hipflask_runtime::kernels::Body;
use rayon::prelude::*;

use super::buffer::{host, on_host, operand, output, tensor};
use super::simd::vectorized;
use crate::{Error, ErrorKind, Result};

/// `(x - mean) / √(variance + ε) · γ + β` over the last dimension `d` of `x`; same shape.
///
/// `γ [d]` and `β [d]`; the variance is the mean of squared deviations. Gradients flow to all
/// three; on the CPU they do not depend on the number of threads.
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if width == 0 || gamma.dims() != [width] || beta.dims() != [width] {
        let message = format!(
            "input {:?} needs parameters [{width}], got {:?} and {:?}",
            x.dims(),
            gamma.dims(),
            beta.dims()
        );
        return Err(Error::new(ErrorKind::Shape, "layer norm", message));
    }
    if !on_host(x) {
        return composed(x, gamma, beta, epsilon);
    }
    let op = LayerNorm { width, epsilon: epsilon as f32, moments: OnceLock::new() };
    Ok(x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op)?)
}

/// The same by candle's differentiable operations.
pub(super) fn composed(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let inverse = (variance + epsilon)?.sqrt()?.recip()?;
    Ok(centred.broadcast_mul(&inverse)?.broadcast_mul(gamma)?.broadcast_add(beta)?)
}

/// Rows that one task handles; sums for `γ` and `β` are taken block by block.
const ROWS: usize = 64;

struct LayerNorm {
    width: usize,
    epsilon: f32,
    /// Mean and `1 / √(variance + ε)` of each row, which the forward pass leaves behind.
    moments: OnceLock<Vec<[f32; 2]>>,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer norm"
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
        let (x, epsilon) = (operand(x, x_layout)?, self.epsilon);
        let (gamma, beta) = (operand(gamma, gamma_layout)?, operand(beta, beta_layout)?);
        let mut y = vec![0.0; x.len()];
        let mut moments = vec![[0.0; 2]; x.len() / self.width];
        let block = ROWS * self.width;
        let blocks = y.par_chunks_mut(block).zip(x.par_chunks(block));
        blocks.zip(moments.par_chunks_mut(ROWS)).for_each(|((y, x), moments)| {
            vectorized(Forward { gamma, beta, epsilon, x, y, moments });
        });
        let _ = self.moments.set(moments);
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
        let Some(moments) = self.moments.get() else {
            candle_core::bail!("the layer norm has no forward pass to go back through");
        };
        let dy = dy.contiguous()?;
        let (x_host, gamma_host, dy_host) = (host(x)?, host(gamma)?, host(&dy)?);
        let (xs, gammas, dys): (&[f32], &[f32], &[f32]) = (&x_host, &gamma_host, &dy_host);
        let (width, block) = (self.width, ROWS * self.width);
        let mut dx = vec![0.0; xs.len()];
        let mut sums = vec![0.0; 2 * width * xs.len().div_ceil(block)];
        let blocks = dx.par_chunks_mut(block).zip(xs.par_chunks(block));
        let blocks = blocks.zip(dys.par_chunks(block)).zip(moments.par_chunks(ROWS));
        blocks.zip(sums.par_chunks_mut(2 * width)).for_each(|((((dx, x), dy), moments), sums)| {
            vectorized(Backward { gamma: gammas, x, dy, moments, dx, sums });
        });
        let mut total = vec![0.0_f64; 2 * width];
        for sums in sums.chunks_exact(2 * width) {
            total.iter_mut().zip(sums).for_each(|(total, &sum)| *total += f64::from(sum));
        }
        let (d_gamma, d_beta) = total.split_at(width);
        let narrow = |sums: &[f64]| sums.iter().map(|&sum| sum as f32).collect();
        let d_gamma = tensor(narrow(d_gamma), gamma)?;
        Ok((Some(tensor(dx, x)?), Some(d_gamma), Some(tensor(narrow(d_beta), beta)?)))
    }
}

/// Lanes of a row's sums.
const LANES: usize = 16;

/// `Σ f(a, b)` over a row, in lanes that are then added in halves.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i]);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += f(a, b);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
    }
    lanes[0]
}

/// Normalises rows and notes their moments.
struct Forward<'a> {
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    x: &'a [f32],
    y: &'a mut [f32],
    moments: &'a mut [[f32; 2]],
}

impl Body for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { gamma, beta, epsilon, x, y, moments } = self;
        let width = gamma.len();
        let share = 1.0 / width as f32;
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), moments) in rows.zip(moments) {
            let mean = sum(x, x, |x, _| x) * share;
            let variance = sum(x, x, |x, _| (x - mean) * (x - mean)) * share;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            *moments = [mean, inverse];
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                *y = (x - mean) * inverse * gamma + beta;
            }
        }
    }
}

/// With `g = ∂y · γ` and `x̂` the normalised row: `∂x = (g - mean(g) - x̂ · mean(g · x̂)) / σ`; sums
/// over the block of `∂y · x̂` (for `γ`), then of `∂y` (for `β`).
struct Backward<'a> {
    gamma: &'a [f32],
    x: &'a [f32],
    dy: &'a [f32],
    moments: &'a [[f32; 2]],
    dx: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Body for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { gamma, x, dy, moments, dx, sums } = self;
        let width = gamma.len();
        let share = 1.0 / width as f32;
        let (d_gamma, d_beta) = sums.split_at_mut(width);
        let rows =
            x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for (((x, dy), dx), &[mean, inverse]) in rows.zip(moments) {
            for (((dx, dy), gamma), d_beta) in
                dx.iter_mut().zip(dy).zip(gamma).zip(d_beta.iter_mut())
            {
                *dx = dy * gamma;
                *d_beta += dy;
            }
            for ((d_gamma, x), dy) in d_gamma.iter_mut().zip(x).zip(dy) {
                *d_gamma += dy * ((x - mean) * inverse);
            }
            let by_mean = sum(dx, dx, |g, _| g) * share;
            let by_variance = sum(dx, x, |g, x| g * (x - mean)) * inverse * inverse * share;
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = (*dx - by_mean - (x - mean) * by_variance) * inverse;
            }
        }
    }
}
