//! Elementwise activations with PyTorch's gradients at the kinks.

use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};
use hipflask_runtime::graph::Activation;
use hipflask_runtime::kernels::math::{exp, normal, sigmoid};
use hipflask_runtime::kernels::{Body, activation_f32};
use rayon::prelude::*;

use super::buffer::{host, on_host, operand, output, tensor};
use super::simd::{best, vectorized};
use crate::Result;

/// Applies `kind` to every element of `x`.
///
/// The slope of ReLU is 0 at 0 (candle's own gives 1), of ReLU6 at 0 and 6, of hard sigmoid at
/// ±3; hard swish has 0 at -3 and 1 at 3.
pub fn activate(x: &Tensor, kind: Activation) -> Result<Tensor> {
    if on_host(x) { Ok(x.contiguous()?.apply_op1(Elementwise(kind))?) } else { composed(x, kind) }
}

/// The same by candle's differentiable operations.
pub(super) fn composed(x: &Tensor, kind: Activation) -> Result<Tensor> {
    // Comparisons are written so that a NaN falls through to `x`.
    let zeros = x.zeros_like()?;
    let sigmoid = |x: &Tensor| (x.neg()?.exp()? + 1.0)?.recip();
    Ok(match kind {
        Activation::Relu => x.le(0.0)?.where_cond(&zeros, x)?,
        Activation::Relu6 => {
            let below = x.ge(6.0)?.where_cond(&(&zeros + 6.0)?, x)?;
            x.le(0.0)?.where_cond(&zeros, &below)?
        }
        Activation::HardSwish => {
            let between = (x * x.affine(1.0 / 6.0, 0.5)?)?;
            let upper = x.ge(3.0)?.where_cond(x, &between)?;
            x.le(-3.0)?.where_cond(&zeros, &upper)?
        }
        Activation::HardSigmoid => {
            let upper = x.ge(3.0)?.where_cond(&x.ones_like()?, &x.affine(1.0 / 6.0, 0.5)?)?;
            x.le(-3.0)?.where_cond(&zeros, &upper)?
        }
        Activation::Sigmoid => sigmoid(x)?,
        Activation::Tanh => x.tanh()?,
        Activation::Silu => (x * sigmoid(x)?)?,
        Activation::Gelu => {
            let cubic = (x.sqr()? * x)?.affine(f64::from(GELU_CUBIC), 0.0)?;
            (x * sigmoid(&(x + cubic)?.affine(f64::from(GELU_SCALE), 0.0)?)?)?
        }
        Activation::GeluErf => x.gelu_erf()?,
    })
}

/// `√(2/π)`, twice: the argument of GELU's sigmoid is it times `x + 0.044715 x³`.
const GELU_SCALE: f32 = 1.595_769;
const GELU_CUBIC: f32 = 0.044_715;

struct Elementwise(Activation);

/// Elements that one task handles: fewer are not worth another thread.
const BLOCK: usize = 1 << 15;

impl CustomOp1 for Elementwise {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = operand(x, layout)?;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
            activation_f32(best(), self.0, x, y);
        });
        Ok(output(y, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (xs, ys, dys) = (host(x)?, host(y)?, host(&dy)?);
        let mut dx = vec![0.0; xs.len()];
        let blocks = dx.par_chunks_mut(BLOCK).zip(xs.par_chunks(BLOCK));
        blocks.zip(ys.par_chunks(BLOCK)).zip(dys.par_chunks(BLOCK)).for_each(
            |(((dx, x), y), dy)| {
                vectorized(Slopes { kind: self.0, x, y, dy, dx });
            },
        );
        Ok(Some(tensor(dx, x)?))
    }
}

/// `∂x = ∂y · f'(x)` for `y = f(x)`.
struct Slopes<'a> {
    kind: Activation,
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Slopes<'_> {
    #[inline(always)]
    fn fill(self, slope: impl Fn(f32, f32) -> f32) {
        let Self { x, y, dy, dx, .. } = self;
        for (((dx, &x), &y), dy) in dx.iter_mut().zip(x).zip(y).zip(dy) {
            *dx = dy * slope(x, y);
        }
    }
}

impl Body for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // The match is outside the loops, so that each becomes a vectorized one of its own.
        match self.kind {
            Activation::Relu => self.fill(|x, _| inside(x > 0.0, 1.0)),
            Activation::Relu6 => self.fill(|x, _| inside(x > 0.0 && x < 6.0, 1.0)),
            Activation::HardSwish => {
                self.fill(|x, _| if x >= 3.0 { 1.0 } else { inside(x > -3.0, x / 3.0 + 0.5) });
            }
            Activation::HardSigmoid => self.fill(|x, _| inside(x > -3.0 && x < 3.0, 1.0 / 6.0)),
            Activation::Sigmoid => self.fill(|_, y| y * (1.0 - y)),
            Activation::Tanh => self.fill(|_, y| 1.0 - y * y),
            Activation::Silu => self.fill(|x, y| {
                let s = sigmoid(x);
                s + y * (1.0 - s)
            }),
            Activation::Gelu => self.fill(|x, y| {
                let s = sigmoid(GELU_SCALE * (x + GELU_CUBIC * (x * x * x)));
                s + y * (1.0 - s) * (GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * (x * x)))
            }),
            // The density is 1 / √(2π) · exp(-x² / 2).
            Activation::GeluErf => {
                self.fill(|x, _| normal(x) + x * (0.398_942_3 * exp(-0.5 * (x * x))));
            }
        }
    }
}

#[inline(always)]
fn inside(inside: bool, slope: f32) -> f32 {
    if inside { slope } else { 0.0 }
}
