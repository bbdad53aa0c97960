//! Vectors of tokens: looked up by their ids, told their positions, averaged.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result as CandleResult, Shape, Tensor,
};
use hipflask_runtime::kernels::{embed, mean_tokens_f32};
use rayon::prelude::*;

use super::buffer::{host, on_host, operand, output, tensor};
use super::simd::best;
use crate::{Error, ErrorKind, Result};

fn mismatch(what: &str, message: String) -> Error {
    Error::new(ErrorKind::Shape, what, message)
}

/// Rows of `weight [vocabulary, d]` for `ids [n, t]`: `[n, t, d]`. The gradient flows to `weight`.
///
/// Ids are whole numbers in any dtype; one outside the vocabulary takes the nearest row, NaN the
/// first.
pub fn embedding(ids: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (&[n, tokens], &[vocabulary, width]) = (ids.dims(), weight.dims()) else {
        let (ids, weight) = (ids.dims(), weight.dims());
        let message = format!("needs ids [n, t] and rows [vocabulary, d], got {ids:?}, {weight:?}");
        return Err(mismatch("embedding", message));
    };
    if vocabulary == 0 || width == 0 {
        return Err(mismatch("embedding", format!("rows {:?} are empty", weight.dims())));
    }
    let ids = ids.to_dtype(DType::F32)?.flatten_all()?;
    if !on_host(weight) {
        let last = (vocabulary - 1) as f64;
        let ids = ids.clamp(0.0, last)?.to_dtype(DType::U32)?;
        return Ok(weight.index_select(&ids, 0)?.reshape((n, tokens, width))?);
    }
    let op = Embedding { ids: ids.to_vec1()?, shape: [n, tokens, width] };
    Ok(weight.contiguous()?.apply_op1(op)?)
}

struct Embedding {
    ids: Vec<f32>,
    shape: [usize; 3],
}

/// Parts of the vocabulary whose gradients are summed side by side.
const PARTS: usize = 16;

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let rows = operand(rows, layout)?;
        let [n, tokens, width] = self.shape;
        let mut y = vec![0.0; n * tokens * width];
        let samples = y.par_chunks_mut((tokens * width).max(1));
        samples.zip(self.ids.par_chunks(tokens.max(1))).for_each(|(y, ids)| embed(rows, ids, y));
        Ok(output(y, (n, tokens, width)))
    }

    fn bwd(&self, rows: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dys = host(&dy)?;
        let (vocabulary, width) = rows.dims2()?;
        let mut sums = vec![0.0; vocabulary * width];
        let part = vocabulary.div_ceil(PARTS);
        // Each row adds its tokens in their order, whoever does it.
        sums.par_chunks_mut(part * width).enumerate().for_each(|(at, sums)| {
            for (&id, dy) in self.ids.iter().zip(dys.chunks_exact(width)) {
                let row = (id as usize).min(vocabulary - 1).wrapping_sub(at * part);
                if let Some(sums) = sums.chunks_exact_mut(width).nth(row) {
                    sums.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                }
            }
        });
        Ok(Some(tensor(sums, rows)?))
    }
}

/// `x [n, t, d]` plus `weight [1, t, d]`, a vector a position. Gradients flow to both.
pub fn add_position(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if x.rank() != 3 || weight.dims() != [&[1], &x.dims()[1..]].concat() {
        let (x, weight) = (x.dims(), weight.dims());
        let message = format!("needs tokens [n, t, d] and weight [1, t, d], got {x:?}, {weight:?}");
        return Err(mismatch("positions", message));
    }
    if !on_host(x) {
        return Ok(x.broadcast_add(weight)?);
    }
    Ok(x.contiguous()?.apply_op2(&weight.contiguous()?, Position)?)
}

struct Position;

/// Elements of the positions that one task handles.
const BLOCK: usize = 1 << 10;

impl CustomOp2 for Position {
    fn name(&self) -> &'static str {
        "positions"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (x, weight) = (operand(x, x_layout)?, operand(weight, weight_layout)?);
        let mut y = x.to_vec();
        y.par_chunks_mut(weight.len().max(1)).for_each(|y| {
            y.iter_mut().zip(weight).for_each(|(y, weight)| *y += weight);
        });
        Ok(output(y, x_layout.shape()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let mut sums = vec![0.0; weight.elem_count()];
        let size = sums.len().max(1);
        {
            let dys = host(&dy)?;
            sums.par_chunks_mut(BLOCK).enumerate().for_each(|(block, sums)| {
                for dy in dys.chunks_exact(size) {
                    let dy = &dy[block * BLOCK..];
                    sums.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                }
            });
        }
        Ok((Some(dy), Some(tensor(sums, weight)?)))
    }
}

/// The mean over the tokens of `x [n, t, d]`: `[n, d]`. With `ids [n, t]`, those whose id is 0
/// (padding) do not count; of none it is 0. The gradient flows to `x`.
pub fn mean_tokens(x: &Tensor, ids: Option<&Tensor>) -> Result<Tensor> {
    let &[n, tokens @ 1..=usize::MAX, width @ 1..=usize::MAX] = x.dims() else {
        return Err(mismatch(
            "mean of tokens",
            format!("needs tokens [n, t, d], got {:?}", x.dims()),
        ));
    };
    if let Some(ids) = ids.filter(|ids| ids.dims() != [n, tokens]) {
        let message = format!("needs ids [{n}, {tokens}], got {:?}", ids.dims());
        return Err(mismatch("mean of tokens", message));
    }
    if !on_host(x) {
        return composed_mean(x, ids);
    }
    let ids = match ids {
        Some(ids) => Some(ids.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?),
        None => None,
    };
    Ok(x.contiguous()?.apply_op1(Mean { ids, shape: [n, tokens, width] })?)
}

/// The same by candle's differentiable operations.
pub(super) fn composed_mean(x: &Tensor, ids: Option<&Tensor>) -> Result<Tensor> {
    let Some(ids) = ids else { return Ok(x.mean(1)?) };
    let counts = ids.ne(0.0)?.to_dtype(x.dtype())?.unsqueeze(2)?;
    let count = counts.sum(1)?;
    let divisor = (&count + count.eq(0.0)?.to_dtype(x.dtype())?)?;
    Ok(x.broadcast_mul(&counts)?.sum(1)?.broadcast_div(&divisor)?)
}

struct Mean {
    ids: Option<Vec<f32>>,
    shape: [usize; 3],
}

impl Mean {
    fn ids_of(&self, sample: usize) -> Option<&[f32]> {
        self.ids.as_ref()?.chunks_exact(self.shape[1]).nth(sample)
    }
}

impl CustomOp1 for Mean {
    fn name(&self) -> &'static str {
        "mean of tokens"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = operand(x, layout)?;
        let [n, tokens, width] = self.shape;
        let mut y = vec![0.0; n * width];
        let samples = y.par_chunks_mut(width).zip(x.par_chunks(tokens * width)).enumerate();
        samples.for_each(|(i, (y, x))| mean_tokens_f32(best(), x, self.ids_of(i), y));
        Ok(output(y, (n, width)))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dys = host(&dy)?;
        let [_, tokens, width] = self.shape;
        let mut dx = vec![0.0; x.elem_count()];
        let samples = dx.par_chunks_mut(tokens * width).zip(dys.par_chunks(width)).enumerate();
        samples.for_each(|(i, (dx, dy))| {
            let ids = self.ids_of(i);
            let counts = |token: usize| ids.is_none_or(|ids| ids[token] != 0.0);
            let share = 1.0 / (0..tokens).filter(|&token| counts(token)).count().max(1) as f32;
            for (token, dx) in dx.chunks_exact_mut(width).enumerate() {
                if counts(token) {
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy * share);
                }
            }
        });
        Ok(Some(tensor(dx, x)?))
    }
}
