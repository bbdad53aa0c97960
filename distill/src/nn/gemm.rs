//! Matrix product over slices: the one checked door to the `gemm` crate.
#![expect(unsafe_code, reason = "the gemm crate takes raw pointers; the bounds are checked here")]

/// A matrix in a slice: row-major, or its transpose.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `data` holds `rows × cols` values, row by row.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix: slice and rows × cols differ");
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose, without moving data.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a·b`, or `out += a·b` when `accumulate`; `out` is row-major.
///
/// On the calling thread only, so the result does not depend on the number of threads.
pub(super) fn gemm(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
    assert_eq!(a.cols, b.rows, "gemm: inner sizes differ");
    assert_eq!(out.len(), a.rows * b.cols, "gemm: output and rows × cols differ");
    let beta = if accumulate { 1.0 } else { 0.0 };
    // SAFETY: every `Matrix` is made by `new`, which asserts that its slice holds rows × cols
    // values at strides (cols, 1), and `t` only swaps the pairs; `out` has m × n values by the
    // assertion above and, being borrowed mutably, overlaps neither operand.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            b.cols as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_the_definition_for_every_transposition_and_empty_sizes() {
        for (m, n, k) in [(3, 5, 7), (1, 4, 2), (16, 17, 33), (2, 3, 0), (0, 3, 2)] {
            // Small integers: exact in f32, so any order of additions gives the same bits.
            let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32 - 2.0).collect();
            let transpose = |v: &[f32], r: usize, c: usize| -> Vec<f32> {
                (0..r * c).map(|i| v[(i % r) * c + i / r]).collect()
            };
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            let expected: Vec<f32> = (0..m * n)
                .map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum())
                .collect();
            for (a, b) in [
                (Matrix::new(&a, m, k), Matrix::new(&b, k, n)),
                (Matrix::new(&at, k, m).t(), Matrix::new(&b, k, n)),
                (Matrix::new(&a, m, k), Matrix::new(&bt, n, k).t()),
            ] {
                let mut out = vec![9.0; m * n];
                gemm(&mut out, a, b, false);
                assert_eq!(out, expected, "{m}×{k}·{k}×{n}");
                gemm(&mut out, a, b, true);
                let doubled: Vec<f32> = expected.iter().map(|v| v * 2.0).collect();
                assert_eq!(out, doubled, "{m}×{k}·{k}×{n} accumulated");
            }
        }
    }
}
