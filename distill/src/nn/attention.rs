//! Multi-head self-attention (Vaswani et al. 2017) with hand-written gradients.
//!
//! Probabilities are kept as `[keys, queries]`: what vectors do side by side are queries, so that
//! a softmax needs no sum across a vector.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result as CandleResult, Shape, Tensor};
use hipflask_runtime::kernels::{Body, math::exp};
use rayon::prelude::*;

use super::buffer::{host, on_host, operand, output, tensor};
use super::product::{Left, Right, Target, product, rows};
use super::simd::vectorized;
use crate::{Error, ErrorKind, Result};

/// `softmax(q · kᵀ / √(d / heads)) · v`, a head at a time: `[n, t, 3d]`, each token's q, k and v one
/// after another and their heads within them, to `[n, t, d]`.
///
/// With `ids [n, t]`, no token heeds one whose id is 0 (padding); where all are, the result is 0.
/// The gradient flows to `qkv`; on the CPU it does not depend on the number of threads.
pub fn attention(qkv: &Tensor, heads: usize, ids: Option<&Tensor>) -> Result<Tensor> {
    let fail = |message| Err(Error::new(ErrorKind::Shape, "attention", message));
    let &[n, tokens, width] = qkv.dims() else {
        return fail(format!("needs tokens [n, t, 3 · d], got {:?}", qkv.dims()));
    };
    if heads == 0 || width == 0 || tokens == 0 || width % (3 * heads) != 0 {
        return fail(format!("a width of {width} is not q, k and v of {heads} heads"));
    }
    if let Some(ids) = ids.filter(|ids| ids.dims() != [n, tokens]) {
        return fail(format!("needs ids [{n}, {tokens}], got {:?}", ids.dims()));
    }
    if !on_host(qkv) {
        return composed(qkv, heads, ids);
    }
    let padding = match ids {
        Some(ids) => host(&ids.contiguous()?)?.iter().map(|&id| id == 0.0).collect(),
        None => Vec::new(),
    };
    let op = Attention {
        sizes: Sizes { tokens, width: width / 3, heads },
        padding,
        kept: qkv.track_op(),
        probabilities: OnceLock::new(),
    };
    Ok(qkv.contiguous()?.apply_op1(op)?)
}

/// The same by candle's differentiable operations.
pub(super) fn composed(qkv: &Tensor, heads: usize, ids: Option<&Tensor>) -> Result<Tensor> {
    /// Far below any score, and a number in f16 too.
    const LOWEST: f64 = -3e4;
    let (n, tokens, width) = qkv.dims3()?;
    let head = width / (3 * heads);
    let parts = qkv.reshape((n, tokens, 3, heads, head))?.permute((2, 0, 3, 1, 4))?.contiguous()?;
    let (q, k, v) = (parts.get(0)?, parts.get(1)?, parts.get(2)?);
    let scores = q.matmul(&k.transpose(2, 3)?.contiguous()?)?;
    let scores = (scores * (1.0 / (head as f64).sqrt()))?;
    let heeded = match ids {
        Some(ids) => ids.ne(0.0)?.to_dtype(qkv.dtype())?.reshape((n, 1, 1, tokens))?,
        None => Tensor::ones((1, 1, 1, tokens), qkv.dtype(), qkv.device())?,
    };
    let scores = scores.broadcast_add(&heeded.affine(-LOWEST, LOWEST)?)?;
    // The shift cancels in value and gradient, so no gradient need flow through it.
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let weights = weights.broadcast_mul(&heeded)?;
    let total = weights.sum_keepdim(D::Minus1)?;
    let total = (&total + total.eq(0.0)?.to_dtype(total.dtype())?)?;
    let y = weights.broadcast_div(&total)?.matmul(&v)?;
    Ok(y.transpose(1, 2)?.contiguous()?.reshape((n, tokens, width / 3))?)
}

/// Queries that go through a softmax side by side.
const LANES: usize = 16;

#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    /// Elements of q, of k, of v and of the result.
    width: usize,
    heads: usize,
}

impl Sizes {
    /// Elements of one head.
    fn head(self) -> usize {
        self.width / self.heads
    }

    /// Queries in a row of probabilities: tokens, padded to whole lanes.
    fn columns(self) -> usize {
        self.tokens.next_multiple_of(LANES)
    }

    /// Probabilities of one head.
    fn probabilities(self) -> usize {
        self.tokens * self.columns()
    }

    /// The transpose of a head's rows: element `i` of token `t` at `[i, t]` of rows of `tokens`.
    fn transpose(self, from: &[f32], stride: usize, to: &mut [f32]) {
        for (t, from) in from.chunks(stride).enumerate() {
            for (i, &value) in from[..self.head()].iter().enumerate() {
                to[i * self.tokens + t] = value;
            }
        }
    }

    /// One sample's attention: `x [tokens, 3 · width]` to `y [tokens, width]`, leaving its
    /// `probabilities` behind.
    fn forward(
        self,
        padding: &[bool],
        x: &[f32],
        y: &mut [f32],
        probabilities: &mut [f32],
        queries: &mut [f32],
    ) {
        let Self { tokens, width, .. } = self;
        let (head, columns, stride) = (self.head(), self.columns(), 3 * width);
        let scale = 1.0 / (head as f32).sqrt();
        let (query_rows, value_rows) = (rows(head, tokens), rows(tokens, stride));
        let heads = probabilities.chunks_exact_mut(self.probabilities());
        for (at, probabilities) in (0..).step_by(head).zip(heads) {
            self.transpose(&x[at..], stride, queries);
            let keys = Left { values: &x[width + at..], row: stride, column: 1 };
            let right = Right { values: queries, rows: &query_rows };
            let scores = Target { values: &mut *probabilities, stride: columns };
            product(keys, right, (tokens, tokens), scores, false);
            vectorized(Softmax { scores: &mut *probabilities, columns, scale, padding });
            let weights = Left { values: probabilities, row: 1, column: columns };
            let right = Right { values: &x[2 * width + at..], rows: &value_rows };
            let y = Target { values: &mut y[at..], stride: width };
            product(weights, right, (tokens, head), y, false);
        }
    }

    /// One sample's gradient. With `p` the probabilities and `g = ∂y · vᵀ`: `∂v = pᵀ · ∂y`,
    /// `s = p · (g - Σ p · g)` for each query, `∂q = s · k / √d` and `∂k = sᵀ · q / √d`.
    fn backward(
        self,
        (x, dy): (&[f32], &[f32]),
        probabilities: &[f32],
        dx: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Self { tokens, width, .. } = self;
        let (head, columns, stride) = (self.head(), self.columns(), 3 * width);
        let scale = 1.0 / (head as f32).sqrt();
        let (dy_rows, x_rows) = (rows(tokens, width), rows(tokens, stride));
        let transposed_rows = rows(head, tokens);
        let Scratch { transposed, slopes, sums } = scratch;
        let heads = probabilities.chunks_exact(self.probabilities());
        for (at, probabilities) in (0..).step_by(head).zip(heads) {
            let left = Left { values: probabilities, row: columns, column: 1 };
            let right = Right { values: &dy[at..], rows: &dy_rows };
            let dv = Target { values: &mut dx[2 * width + at..], stride };
            product(left, right, (tokens, head), dv, false);

            self.transpose(&dy[at..], width, transposed);
            let left = Left { values: &x[2 * width + at..], row: stride, column: 1 };
            let right = Right { values: transposed, rows: &transposed_rows };
            let target = Target { values: &mut *slopes, stride: columns };
            product(left, right, (tokens, tokens), target, false);
            vectorized(ThroughSoftmax { probabilities, slopes, columns, scale, sums });

            let left = Left { values: slopes, row: 1, column: columns };
            let right = Right { values: &x[width + at..], rows: &x_rows };
            let dq = Target { values: &mut dx[at..], stride };
            product(left, right, (tokens, head), dq, false);

            let left = Left { values: slopes, row: columns, column: 1 };
            let right = Right { values: &x[at..], rows: &x_rows };
            let dk = Target { values: &mut dx[width + at..], stride };
            product(left, right, (tokens, head), dk, false);
        }
    }
}

/// What one thread's backward pass needs for a head.
struct Scratch {
    transposed: Vec<f32>,
    slopes: Vec<f32>,
    sums: Vec<f32>,
}

impl Scratch {
    fn new(sizes: Sizes) -> Self {
        Self {
            transposed: vec![0.0; sizes.head() * sizes.tokens],
            slopes: vec![0.0; sizes.probabilities()],
            sums: vec![0.0; sizes.columns()],
        }
    }
}

struct Attention {
    sizes: Sizes,
    /// Which tokens are padding; empty where none can be.
    padding: Vec<bool>,
    /// Whether there will be a backward pass.
    kept: bool,
    /// For each sample and head `[tokens, columns]`, left behind by the forward pass.
    probabilities: OnceLock<Vec<f32>>,
}

impl Attention {
    fn padding_of(&self, sample: usize) -> &[bool] {
        self.padding.chunks_exact(self.sizes.tokens).nth(sample).unwrap_or_default()
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let (x, sizes) = (operand(x, layout)?, self.sizes);
        let Sizes { tokens, width, heads } = sizes;
        let (sample, of_sample) = (tokens * 3 * width, heads * sizes.probabilities());
        let n = x.len() / sample;
        let mut y = vec![0.0; n * tokens * width];
        let samples = y.par_chunks_mut(tokens * width).zip(x.par_chunks(sample)).enumerate();
        let queries = || vec![0.0; sizes.head() * tokens];
        if self.kept {
            let mut all = vec![0.0; n * of_sample];
            let samples = samples.zip(all.par_chunks_mut(of_sample));
            samples.for_each_init(queries, |queries, ((i, (y, x)), probabilities)| {
                sizes.forward(self.padding_of(i), x, y, probabilities, queries);
            });
            let _ = self.probabilities.set(all);
        } else {
            let scratch = || (queries(), vec![0.0; of_sample]);
            samples.for_each_init(scratch, |(queries, probabilities), (i, (y, x))| {
                sizes.forward(self.padding_of(i), x, y, probabilities, queries);
            });
        }
        Ok(output(y, (n, tokens, width)))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let Some(probabilities) = self.probabilities.get() else {
            candle_core::bail!("the attention has no forward pass to go back through");
        };
        let dy = dy.contiguous()?;
        let (x_host, dy_host) = (host(x)?, host(&dy)?);
        let (xs, dys): (&[f32], &[f32]) = (&x_host, &dy_host);
        let sizes = self.sizes;
        let Sizes { tokens, width, heads } = sizes;
        let sample = tokens * 3 * width;
        let mut dx = vec![0.0; xs.len()];
        let samples = dx.par_chunks_mut(sample).zip(xs.par_chunks(sample));
        let samples = samples.zip(dys.par_chunks(tokens * width));
        let samples = samples.zip(probabilities.par_chunks(heads * sizes.probabilities()));
        let scratch = || Scratch::new(sizes);
        samples.for_each_init(scratch, |scratch, (((dx, x), dy), probabilities)| {
            sizes.backward((x, dy), probabilities, dx, scratch);
        });
        Ok(Some(tensor(dx, x)?))
    }
}

/// The softmax of `scale · scores` over the rows, which are keys, for all columns; rows that are
/// padding become 0.
struct Softmax<'a> {
    scores: &'a mut [f32],
    columns: usize,
    scale: f32,
    padding: &'a [bool],
}

impl Body for Softmax<'_> {
    type Output = ();

    // Plain loops over lanes: a closure in them is not sure to be compiled for wide vectors.
    #[inline(always)]
    fn run(self) {
        let Self { scores, columns, scale, padding } = self;
        for first in (0..columns).step_by(LANES) {
            let mut max = [f32::NEG_INFINITY; LANES];
            for (key, row) in scores.chunks_exact(columns).enumerate() {
                if padding.get(key) != Some(&true) {
                    let row = &row[first..][..LANES];
                    for i in 0..LANES {
                        max[i] = if row[i] > max[i] { row[i] } else { max[i] };
                    }
                }
            }
            let mut sum = [0.0_f32; LANES];
            for (key, row) in scores.chunks_exact_mut(columns).enumerate() {
                let row = &mut row[first..][..LANES];
                if padding.get(key) == Some(&true) {
                    row.fill(0.0);
                    continue;
                }
                for i in 0..LANES {
                    row[i] = exp((row[i] - max[i]) * scale);
                    sum[i] += row[i];
                }
            }
            for sum in &mut sum {
                *sum = if *sum == 0.0 { 0.0 } else { 1.0 / *sum };
            }
            for row in scores.chunks_exact_mut(columns) {
                for (weight, inverse) in row[first..][..LANES].iter_mut().zip(&sum) {
                    *weight *= inverse;
                }
            }
        }
    }
}

/// From the gradient of probabilities, in `slopes`, to that of scores before they were scaled.
struct ThroughSoftmax<'a> {
    probabilities: &'a [f32],
    slopes: &'a mut [f32],
    columns: usize,
    scale: f32,
    sums: &'a mut [f32],
}

impl Body for ThroughSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { probabilities, slopes, columns, scale, sums } = self;
        sums.fill(0.0);
        for (p, slopes) in probabilities.chunks_exact(columns).zip(slopes.chunks_exact(columns)) {
            for ((sum, p), slope) in sums.iter_mut().zip(p).zip(slopes) {
                *sum += p * slope;
            }
        }
        let keys = probabilities.chunks_exact(columns).zip(slopes.chunks_exact_mut(columns));
        for (p, slopes) in keys {
            for ((slope, p), sum) in slopes.iter_mut().zip(p).zip(&*sums) {
                *slope = p * (*slope - sum) * scale;
            }
        }
    }
}
