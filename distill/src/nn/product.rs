//! Products of matrices too small for a general one: blocks of sums that stay in registers.

/// Columns of a block; rows of the right side are whole blocks.
pub(super) const LANES: usize = 16;
/// Rows of a block: with two vectors of eight a row, sums fill the registers of AVX2.
pub(super) const ROWS: usize = 6;

/// The left side of a product.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// Row `i` begins at `i · stride`.
    Rows { values: &'a [f32], stride: usize },
    /// Column `k` begins at `k · stride`; [`ROWS`] elements after the last one are readable.
    Columns { values: &'a [f32], stride: usize },
}

/// `rows × width` values in a larger matrix whose rows are `stride` apart.
pub(super) struct Target<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) width: usize,
}

/// `y = a · b` for `a` of `m × k` and `b` of `k` rows of `n`, a multiple of [`LANES`], of which as
/// many columns count as `y` has.
///
/// Each sum is taken in the order of `k`. To be called in loops compiled for wide vectors
/// ([`vectorized`](super::simd::vectorized)).
#[inline(always)]
pub(super) fn product(a: Left<'_>, (m, k): (usize, usize), b: &[f32], n: usize, y: Target<'_>) {
    let Target { values: out, stride: out_stride, width } = y;
    for first in (0..m).step_by(ROWS) {
        let rows = ROWS.min(m - first);
        for column in (0..width).step_by(LANES) {
            let b = b.chunks_exact(n).map(|row| &row[column..][..LANES]);
            let mut acc = [[0.0_f32; LANES]; ROWS];
            match a {
                Left::Rows { values, stride } => {
                    // Rows past the last are the last again.
                    let row = |i: usize| &values[(first + i).min(m - 1) * stride..][..k];
                    let a: [&[f32]; ROWS] = std::array::from_fn(row);
                    for (k, b) in b.take(k).enumerate() {
                        add(&mut acc, std::array::from_fn(|i| a[i][k]), b);
                    }
                }
                Left::Columns { values, stride } => {
                    for (k, b) in b.take(k).enumerate() {
                        let a = &values[k * stride + first..][..ROWS];
                        add(&mut acc, std::array::from_fn(|i| a[i]), b);
                    }
                }
            }
            let width = LANES.min(width - column);
            for (i, acc) in acc.iter().enumerate().take(rows) {
                let row = &mut out[(first + i) * out_stride + column..][..width];
                row.copy_from_slice(&acc[..width]);
            }
        }
    }
}

/// `acc += a · b` for a column and a row.
#[inline(always)]
fn add(acc: &mut [[f32; LANES]; ROWS], a: [f32; ROWS], b: &[f32]) {
    for (acc, a) in acc.iter_mut().zip(a) {
        *acc = std::array::from_fn(|lane| acc[lane] + a * b[lane]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::vectorized;
    use super::*;

    #[test]
    fn products_equal_the_definition_for_both_orders_of_the_left_side() {
        for (m, width, k) in [(1, 1_usize, 1), (6, 16, 3), (7, 17, 5), (20, 33, 0), (13, 5, 9)] {
            let n = width.next_multiple_of(LANES);
            let element = |i: usize, k: usize| ((3 * i + 5 * k) % 7) as f32 - 3.0;
            let rows: Vec<f32> = (0..m * k).map(|at| element(at / k, at % k)).collect();
            let mut columns: Vec<f32> = (0..m * k).map(|at| element(at % m, at / m)).collect();
            columns.extend([f32::NAN; ROWS]);
            let b: Vec<f32> = (0..k * n).map(|at| (at % 5) as f32 - 2.0).collect();
            let wanted =
                |i: usize, j: usize| (0..k).map(|k| element(i, k) * b[k * n + j]).sum::<f32>();
            for a in [
                Left::Rows { values: &rows, stride: k },
                Left::Columns { values: &columns, stride: m },
            ] {
                let mut y = vec![9.0; m * (width + 2)];
                let stride = width + 2;
                vectorized(|| {
                    product(a, (m, k), &b, n, Target { values: &mut y, stride, width });
                });
                for (i, row) in y.chunks(stride).enumerate() {
                    let wanted: Vec<f32> = (0..width).map(|j| wanted(i, j)).collect();
                    assert_eq!(row[..width], wanted, "{m}×{k}·{k}×{width}, row {i}");
                    assert_eq!(row[width..], [9.0; 2], "{m}×{k}·{k}×{width}, behind row {i}");
                }
            }
        }
    }
}
