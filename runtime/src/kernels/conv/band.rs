//! Rows of the input, copied to scratch with their padding, a band of output rows at a time.
//!
//! With padding in memory every output pixel reads the same offsets from its first tap, so that
//! kernels know no borders and no patch is gathered twice (compare Dukhan 2019, indirect GEMM).

use alloc::vec::Vec;

use super::ConvShape;

/// How an image is cut into bands, and where things lie in one.
pub(super) struct Bands {
    shape: ConvShape,
    /// Output rows of a band.
    rows: usize,
    /// Columns of a band, with padding.
    width: usize,
    /// Copies of each input channel.
    repeat: usize,
}

impl Bands {
    /// Bands of at most `budget` elements, if one output row can be had for that.
    pub(super) fn new(shape: ConvShape, repeat: usize, budget: usize) -> Self {
        let width = reach(&shape, 1, shape.out_w);
        let mut bands = Self { shape, rows: 1, width, repeat };
        let room = (budget / bands.line()).saturating_sub(reach(&shape, 0, 1));
        bands.rows = (1 + room / shape.stride[0]).min(shape.out_h);
        bands
    }

    /// Bands read from the image itself, where no output pixel reads padding.
    pub(super) fn of_image(shape: ConvShape, budget: usize) -> Option<Self> {
        let inside = shape.padding == [0, 0]
            && reach(&shape, 0, shape.out_h) <= shape.in_h
            && reach(&shape, 1, shape.out_w) <= shape.in_w;
        inside.then(|| Self { width: shape.in_w, ..Self::new(shape, 1, budget) })
    }

    /// Elements of a band.
    pub(super) fn len(&self) -> usize {
        reach(&self.shape, 0, self.rows) * self.line()
    }

    /// The first output row of each band and how many it has.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        let (rows, all) = (self.rows, self.shape.out_h);
        (0..all).step_by(rows).map(move |first| (first, rows.min(all - first)))
    }

    /// Output rows of a whole band.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Elements from one image row to the next.
    pub(super) fn line(&self) -> usize {
        self.width * self.pixel()
    }

    /// Elements from one pixel to the next.
    fn pixel(&self) -> usize {
        self.shape.in_c * self.repeat
    }

    /// Where the windows of the band's output pixels begin, row by row.
    pub(super) fn pixels(&self) -> Vec<usize> {
        let [stride_h, stride_w] = self.shape.stride;
        let place = |row, column| row * stride_h * self.line() + column * stride_w * self.pixel();
        let columns = self.shape.out_w;
        (0..self.rows).flat_map(|row| (0..columns).map(move |column| place(row, column))).collect()
    }

    /// Where a tap lies from the beginning of its window.
    pub(super) fn tap(&self, ky: usize, kx: usize) -> usize {
        let [dilation_h, dilation_w] = self.shape.dilation;
        ky * dilation_h * self.line() + kx * dilation_w * self.pixel()
    }

    /// The part of the image from a band's first input row on, for bands of the image.
    pub(super) fn view<'x, X>(&self, first: usize, x: &'x [X]) -> &'x [X] {
        &x[first * self.shape.stride[0] * self.line()..]
    }

    /// Copies what `count` output rows from `first` on read; `zero` is the padding.
    #[inline(always)]
    pub(super) fn fill<X: Copy, L: Copy + From<X>>(
        &self,
        (first, count): (usize, usize),
        zero: X,
        x: &[X],
        band: &mut [L],
    ) {
        let ConvShape { in_h, in_w, in_c, stride, padding, .. } = self.shape;
        let left = padding[1].min(self.width);
        let columns = in_w.min(self.width - left);
        let (start, end) = (left * self.pixel(), (left + columns) * self.pixel());
        let lines = band.chunks_exact_mut(self.line()).take(reach(&self.shape, 0, count));
        for (i, line) in lines.enumerate() {
            let row = (first * stride[0] + i).checked_sub(padding[0]).filter(|&row| row < in_h);
            let Some(row) = row else {
                line.fill(zero.into());
                continue;
            };
            let x = &x[row * in_w * in_c..][..columns * in_c];
            line[..start].fill(zero.into());
            line[end..].fill(zero.into());
            if self.repeat == 1 {
                for (to, &from) in line[start..end].iter_mut().zip(x) {
                    *to = from.into();
                }
            } else {
                for (to, &from) in line[start..end].chunks_exact_mut(self.repeat).zip(x) {
                    to.fill(from.into());
                }
            }
        }
    }
}

/// Input rows (`axis` 0) or columns (1) under the windows of `count` neighbours.
fn reach(shape: &ConvShape, axis: usize, count: usize) -> usize {
    (count - 1) * shape.stride[axis] + (shape.kernel[axis] - 1) * shape.dilation[axis] + 1
}
