//! Fully connected layer with hand-written gradients.

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, Layout, Result as CandleResult, Shape, Tensor,
};
use rayon::prelude::*;

use super::buffer::{channel_sums, host, on_host, operand, output, tensor};
use super::gemm::{Matrix, gemm};
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

/// Rows that one task multiplies: enough to fill the product's tiles, few enough to share out.
const ROWS: usize = 32;

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
        let w = Matrix::new(w, self.outputs, self.inputs).t();
        let mut y = vec![0.0; self.n * self.outputs];
        let blocks = y.par_chunks_mut((ROWS * self.outputs).max(1));
        blocks.zip(x.par_chunks((ROWS * self.inputs).max(1))).for_each(|(y, x)| {
            if let Some(bias) = bias {
                y.chunks_exact_mut(bias.len()).for_each(|y| y.copy_from_slice(bias));
            }
            let rows = y.len() / self.outputs;
            gemm(y, Matrix::new(x, rows, self.inputs), w, bias.is_some());
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
        let blocks = dx.par_chunks_mut((ROWS * self.inputs).max(1));
        blocks.zip(dys.par_chunks((ROWS * self.outputs).max(1))).for_each(|(dx, dy)| {
            let dy = Matrix::new(dy, dx.len() / self.inputs, self.outputs);
            gemm(dx, dy, Matrix::new(ws, self.outputs, self.inputs), false);
        });
        // Blocks of the inputs as columns would not be contiguous: transpose the product instead.
        let mut dw = vec![0.0; ws.len()];
        let dy_columns = transposed(dys, self.n, self.outputs);
        dw.par_chunks_mut((ROWS * self.inputs).max(1))
            .zip(dy_columns.par_chunks((ROWS * self.n).max(1)))
            .for_each(|(dw, dy)| {
                let dy = Matrix::new(dy, dw.len() / self.inputs, self.n);
                gemm(dw, dy, Matrix::new(xs, self.n, self.inputs), false);
            });
        let dx = if need_x { Some(tensor(dx, x)?) } else { None };
        Ok((dx, tensor(dw, w)?))
    }
}

fn transposed(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (r, row) in values.chunks_exact(cols.max(1)).enumerate() {
        for (c, &v) in row.iter().enumerate() {
            out[c * rows + r] = v;
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
