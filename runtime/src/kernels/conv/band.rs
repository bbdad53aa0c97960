//! Rows of the input with their padding, a band of output rows at a time: read where they lie, or
//! copied to scratch where the image has no margin for the padding.
//!
//! With padding in memory every output pixel reads the same offsets from its first tap, so that
//! kernels know no borders and no patch is gathered twice (compare Dukhan 2019, indirect GEMM).

use alloc::vec::Vec;
use core::ops::Range;

use super::{ConvShape, PlacedConv};
use crate::kernels::image::Image;

/// How an image is cut into bands, and where things lie in one.
pub(super) struct Bands {
    shape: ConvShape,
    /// Where the input lies.
    x: Image,
    /// Where the first window begins in the input, for bands of the image.
    start: usize,
    /// Output rows of a band.
    rows: usize,
    /// Columns of a band, with padding.
    width: usize,
    /// Copies of each input channel.
    repeat: usize,
    /// Parts of a line: columns by their remainder, side by side; 1 keeps them in order.
    parts: usize,
}

impl Bands {
    /// Copies of at most `budget` elements, if one output row can be had for that.
    pub(super) fn new(conv: &PlacedConv, repeat: usize, budget: usize) -> Self {
        let shape = conv.shape;
        let width = shape.reach(1, shape.out_w);
        let x = conv.x_image();
        let mut bands = Self { shape, x, start: 0, rows: 1, width, repeat, parts: 1 };
        let room = (budget / bands.line()).saturating_sub(shape.reach(0, 1));
        bands.rows = (1 + room / shape.stride[0]).min(shape.out_h);
        bands
    }

    /// Bands read from the image itself, where its margin holds the padding.
    pub(super) fn of_image(conv: &PlacedConv, budget: usize) -> Option<Self> {
        let ([top, left], x) = (conv.shape.padding, conv.x_image());
        x.margin.holds(conv.shape.margin()).then(|| Self {
            start: x.origin() - top * x.line() - left * x.c,
            width: x.w + x.margin.beside,
            ..Self::new(conv, 1, budget)
        })
    }

    /// The same with columns sorted by their remainder modulo the stride, so that the inputs of
    /// neighbouring output pixels are neighbours, tap by tap.
    pub(super) fn with_columns_by_remainder(self) -> Self {
        let parts = self.shape.stride[1];
        Self { parts, width: self.width.next_multiple_of(parts), ..self }
    }

    /// Elements of a band.
    pub(super) fn len(&self) -> usize {
        self.shape.reach(0, self.rows) * self.line()
    }

    /// The first output row of each band of `rows` and how many it has.
    pub(super) fn each(&self, rows: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let (end, most) = (rows.end, self.rows);
        rows.step_by(most).map(move |first| (first, most.min(end - first)))
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

    /// Elements from the input of an output pixel to that of its right neighbour.
    pub(super) fn step(&self) -> usize {
        self.column(self.shape.stride[1])
    }

    /// Where a column lies from the beginning of its line.
    fn column(&self, column: usize) -> usize {
        let part = column % self.parts * (self.width / self.parts);
        (part + column / self.parts) * self.pixel()
    }

    /// Where the windows of the band's output pixels begin, row by row.
    pub(super) fn pixels(&self) -> Vec<usize> {
        let [stride_h, stride_w] = self.shape.stride;
        let place = |row, column| row * stride_h * self.line() + self.column(column * stride_w);
        let columns = self.shape.out_w;
        (0..self.rows).flat_map(|row| (0..columns).map(move |column| place(row, column))).collect()
    }

    /// Where a tap lies from the beginning of its window.
    pub(super) fn tap(&self, ky: usize, kx: usize) -> usize {
        let [dilation_h, dilation_w] = self.shape.dilation;
        ky * dilation_h * self.line() + self.column(kx * dilation_w)
    }

    /// The part of the image from a band's first input row on, for bands of the image.
    pub(super) fn view<'x, X>(&self, first: usize, x: &'x [X]) -> &'x [X] {
        &x[self.start + first * self.shape.stride[0] * self.line()..]
    }

    /// Copies what `count` output rows from `first` on read; `zero` is the padding.
    pub(super) fn fill<X: Copy>(
        &self,
        (first, count): (usize, usize),
        zero: X,
        x: &[X],
        band: &mut [X],
    ) {
        let ConvShape { in_h, in_w, in_c, stride, padding, .. } = self.shape;
        let left = padding[1].min(self.width);
        let columns = in_w.min(self.width - left);
        let (start, end) = (left * self.pixel(), (left + columns) * self.pixel());
        let lines = self.shape.reach(0, count);
        // Padding at the end of a line and at the beginning of the next lie together.
        let mut padded = 0;
        for i in 0..lines {
            let line = i * self.line();
            let row = (first * stride[0] + i).checked_sub(padding[0]).filter(|&row| row < in_h);
            let Some(row) = row else { continue };
            let x = &x[self.x.origin() + row * self.x.line()..][..columns * in_c];
            if self.parts > 1 {
                band[padded..line].fill(zero);
                let line = &mut band[line..][..self.line()];
                for column in (0..left).chain(left + columns..self.width) {
                    line[self.column(column)..][..self.pixel()].fill(zero);
                }
                self.sort_columns(left, x, line);
                padded = (i + 1) * self.line();
            } else {
                band[padded..line + start].fill(zero);
                repeat_each(self.repeat, x, &mut band[line + start..line + end]);
                padded = line + end;
            }
        }
        band[padded..lines * self.line()].fill(zero);
    }

    /// Copies columns to their parts; the image begins at column `left`.
    fn sort_columns<X: Copy>(&self, left: usize, x: &[X], line: &mut [X]) {
        let (in_c, parts) = (self.shape.in_c, self.parts);
        for first in 0..parts.min(x.len() / in_c) {
            let to = &mut line[self.column(left + first)..];
            let from = &x[first * in_c..];
            match (parts, in_c, self.repeat) {
                (2, 8, 1) => copy_every_other::<_, 8>(from, to),
                (2, 16, 1) => copy_every_other::<_, 16>(from, to),
                (2, 32, 1) => copy_every_other::<_, 32>(from, to),
                (_, _, repeat) => {
                    let columns = from.chunks(in_c * parts);
                    for (x, to) in columns.zip(to.chunks_exact_mut(in_c * repeat)) {
                        repeat_each(repeat, &x[..in_c], to);
                    }
                }
            }
        }
    }
}

/// The first, the third, … pixel of `N` elements.
fn copy_every_other<X: Copy, const N: usize>(x: &[X], to: &mut [X]) {
    let ((pairs, last), (to, _)) = (x.as_chunks::<N>().0.as_chunks(), to.as_chunks_mut());
    for (to, [x, _]) in to.iter_mut().zip(pairs) {
        *to = *x;
    }
    if let ([x], Some(to)) = (last, to.get_mut(pairs.len())) {
        *to = *x;
    }
}

/// Each element `repeat` times.
fn repeat_each<X: Copy>(repeat: usize, x: &[X], to: &mut [X]) {
    if repeat == 1 {
        return to.copy_from_slice(x);
    }
    for (to, &from) in to.chunks_exact_mut(repeat).zip(x) {
        to.fill(from);
    }
}
