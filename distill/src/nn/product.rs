//! Matrix products and sums of products of which every sum stays in a register.
//!
//! One kernel serves convolutions, linear layers and attention: the rows of the right side may lie
//! anywhere in a slice. A convolution's are planes of its input, shifted to a kernel position, so
//! nothing is copied to columns first; both sides are read where they are.
#![expect(unsafe_code, reason = "loads without a check in the innermost loops; see SAFETY")]

use pulp::{Arch, Simd, WithSimd};

/// The left side: element `(i, k)` stands at `i · row + k · column`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) values: &'a [f32],
    pub(super) row: usize,
    pub(super) column: usize,
}

/// The right side: row `k` begins at `rows[k]`.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: &'a [usize],
}

/// The result: rows `stride` apart.
pub(super) struct Target<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) stride: usize,
}

/// Where the rows of a matrix of `count` rows begin that are `stride` apart.
pub(super) fn rows(count: usize, stride: usize) -> Vec<usize> {
    (0..count).map(|k| k * stride).collect()
}

/// `target = left · right`, or `+=` with `accumulate`: `m × n`, as deep as `right` has rows.
///
/// Each sum is taken in the order of `k`, on the calling thread.
pub(super) fn product(
    left: Left<'_>,
    right: Right<'_>,
    (m, n): (usize, usize),
    target: Target<'_>,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let depth = right.rows.len();
    let last_row = right.rows.iter().copied().max().unwrap_or(0);
    assert!(
        depth == 0 || (m - 1) * left.row + (depth - 1) * left.column < left.values.len(),
        "product: the left side is too short"
    );
    assert!(depth == 0 || last_row + n <= right.values.len(), "product: right side too short");
    assert!((m - 1) * target.stride + n <= target.values.len(), "product: target too short");
    Arch::new().dispatch(Product { left, right, m, n, target, accumulate });
}

/// A checked product.
struct Product<'a> {
    left: Left<'a>,
    right: Right<'a>,
    m: usize,
    n: usize,
    target: Target<'a>,
    accumulate: bool,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = S::F32_LANES;
        let mut at = 0;
        while at < self.n {
            // Three vectors a row, or what is left; the rest of a vector is a column of its own.
            at += match (self.n - at) / lanes {
                0 => self.column::<S, 1>(simd, at, self.n - at),
                1 => self.column::<S, 1>(simd, at, lanes),
                2 => self.column::<S, 2>(simd, at, 2 * lanes),
                _ => self.column::<S, 3>(simd, at, 3 * lanes),
            };
        }
    }
}

impl Product<'_> {
    /// `width` columns from `at`, in `V` vectors a row; returns `width`.
    #[inline(always)]
    fn column<S: Simd, const V: usize>(&mut self, simd: S, at: usize, width: usize) -> usize {
        let mut first = 0;
        while first < self.m {
            // With 3 vectors a row, 8 rows of sums fit 32 registers and 4 fit 16.
            first += match self.m - first {
                8.. if S::REGISTER_COUNT >= 32 => self.tile::<S, 8, V>(simd, first, at, width),
                4.. => self.tile::<S, 4, V>(simd, first, at, width),
                2.. => self.tile::<S, 2, V>(simd, first, at, width),
                _ => self.tile::<S, 1, V>(simd, first, at, width),
            };
        }
        width
    }

    /// `M` rows from `first` of `width` columns from `at`; returns `M`.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const V: usize>(
        &mut self,
        simd: S,
        first: usize,
        at: usize,
        width: usize,
    ) -> usize {
        let lanes = S::F32_LANES;
        let whole = width == V * lanes;
        let mut sums = [[simd.splat_f32s(0.0); V]; M];
        let (row, column) = (self.left.row, self.left.column);
        // `product` asserted that every (i, k) of the left side and `n` elements from every row of the
        // right side lie in their slices; here first + M ≤ m and at + width ≤ n.
        let mut left = self.left.values.as_ptr().wrapping_add(first * row);
        let right = self.right.values.as_ptr().wrapping_add(at);
        for &offset in self.right.rows {
            let from = right.wrapping_add(offset);
            let mut vectors = [simd.splat_f32s(0.0); V];
            if whole {
                for (v, vector) in vectors.iter_mut().enumerate() {
                    // SAFETY: V vectors of the row are `width` elements.
                    *vector = unsafe { load::<S>(from.wrapping_add(v * lanes)) };
                }
            } else {
                // SAFETY: `width` elements of the row.
                vectors[0] = unsafe { load_some(simd, from, width) };
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: i < M: an element of the left side.
                let factor = simd.splat_f32s(unsafe { left.wrapping_add(i * row).read() });
                for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                    *sum = simd.mul_add_e_f32s(factor, vector, *sum);
                }
            }
            left = left.wrapping_add(column);
        }
        for (i, sums) in sums.iter().enumerate() {
            let row = &mut self.target.values[(first + i) * self.target.stride + at..][..width];
            for (row, &sum) in row.chunks_mut(lanes).zip(sums) {
                let before = |row: &[f32]| simd.partial_load_f32s(row);
                let sum = if self.accumulate { simd.add_f32s(before(row), sum) } else { sum };
                if row.len() == lanes {
                    // SAFETY: the row has exactly a vector's elements, at any alignment.
                    unsafe { row.as_mut_ptr().cast::<S::f32s>().write_unaligned(sum) };
                } else {
                    simd.partial_store_f32s(row, sum);
                }
            }
        }
        M
    }
}

/// Rows of the same length in each of several blocks: row `i` of block `b` begins at
/// `starts[i] + b · block`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) starts: &'a [usize],
    pub(super) block: usize,
}

impl Rows<'_> {
    fn assert_within(&self, blocks: usize, len: usize) {
        let last = self.starts.iter().copied().max().unwrap_or(0);
        assert!(
            self.starts.is_empty() || last + (blocks - 1) * self.block + len <= self.values.len(),
            "sums of products: a side is too short"
        );
    }
}

/// `sums[i, k] += Σ left_i · right_k` over `len` elements of each of `blocks` blocks; `sums` has a
/// row for each of `left`'s.
///
/// The order of additions depends on the sizes and the width of vectors alone.
pub(super) fn sums_of_products(
    left: Rows<'_>,
    right: Rows<'_>,
    (blocks, len): (usize, usize),
    sums: &mut [f32],
) {
    if blocks == 0 || len == 0 {
        return;
    }
    left.assert_within(blocks, len);
    right.assert_within(blocks, len);
    assert_eq!(sums.len(), left.starts.len() * right.starts.len(), "sums of products: sums");
    Arch::new().dispatch(Sums { left, right, blocks, len, totals: sums });
}

/// Checked sums of products.
struct Sums<'a> {
    left: Rows<'a>,
    right: Rows<'a>,
    blocks: usize,
    len: usize,
    totals: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Rows past the last are the last again, whose sums are dropped. As many sums as registers
        // hold; of a single row (depthwise convolution) all kernel positions at once.
        if self.left.starts.len() == 1 {
            self.all::<S, 1, 9>(simd);
        } else if S::REGISTER_COUNT >= 32 {
            self.all::<S, 4, 6>(simd);
        } else {
            self.all::<S, 3, 3>(simd);
        }
    }
}

impl Sums<'_> {
    #[inline(always)]
    fn all<S: Simd, const R: usize, const C: usize>(&mut self, simd: S) {
        for k in (0..self.right.starts.len()).step_by(C) {
            for i in (0..self.left.starts.len()).step_by(R) {
                self.tile::<S, R, C>(simd, i, k);
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(&mut self, simd: S, i: usize, k: usize) {
        let lanes = S::F32_LANES;
        let (left_count, right_count) = (self.left.starts.len(), self.right.starts.len());
        let mut sums = [[simd.splat_f32s(0.0); C]; R];
        let mut left = [0; R];
        let mut right = [0; C];
        for (r, at) in left.iter_mut().enumerate() {
            *at = self.left.starts[(i + r).min(left_count - 1)];
        }
        for (c, at) in right.iter_mut().enumerate() {
            *at = self.right.starts[(k + c).min(right_count - 1)];
        }
        let (whole, rest) = (self.len / lanes * lanes, self.len % lanes);
        // `sums_of_products` asserted that `len` elements from every row of every block lie in their
        // slices. One innermost loop for whole vectors and for the rest, which is put aside filled up with
        // zeros: with a loop for each, the sums do not stay in their registers.
        let mut left_rest = [simd.splat_f32s(0.0); R];
        let mut right_rest = [simd.splat_f32s(0.0); C];
        let mut left_at = [self.left.values.as_ptr(); R];
        let mut right_at = [self.right.values.as_ptr(); C];
        for step in 0..2 * self.blocks {
            let (block, is_rest) = (step / 2, step % 2 == 1);
            for r in 0..R {
                let row = self.left.values.as_ptr().wrapping_add(left[r] + block * self.left.block);
                left_at[r] = row;
                if is_rest {
                    // SAFETY: the last `rest` of the row's `len` elements.
                    left_rest[r] = unsafe { load_some(simd, row.wrapping_add(whole), rest) };
                    left_at[r] = (&raw const left_rest[r]).cast();
                }
            }
            for c in 0..C {
                let row = right[c] + block * self.right.block;
                let row = self.right.values.as_ptr().wrapping_add(row);
                right_at[c] = row;
                if is_rest {
                    // SAFETY: the last `rest` of the row's `len` elements.
                    right_rest[c] = unsafe { load_some(simd, row.wrapping_add(whole), rest) };
                    right_at[c] = (&raw const right_rest[c]).cast();
                }
            }
            let end = if is_rest { rest.min(1) } else { whole };
            for at in (0..end).step_by(lanes) {
                let mut factors = [simd.splat_f32s(0.0); R];
                for r in 0..R {
                    // SAFETY: at + lanes ≤ whole ≤ len, or the vector put aside.
                    factors[r] = unsafe { load::<S>(left_at[r].wrapping_add(at)) };
                }
                for c in 0..C {
                    // SAFETY: at + lanes ≤ whole ≤ len, or the vector put aside.
                    let vector = unsafe { load::<S>(right_at[c].wrapping_add(at)) };
                    for r in 0..R {
                        sums[r][c] = simd.mul_add_e_f32s(factors[r], vector, sums[r][c]);
                    }
                }
            }
        }
        // All of the tile with a condition: with a count that is not known, it would lie in memory.
        for (r, tile) in sums.iter().enumerate() {
            for (c, &vector) in tile.iter().enumerate() {
                if i + r < left_count && k + c < right_count {
                    self.totals[(i + r) * right_count + k + c] += simd.reduce_sum_f32s(vector);
                }
            }
        }
    }
}

/// A vector at any alignment.
///
/// # Safety
/// A vector's elements must be readable at `from`.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller's promise; every bit pattern is a vector.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// The first `count` elements of a vector, zeros behind them.
///
/// # Safety
/// `count` elements must be readable at `from`.
#[inline(always)]
unsafe fn load_some<S: Simd>(simd: S, from: *const f32, count: usize) -> S::f32s {
    // SAFETY: the caller's promise.
    simd.partial_load_f32s(unsafe { std::slice::from_raw_parts(from, count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small integers: exact in `f32`, so any order of additions gives the same bits.
    fn integers(len: usize, modulus: usize) -> Vec<f32> {
        (0..len).map(|at| (at * 7 % modulus) as f32 - (modulus / 2) as f32).collect()
    }

    #[test]
    fn products_equal_the_definition_in_every_layout_and_size() {
        for (m, n, k) in
            [(1, 1, 1), (8, 48, 3), (7, 17, 5), (20, 33, 0), (13, 5, 9), (3, 95, 4), (17, 64, 12)]
        {
            // Rows of the right side in the reversed order and overlapping by half.
            let step = usize::div_ceil(n, 2);
            let right_rows: Vec<usize> = (0..k).rev().map(|k| k * step).collect();
            let right = integers(k * step + n, 11);
            let left = integers(m * k, 7);
            for (row, column) in [(k, 1), (1, m)] {
                let sum = |i: usize, j: usize| {
                    let term = |k: usize| left[i * row + k * column] * right[right_rows[k] + j];
                    (0..k).map(term).sum::<f32>()
                };
                let stride = n + 2;
                let mut y = vec![9.0; m * stride];
                for (accumulate, times) in [(false, 1.0), (true, 2.0)] {
                    let left = Left { values: &left, row, column };
                    let right = Right { values: &right, rows: &right_rows };
                    let target = Target { values: &mut y, stride };
                    product(left, right, (m, n), target, accumulate);
                    for (i, y) in y.chunks(stride).enumerate() {
                        let wanted: Vec<f32> = (0..n).map(|j| times * sum(i, j)).collect();
                        assert_eq!(y[..n], wanted, "{m}×{k}·{k}×{n}, row {i}");
                        assert_eq!(y[n..], [9.0; 2], "{m}×{k}·{k}×{n}, behind row {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn sums_of_products_equal_the_definition_for_every_number_of_rows() {
        for (left_count, right_count, blocks, len) in [
            (1, 1, 1, 1),
            (1, 9, 3, 196),
            (1, 25, 2, 40),
            (4, 6, 1, 16),
            (5, 13, 2, 71),
            (10, 3, 0, 8),
        ] {
            let left_rows: Vec<usize> = (0..left_count).map(|i| 3 * i).collect();
            let right_rows: Vec<usize> = (0..right_count).map(|i| 5 * i).collect();
            let left = integers(3 * left_count + 7 * blocks + len, 5);
            let right = integers(5 * right_count + 11 * blocks + len, 7);
            let wanted: Vec<f32> = (0..left_count * right_count)
                .map(|at| {
                    let (i, k) = (left_rows[at / right_count], right_rows[at % right_count]);
                    let term = |at: usize| {
                        let (b, p) = (at / len, at % len);
                        left[i + 7 * b + p] * right[k + 11 * b + p]
                    };
                    2.0 + (0..blocks * len).map(term).sum::<f32>()
                })
                .collect();
            let mut sums = vec![2.0; left_count * right_count];
            let left = Rows { values: &left, starts: &left_rows, block: 7 };
            let right = Rows { values: &right, starts: &right_rows, block: 11 };
            sums_of_products(left, right, (blocks, len), &mut sums);
            assert_eq!(sums, wanted, "{left_count} by {right_count} over {blocks} of {len}");
        }
    }

    #[test]
    #[should_panic(expected = "right side too short")]
    fn a_short_side_is_refused_before_it_is_read() {
        let mut y = [0.0; 4];
        let left = Left { values: &[1.0; 2], row: 1, column: 1 };
        let right = Right { values: &[1.0; 5], rows: &[0, 2] };
        product(left, right, (1, 4), Target { values: &mut y, stride: 4 }, false);
    }
}
