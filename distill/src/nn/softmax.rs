//! Logarithm of the softmax over the last dimension, safe for logits of any size.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{host, on_host, operand, output, tensor};
use super::composed;
use crate::{Error, ErrorKind, Result};

/// `ln softmax(x)` over the last dimension, which must not be empty; same shape.
///
/// The maximum is subtracted first, so no exponential overflows.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let classes = x.dim(D::Minus1)?;
    if classes == 0 {
        let message = format!("the last dimension of {:?} is empty", x.dims());
        return Err(Error::new(ErrorKind::Shape, "softmax", message));
    }
    if !on_host(x) {
        return composed::log_softmax(x);
    }
    Ok(x.contiguous()?.apply_op1(LogSoftmax { classes })?)
}

/// `softmax(x)` over the last dimension; same shape.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    Ok(log_softmax(x)?.exp()?)
}

/// Elements that are worth another thread.
const ELEMENTS: usize = 1 << 12;

struct LogSoftmax {
    classes: usize,
}

impl CustomOp1 for LogSoftmax {
    fn name(&self) -> &'static str {
        "log softmax"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = operand(x, layout)?;
        let mut y = vec![0.0; x.len()];
        let rows = y.par_chunks_mut(self.classes).zip(x.par_chunks(self.classes));
        rows.with_min_len(ELEMENTS.div_ceil(self.classes)).for_each(|(y, x)| {
            let highest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = x.iter().map(|v| (v - highest).exp()).sum();
            let log_sum = sum.ln();
            for (y, v) in y.iter_mut().zip(x) {
                *y = v - highest - log_sum;
            }
        });
        Ok(output(y, layout.shape()))
    }

    /// `∂x = ∂y - softmax(x) · Σ∂y`.
    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (ys, dys) = (host(y)?, host(&dy)?);
        let mut dx = vec![0.0; ys.len()];
        let rows = dx.par_chunks_mut(self.classes).zip(ys.par_chunks(self.classes));
        let rows = rows.zip(dys.par_chunks(self.classes));
        rows.with_min_len(ELEMENTS.div_ceil(self.classes)).for_each(|((dx, y), dy)| {
            let sum: f32 = dy.iter().sum();
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = dy - y.exp() * sum;
            }
        });
        Ok(Some(tensor(dx, x)?))
    }
}
