//! Fully connected layer with hand-written gradients.

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, Layout, Result as CandleResult, Shape, Tensor,
};
use rayon::prelude::*;

use super::buffer::{channel_sums, host, on_host, operand, output, tensor};
use super::product::{Left, Right, Target, product, rows};
use crate::{Error, ErrorKind, Result};

/// `x · wᵀ + bias` for `x [n, in]` or `[n, t, in]`, `w [out, in]`, `bias [out]`; returns `[n, out]`
/// or `[n, t, out]`.
///
/// Gradients flow to all three; on the CPU the result does not depend on the number of threads.
pub fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ([.., inputs], &[outputs, w_inputs]) = (x.dims(), w.dims()) else {
        return Err(mismatch(x, w, bias));
    };
    if *inputs != w_inputs
        || !(2..=3).contains(&x.rank())
        || bias.is_some_and(|bias| bias.dims() != [outputs])
    {
        return Err(mismatch(x, w, bias));
    }
    if !on_host(x) {
        let y = x.flatten_to(x.rank() - 2)?.matmul(&w.t()?)?;
        let y = y.reshape(with_last(x, outputs))?;
        return Ok(match bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        });
    }
    let op = Linear {
        shape: with_last(x, outputs),
        n: x.elem_count() / inputs.max(&1),
        inputs: *inputs,
        outputs,
    };
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    Ok(match bias {
        Some(bias) => x.apply_op3(&w, &bias.contiguous()?, op)?,
        None => x.apply_op2(&w, op)?,
    })
}

/// The shape of `x` with another last dimension.
fn with_last(x: &Tensor, last: usize) -> Shape {
    let mut dims = x.dims().to_vec();
    dims.pop();
    dims.push(last);
    dims.into()
}

fn mismatch(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Error {
    let message = format!(
        "input {:?} must be [n, in] or [n, t, in], weights {:?} [out, in] and bias {:?} [out]",
        x.dims(),
        w.dims(),
        bias.map(Tensor::dims)
    );
    Error::new(ErrorKind::Shape, "linear", message)
}

/// Terms that are added before their sum is put down: both sides of a tile then stay in a cache.
const DEPTH: usize = 256;

/// Rows that one task multiplies, of `products` each: enough to use what it loads often and to be
/// worth another thread, few enough to share out.
fn rows_of_task(products: usize) -> usize {
    const PRODUCTS: usize = 1 << 19;
    PRODUCTS.div_ceil(products.max(1)).max(32)
}

struct Linear {
    /// Of the output.
    shape: Shape,
    /// Rows: vectors or tokens.
    n: usize,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    fn forward(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let w = transposed(w, self.outputs, self.inputs);
        let mut y = vec![0.0; self.n * self.outputs];
        let task = rows_of_task(self.inputs * self.outputs);
        let blocks = y.par_chunks_mut((task * self.outputs).max(1));
        blocks.zip(x.par_chunks((task * self.inputs).max(1))).for_each(|(y, x)| {
            if let Some(bias) = bias {
                y.chunks_exact_mut(bias.len()).for_each(|y| y.copy_from_slice(bias));
            }
            let left = Left { values: x, row: self.inputs, column: 1 };
            multiply(left, (&w, self.outputs), y, bias.is_some());
        });
        y
    }

    fn gradients(
        &self,
        x: &Tensor,
        w: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Tensor)> {
        let (x_host, w_host, dy_host) = (host(x)?, host(w)?, host(dy)?);
        let (xs, ws, dys): (&[f32], &[f32], &[f32]) = (&x_host, &w_host, &dy_host);
        let need_x = x.track_op();
        let mut dx = vec![0.0; if need_x { xs.len() } else { 0 }];
        let task = rows_of_task(self.inputs * self.outputs);
        let blocks = dx.par_chunks_mut((task * self.inputs).max(1));
        blocks.zip(dys.par_chunks((task * self.outputs).max(1))).for_each(|(dx, dy)| {
            let left = Left { values: dy, row: self.outputs, column: 1 };
            multiply(left, (ws, self.inputs), dx, false);
        });
        let mut dw = vec![0.0; ws.len()];
        let task = rows_of_task(self.inputs * self.n);
        let blocks = dw.par_chunks_mut((task * self.inputs).max(1)).enumerate();
        blocks.for_each(|(block, dw)| {
            let values = dys.get(block * task..).unwrap_or_default();
            multiply(Left { values, row: 1, column: self.outputs }, (xs, self.inputs), dw, false);
        });
        let dx = if need_x { Some(tensor(dx, x)?) } else { None };
        Ok((dx, tensor(dw, w)?))
    }
}

/// `y = left · right`, or `+=`, for `right` with rows of `n` elements.
fn multiply(left: Left<'_>, (right, n): (&[f32], usize), y: &mut [f32], mut accumulate: bool) {
    let m = y.len() / n.max(1);
    let starts = rows(DEPTH, n);
    for (block, right) in right.chunks((DEPTH * n).max(1)).enumerate() {
        let values = left.values.get(block * DEPTH * left.column..).unwrap_or_default();
        let right = Right { values: right, rows: &starts[..right.len() / n] };
        let target = Target { values: &mut *y, stride: n };
        product(Left { values, ..left }, right, (m, n), target, accumulate);
        accumulate = true;
    }
}

fn transposed(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    /// Both sides of a tile stay in the first-level cache.
    const TILE: usize = 16;
    let mut out = vec![0.0; values.len()];
    for r in (0..rows).step_by(TILE) {
        for c in (0..cols).step_by(TILE) {
            for c in c..(c + TILE).min(cols) {
                let out = &mut out[c * rows + r..][..TILE.min(rows - r)];
                for (r, out) in (r..).zip(out) {
                    *out = values[r * cols + c];
                }
            }
        }
    }
    out
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let y = self.forward(operand(x, x_layout)?, operand(w, w_layout)?, None);
        Ok(output(y, self.shape.clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.gradients(x, w, &dy.contiguous()?)?;
        Ok((dx, Some(dw)))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear with bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let bias = operand(bias, bias_layout)?;
        let y = self.forward(operand(x, x_layout)?, operand(w, w_layout)?, Some(bias));
        Ok(output(y, self.shape.clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dx, dw) = self.gradients(x, w, &dy)?;
        let db = channel_sums(&host(&dy)?, self.outputs, 1);
        Ok((dx, Some(dw), Some(tensor(db, bias)?)))
    }
}
