//! Multi-head self-attention (Vaswani et al. 2017) with hand-written gradients.
//!
//! Probabilities are kept as `[keys, queries]`: what vectors do side by side are queries, so that
//! a softmax needs no sum across a vector.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result as CandleResult, Shape, Tensor};
use hipflask_runtime::kernels::{Body, math::exp};
use rayon::prelude::*;

use super::buffer::{host, on_host, operand, output, tensor};
use super::product::{LANES, Left, ROWS, Target, product};
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

    /// Queries in a row of probabilities: tokens, padded to whole blocks.
    fn columns(self) -> usize {
        self.tokens.next_multiple_of(LANES)
    }

    /// Elements of one head in a row of a packed matrix.
    fn padded(self) -> usize {
        self.head().next_multiple_of(LANES)
    }

    /// Probabilities of one head, with what a product reads behind them.
    fn probabilities(self) -> usize {
        self.tokens * self.columns() + ROWS
    }

    /// Elements of a head's matrix `[head, columns]` or `[tokens, padded]`.
    fn matrix(self) -> usize {
        (self.head() * self.columns()).max(self.tokens * self.padded())
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
        let scratch = || vec![0.0; 2 * sizes.matrix()];
        if self.kept {
            let mut all = vec![0.0; n * of_sample];
            let samples = samples.zip(all.par_chunks_mut(of_sample));
            samples.for_each_init(scratch, |scratch, ((i, (y, x)), probabilities)| {
                let padding = self.padding_of(i);
                vectorized(Forward { sizes, padding, x, y, probabilities, scratch });
            });
            let _ = self.probabilities.set(all);
        } else {
            let scratch = || (scratch(), vec![0.0; of_sample]);
            samples.for_each_init(scratch, |(scratch, probabilities), (i, (y, x))| {
                let padding = self.padding_of(i);
                vectorized(Forward { sizes, padding, x, y, probabilities, scratch });
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
        let scratch = || vec![0.0; 2 * sizes.matrix() + sizes.probabilities() + sizes.columns()];
        samples.for_each_init(scratch, |scratch, (((dx, x), dy), probabilities)| {
            vectorized(Backward { sizes, x, dy, probabilities, dx, scratch });
        });
        Ok(Some(tensor(dx, x)?))
    }
}

/// Copies a head's rows of `from`, `stride` apart, to rows of `padded`; what is behind a row's
/// elements is never read as a result.
#[inline(always)]
fn pack(from: &[f32], stride: usize, (head, padded): (usize, usize), to: &mut [f32]) {
    for (to, from) in to.chunks_exact_mut(padded).zip(from.chunks(stride)) {
        to[..head].copy_from_slice(&from[..head]);
    }
}

/// The same transposed: element `i` of token `t` goes to `[i, t]` of rows of `columns`.
#[inline(always)]
fn transpose(from: &[f32], stride: usize, (head, columns): (usize, usize), to: &mut [f32]) {
    for (t, from) in from.chunks(stride).enumerate() {
        for (i, &value) in from[..head].iter().enumerate() {
            to[i * columns + t] = value;
        }
    }
}

/// One sample's attention.
struct Forward<'a> {
    sizes: Sizes,
    padding: &'a [bool],
    x: &'a [f32],
    y: &'a mut [f32],
    probabilities: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Body for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { sizes, padding, x, y, probabilities, scratch } = self;
        let Sizes { tokens, width, .. } = sizes;
        let (head, columns, padded) = (sizes.head(), sizes.columns(), sizes.padded());
        let (queries, values) = scratch.split_at_mut(sizes.matrix());
        let scale = 1.0 / (head as f32).sqrt();
        let heads = probabilities.chunks_exact_mut(sizes.probabilities());
        for (at, probabilities) in (0..).step_by(head).zip(heads) {
            transpose(&x[at..], 3 * width, (head, columns), queries);
            pack(&x[2 * width + at..], 3 * width, (head, padded), values);
            let keys = Left::Rows { values: &x[width + at..], stride: 3 * width };
            let scores = Target { values: &mut *probabilities, stride: columns, width: columns };
            product(keys, (tokens, head), queries, columns, scores);
            softmax(&mut probabilities[..tokens * columns], columns, scale, padding);
            let weights = Left::Columns { values: probabilities, stride: columns };
            let y = Target { values: &mut y[at..], stride: width, width: head };
            product(weights, (tokens, tokens), values, padded, y);
        }
    }
}

/// The softmax of `scale · scores` over the rows, which are keys, for all columns; rows that are
/// padding become 0.
#[inline(always)]
fn softmax(scores: &mut [f32], columns: usize, scale: f32, padding: &[bool]) {
    let is_padding = |key: usize| padding.get(key) == Some(&true);
    for first in (0..columns).step_by(LANES) {
        let mut max = [f32::NEG_INFINITY; LANES];
        for (key, row) in scores.chunks_exact(columns).enumerate() {
            if !is_padding(key) {
                let row = &row[first..][..LANES];
                max = std::array::from_fn(|i| if row[i] > max[i] { row[i] } else { max[i] });
            }
        }
        let mut sum = [0.0_f32; LANES];
        for (key, row) in scores.chunks_exact_mut(columns).enumerate() {
            let row = &mut row[first..][..LANES];
            if is_padding(key) {
                row.fill(0.0);
                continue;
            }
            let weights: [f32; LANES] = std::array::from_fn(|i| exp((row[i] - max[i]) * scale));
            sum = std::array::from_fn(|i| sum[i] + weights[i]);
            row.copy_from_slice(&weights);
        }
        let inverse: [f32; LANES] =
            std::array::from_fn(|i| if sum[i] == 0.0 { 0.0 } else { 1.0 / sum[i] });
        for row in scores.chunks_exact_mut(columns) {
            let row = &mut row[first..][..LANES];
            row.iter_mut().zip(inverse).for_each(|(weight, inverse)| *weight *= inverse);
        }
    }
}

/// One sample's gradient. With `p` the probabilities and `g = ∂y · vᵀ`: `∂v = pᵀ · ∂y`,
/// `s = p · (g - Σ p · g)` for each query, `∂q = s · k / √d` and `∂k = sᵀ · q / √d`.
struct Backward<'a> {
    sizes: Sizes,
    x: &'a [f32],
    dy: &'a [f32],
    probabilities: &'a [f32],
    dx: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Body for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { sizes, x, dy, probabilities, dx, scratch } = self;
        let Sizes { tokens, width, .. } = sizes;
        let (head, columns, padded) = (sizes.head(), sizes.columns(), sizes.padded());
        let (transposed, rest) = scratch.split_at_mut(sizes.matrix());
        let (packed, rest) = rest.split_at_mut(sizes.matrix());
        let (slopes, sums) = rest.split_at_mut(sizes.probabilities());
        let scale = 1.0 / (head as f32).sqrt();
        let stride = 3 * width;
        let heads = probabilities.chunks_exact(sizes.probabilities());
        for (at, probabilities) in (0..).step_by(head).zip(heads) {
            let rows = |values| Left::Rows { values, stride: columns };
            pack(&dy[at..], width, (head, padded), packed);
            let dv = Target { values: &mut dx[2 * width + at..], stride, width: head };
            product(rows(probabilities), (tokens, tokens), packed, padded, dv);

            transpose(&dy[at..], width, (head, columns), transposed);
            let values = Left::Rows { values: &x[2 * width + at..], stride };
            let target = Target { values: &mut *slopes, stride: columns, width: columns };
            product(values, (tokens, head), transposed, columns, target);
            through_softmax(probabilities, slopes, (tokens, columns), scale, sums);

            pack(&x[width + at..], stride, (head, padded), packed);
            let dq = Target { values: &mut dx[at..], stride, width: head };
            let columns_of = Left::Columns { values: slopes, stride: columns };
            product(columns_of, (tokens, tokens), packed, padded, dq);

            pack(&x[at..], stride, (head, padded), packed);
            let dk = Target { values: &mut dx[width + at..], stride, width: head };
            product(rows(slopes), (tokens, tokens), packed, padded, dk);
        }
    }
}

/// From the gradient of probabilities, in `slopes`, to that of scores before they were scaled.
#[inline(always)]
fn through_softmax(
    probabilities: &[f32],
    slopes: &mut [f32],
    (tokens, columns): (usize, usize),
    scale: f32,
    sums: &mut [f32],
) {
    let (p, slopes) = (&probabilities[..tokens * columns], &mut slopes[..tokens * columns]);
    sums.fill(0.0);
    for (p, slopes) in p.chunks_exact(columns).zip(slopes.chunks_exact(columns)) {
        for ((sum, p), slope) in sums.iter_mut().zip(p).zip(slopes) {
            *sum += p * slope;
        }
    }
    for (p, slopes) in p.chunks_exact(columns).zip(slopes.chunks_exact_mut(columns)) {
        for ((slope, p), sum) in slopes.iter_mut().zip(p).zip(&*sums) {
            *slope = p * (*slope - sum) * scale;
        }
    }
}
