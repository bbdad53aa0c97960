//! Elementwise activations with PyTorch's gradients at the kinks.

use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};
use hipflask_runtime::graph::Activation;
use rayon::prelude::*;

use super::buffer::{host, on_host, operand, output, tensor};
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
    })
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

struct Elementwise(Activation);

impl Elementwise {
    /// `f(x)`.
    fn value(kind: Activation, x: f32) -> f32 {
        match kind {
            // Comparisons let a NaN through, `max` and `min` would hide it.
            Activation::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::HardSwish => x * Self::value(Activation::HardSigmoid, x),
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => x.tanh(),
            Activation::Silu => x * sigmoid(x),
        }
    }

    /// `f'(x)`, given `y = f(x)`.
    fn slope(kind: Activation, x: f32, y: f32) -> f32 {
        let inside = |inside: bool, slope: f32| if inside { slope } else { 0.0 };
        match kind {
            Activation::Relu => inside(x > 0.0, 1.0),
            Activation::Relu6 => inside(x > 0.0 && x < 6.0, 1.0),
            Activation::HardSwish if x >= 3.0 => 1.0,
            Activation::HardSwish => inside(x > -3.0, x / 3.0 + 0.5),
            Activation::HardSigmoid => inside(x > -3.0 && x < 3.0, 1.0 / 6.0),
            Activation::Sigmoid => y * (1.0 - y),
            Activation::Tanh => 1.0 - y * y,
            Activation::Silu => {
                let s = sigmoid(x);
                s + y * (1.0 - s)
            }
        }
    }
}

/// Elements that one task handles.
const BLOCK: usize = 1 << 13;

impl CustomOp1 for Elementwise {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = operand(x, layout)?;
        let Self(kind) = *self;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = Self::value(kind, x);
            }
        });
        Ok(output(y, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (xs, ys, dys) = (host(x)?, host(y)?, host(&dy)?);
        let Self(kind) = *self;
        let mut dx = vec![0.0; xs.len()];
        let blocks = dx.par_chunks_mut(BLOCK).zip(xs.par_chunks(BLOCK));
        blocks.zip(ys.par_chunks(BLOCK)).zip(dys.par_chunks(BLOCK)).for_each(
            |(((dx, x), y), dy)| {
                for (((dx, &x), &y), dy) in dx.iter_mut().zip(x).zip(y).zip(dy) {
                    *dx = dy * Self::slope(kind, x, y);
                }
            },
        );
        Ok(Some(tensor(dx, x)?))
    }
}
