//! A linear layer whose weights are integers in groups: `y = Σ scale · (Σ x · q) + bias`.
//!
//! The order of the sums is fixed and nothing is fused (`docs/weight-only.md`): within a group the
//! products of even and of odd elements are added apart, each in their order, then both sums; what a
//! group gives is multiplied by its scale and added to the bias, group after group. Vectors compute
//! channels side by side, so that every width of them gives the same bits.

use alloc::format;
use alloc::string::String;

use crate::groups::{Groups, OFFSET};
use crate::kernels::aligned::Aligned;
use crate::kernels::gemm::float::clamp;
use crate::kernels::isa::{Body, Isa};
use crate::kernels::lanes::LANES;
use crate::threads::Threads;

/// Tokens for which a group of weights is widened once.
const TOKENS: usize = 64;
/// Multiply-accumulates that are worth waking a thread for: about four microseconds.
const LEAST_MACS: usize = 1 << 16;

/// A weight `[n, k]` in groups, packed for panels of `LANES` channels.
pub struct WeightOnlyLinear {
    isa: Isa,
    groups: Groups,
    k: usize,
    n: usize,
    /// Tokens of an input.
    tokens: usize,
    /// `[panels, bytes of a row, LANES]`
    weights: Aligned<u8>,
    /// `[panels, groups, LANES]`
    scales: Aligned<f32>,
    /// `[panels, LANES]`
    bias: Aligned<f32>,
    range: (f32, f32),
}

impl WeightOnlyLinear {
    /// Packs `weights`, `n` rows of `k` as `groups` stores them, with `scales` `[n, groups]` and
    /// `bias` `[n]`, for inputs `[tokens, k]`.
    ///
    /// `range` clamps the result, as a fused ReLU or ReLU6; infinite for none. Panics when lengths do
    /// not fit or `isa` is not available.
    pub fn new(
        isa: Isa,
        groups: Groups,
        (tokens, k): (usize, usize),
        (weights, scales): (&[u8], &[f32]),
        bias: &[f32],
        range: (f32, f32),
    ) -> Self {
        isa.assert_available();
        let n = bias.len();
        let (row, count) = (groups.row_bytes(k).unwrap_or(0), groups.count(k));
        assert_eq!(weights.len(), n * row, "weight-only: {n} rows of {k} in {groups:?}");
        assert_eq!(scales.len(), n * count, "weight-only: scales of {n} rows");
        let panels = n.div_ceil(LANES);
        let mut packed = Self {
            isa,
            groups,
            k,
            n,
            tokens,
            weights: Aligned::zeroed(panels * row * LANES),
            scales: Aligned::zeroed(panels * count * LANES),
            bias: Aligned::zeroed(panels * LANES),
            range,
        };
        interleave(weights, row, packed.weights.as_mut_slice());
        interleave(scales, count, packed.scales.as_mut_slice());
        interleave(bias, 1, packed.bias.as_mut_slice());
        packed
    }

    /// `{isa}-{format}`, for reports.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}linear", self.isa, self.groups.name())
    }

    /// Elements of scratch that [`run`](Self::run) needs: a group of a panel as f32, and sums.
    pub fn scratch_len(&self) -> usize {
        (self.groups.size.min(self.k) + TOKENS.min(self.tokens)) * LANES
    }

    /// Computes `y` `[tokens, n]` from `x` `[tokens, k]`, of as many tokens as they hold, without
    /// allocating.
    ///
    /// What `scratch` holds does not matter. Panics when a buffer is too short.
    pub fn run(&self, x: &[f32], y: &mut [f32], scratch: &mut [f32]) {
        assert_eq!(x.len() * self.n, y.len() * self.k, "weight-only: input against output");
        let (weights, sums) =
            scratch[..self.scratch_len()].split_at_mut(self.groups.size.min(self.k) * LANES);
        let (weights, sums) = (weights.as_chunks_mut().0, sums.as_chunks_mut().0);
        let Self { k, n, .. } = *self;
        for (x, y) in x.chunks(sums.len() * k).zip(y.chunks_mut(sums.len() * n)) {
            // As many tokens at a time as sums fit in the registers.
            if self.isa == Isa::Avx512Vnni {
                self.isa.vectorized(Run::<4> { layer: self, x, y, weights, sums });
            } else {
                self.isa.vectorized(Run::<2> { layer: self, x, y, weights, sums });
            }
        }
    }

    /// How many of `threads` are worth waking for it.
    pub(crate) fn parts(&self, threads: usize) -> usize {
        let macs = self.tokens * self.k * self.n;
        if macs < LEAST_MACS { 1 } else { threads.min(self.tokens) }
    }

    /// As [`run`](Self::run) on all threads, which divide the tokens: the same bits. Each has its own
    /// [`scratch_len`](Self::scratch_len) elements.
    pub(crate) fn run_divided(
        &self,
        x: &[f32],
        y: &mut [f32],
        scratch: &mut [f32],
        threads: &mut Threads,
    ) {
        let tokens = (x.len() / self.k).div_ceil(threads.count().max(1));
        let parts = x.chunks(tokens * self.k).zip(y.chunks_mut(tokens * self.n));
        // Each begins at a multiple of a cache line.
        let parts = parts.zip(scratch.chunks_mut(self.scratch_len()));
        threads.each(parts, |((x, y), scratch)| self.run(x, y, scratch));
    }
}

/// Rows of `width` elements to panels of [`LANES`] of them, side by side, with zeros where there are
/// no more.
fn interleave<V: Copy>(rows: &[V], width: usize, panels: &mut [V]) {
    for (row, values) in rows.chunks_exact(width.max(1)).enumerate() {
        let panel = &mut panels[row / LANES * LANES * width..][..LANES * width];
        for (values, &value) in panel.chunks_exact_mut(LANES).zip(values) {
            values[row % LANES] = value;
        }
    }
}

/// One channel each.
type Vector = [f32; LANES];

/// `R` tokens are computed together.
struct Run<'a, const R: usize> {
    layer: &'a WeightOnlyLinear,
    x: &'a [f32],
    y: &'a mut [f32],
    /// A group of a panel's weights as f32.
    weights: &'a mut [Vector],
    /// A panel's channels of each token.
    sums: &'a mut [Vector],
}

impl<const R: usize> Body for Run<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { layer, x, y, weights, sums } = self;
        let &WeightOnlyLinear { groups, k, n, .. } = layer;
        let (row, count) = (groups.row_bytes(k).unwrap_or(0), groups.count(k));
        let group_bytes = groups.row_bytes(groups.size).unwrap_or(row);
        let tokens = x.len() / k;
        let panels = layer.weights.chunks_exact(row * LANES);
        let scales = layer.scales.chunks_exact(count * LANES);
        let bias = layer.bias.as_chunks::<LANES>().0;
        for (panel, ((bytes, scales), bias)) in panels.zip(scales).zip(bias).enumerate() {
            let (bytes, scales) = (bytes.as_chunks::<LANES>().0, scales.as_chunks::<LANES>().0);
            let sums = &mut sums[..tokens];
            sums.fill(*bias);
            for (group, (bytes, scale)) in bytes.chunks(group_bytes).zip(scales).enumerate() {
                let start = group * groups.size;
                let length = groups.size.min(k - start);
                let x = |token: usize| &x[token * k + start..][..length];
                match (sums.as_chunks_mut::<R>(), groups.bits) {
                    // Of one token, each weight is needed once.
                    (([], [sum]), 4) => {
                        let pairs = bytes.iter().map(pair);
                        add_group(&[x(0)], pairs, None, scale, core::array::from_mut(sum));
                    }
                    (([], [sum]), _) => {
                        let (pairs, last) = bytes.as_chunks();
                        let (pairs, last) = (pairs.iter().map(both), last.first().map(int8));
                        add_group(&[x(0)], pairs, last, scale, core::array::from_mut(sum));
                    }
                    ((many, rest), _) => {
                        let weights = &mut weights[..length];
                        widen(groups, bytes, weights);
                        let (pairs, last) = weights.as_chunks();
                        let (pairs, last) = (pairs.iter().copied(), last.first().copied());
                        let first = many.len() * R;
                        for (i, sums) in many.iter_mut().enumerate() {
                            let x: [_; R] = core::array::from_fn(|r| x(i * R + r));
                            add_group(&x, pairs.clone(), last, scale, sums);
                        }
                        for (i, sum) in rest.iter_mut().enumerate() {
                            let sum = core::array::from_mut(sum);
                            add_group(&[x(first + i)], pairs.clone(), last, scale, sum);
                        }
                    }
                }
            }
            let first = panel * LANES;
            let columns = LANES.min(n - first);
            for (y, sum) in y.chunks_exact_mut(n).zip(&*sums) {
                let y = &mut y[first..][..columns];
                for (y, &sum) in y.iter_mut().zip(sum) {
                    *y = clamp(sum, layer.range);
                }
            }
        }
    }
}

/// A group of stored weights as f32, which holds them exactly.
#[inline(always)]
fn widen(groups: Groups, bytes: &[[u8; LANES]], weights: &mut [Vector]) {
    match groups.bits {
        4 => {
            for (weights, bytes) in weights.as_chunks_mut().0.iter_mut().zip(bytes) {
                *weights = pair(bytes);
            }
        }
        _ => {
            for (weights, bytes) in weights.iter_mut().zip(bytes) {
                *weights = int8(bytes);
            }
        }
    }
}

/// Two int4 of each channel.
#[inline(always)]
fn pair(bytes: &[u8; LANES]) -> [Vector; 2] {
    // In 32 bits, as vectors convert them.
    let real = |nibble: u8| (i32::from(nibble) - i32::from(OFFSET)) as f32;
    [core::array::from_fn(|c| real(bytes[c] & 15)), core::array::from_fn(|c| real(bytes[c] >> 4))]
}

/// An int8 of each channel.
#[inline(always)]
fn int8(bytes: &[u8; LANES]) -> Vector {
    core::array::from_fn(|c| f32::from(bytes[c].cast_signed()))
}

/// Two int8 of each channel.
#[inline(always)]
fn both(bytes: &[[u8; LANES]; 2]) -> [Vector; 2] {
    [int8(&bytes[0]), int8(&bytes[1])]
}

/// Adds what a group, in pairs of weights and perhaps a last one, gives to the sums of `R` tokens.
#[inline(always)]
fn add_group<const R: usize>(
    x: &[&[f32]; R],
    pairs: impl ExactSizeIterator<Item = [Vector; 2]>,
    last: Option<Vector>,
    scale: &Vector,
    sums: &mut [Vector; R],
) {
    let count = pairs.len();
    let rows = x.map(|x| &x.as_chunks::<2>().0[..count]);
    let (mut even, mut odd) = ([[0.0_f32; LANES]; R], [[0.0_f32; LANES]; R]);
    for (j, [first, second]) in pairs.enumerate() {
        for r in 0..R {
            // Arrays made anew stay in registers.
            let [a, b] = rows[r][j];
            even[r] = core::array::from_fn(|c| even[r][c] + a * first[c]);
            odd[r] = core::array::from_fn(|c| odd[r][c] + b * second[c]);
        }
    }
    for r in 0..R {
        if let Some(weights) = last {
            let x = x[r][2 * count];
            even[r] = core::array::from_fn(|c| even[r][c] + x * weights[c]);
        }
        let sum = sums[r];
        sums[r] = core::array::from_fn(|c| sum[c] + (even[r][c] + odd[r][c]) * scale[c]);
    }
}
