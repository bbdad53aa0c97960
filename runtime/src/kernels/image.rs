//! Images with their padding beside them in memory, so that nothing copies an image to pad it.

use alloc::vec::Vec;
use core::ops::Range;

/// Elements that are filled at a time.
const BLOCK: usize = 16;

/// Rows above and below an image and columns beside it that hold its padding.
///
/// Columns to the right of a row are those to the left of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Margin {
    /// Rows above.
    pub above: usize,
    /// Rows below.
    pub below: usize,
    /// Columns before each row, and behind the last one.
    pub beside: usize,
}

impl Margin {
    /// The smallest that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            above: self.above.max(other.above),
            below: self.below.max(other.below),
            beside: self.beside.max(other.beside),
        }
    }

    /// Whether it holds all of `other`.
    pub fn holds(self, other: Self) -> bool {
        self.union(other) == self
    }
}

/// An image `[h, w, c]` with its margin: `beside` columns, then rows of `w + beside` columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// What lies around.
    pub margin: Margin,
}

impl Image {
    /// An image without a margin.
    pub const fn dense([h, w, c]: [usize; 3]) -> Self {
        Self { h, w, c, margin: Margin { above: 0, below: 0, beside: 0 } }
    }

    /// Whether nothing lies between the rows.
    pub fn is_dense(&self) -> bool {
        self.margin == Margin::default()
    }

    /// Elements with the margin.
    pub const fn len(&self) -> usize {
        let Margin { above, below, beside } = self.margin;
        beside * self.c + (above + self.h + below) * self.line()
    }

    /// Whether there is no element.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of a row of the image.
    pub const fn row(&self) -> usize {
        self.w * self.c
    }

    /// Elements from one row to the next.
    pub const fn line(&self) -> usize {
        (self.w + self.margin.beside) * self.c
    }

    /// Where the image's first pixel lies.
    pub const fn origin(&self) -> usize {
        self.margin.beside * self.c + self.margin.above * self.line()
    }

    /// Where the image's last pixel ends.
    pub const fn end(&self) -> usize {
        self.origin() + self.h * self.line() - self.margin.beside * self.c
    }

    /// Fills the margin of `x` with `zero`, what 0.0 is there.
    ///
    /// Panics when `x` is too short.
    pub fn fill_margin<T: Copy>(&self, zero: T, x: &mut [T]) {
        if self.is_dense() {
            return;
        }
        // Hidden, or the compiler calls `memset` for each row, which costs more than the stores.
        let block = core::hint::black_box([zero; BLOCK]);
        let beside = self.margin.beside * self.c;
        fill(&block, &mut x[..self.origin()]);
        let between = &mut x[self.origin() + self.row()..self.end()];
        for gap in between.chunks_mut(self.line()) {
            fill(&block, &mut gap[..beside]);
        }
        fill(&block, &mut x[self.end()..self.len()]);
    }

    /// Copies a dense image to its place in `to`; the margin stays.
    ///
    /// Panics when a length does not fit.
    pub fn place<T: Copy>(&self, x: &[T], to: &mut [T]) {
        assert_eq!(x.len(), self.h * self.row(), "image: length of {self:?}");
        if self.row() == 0 {
            return;
        }
        let rows = to[self.origin()..self.end()].chunks_mut(self.line());
        for (x, to) in x.chunks_exact(self.row()).zip(rows) {
            to[..x.len()].copy_from_slice(x);
        }
    }

    /// A copy of some of the channels, without the margin.
    pub fn dense_copy<T: Copy>(&self, channels: Range<usize>, x: &[T]) -> Vec<T> {
        let mut dense = Vec::with_capacity(self.h * self.w * channels.len());
        for row in self.rows(x) {
            if channels.len() == self.c {
                dense.extend_from_slice(row);
                continue;
            }
            for pixel in row.chunks_exact(self.c) {
                dense.extend_from_slice(&pixel[channels.clone()]);
            }
        }
        dense
    }

    /// The rows of the image, without the margin.
    pub fn rows<'x, T>(&self, x: &'x [T]) -> impl Iterator<Item = &'x [T]> {
        let row = self.row();
        x[self.origin()..self.end()].chunks(self.line().max(1)).map(move |line| &line[..row])
    }
}

/// Fills a few elements.
#[inline(always)]
fn fill<T: Copy>(block: &[T; BLOCK], x: &mut [T]) {
    let (blocks, rest) = x.as_chunks_mut();
    blocks.fill(*block);
    for (x, &value) in rest.iter_mut().zip(block) {
        *x = value;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn rows_lie_between_margins_that_neighbours_share() {
        let margin = Margin { above: 1, below: 0, beside: 1 };
        let image = Image { h: 2, w: 2, c: 1, margin };
        let mut x = vec![9; image.len()];
        image.place(&[1, 2, 3, 4], &mut x);
        assert_eq!(x, [9, 9, 9, 9, 1, 2, 9, 3, 4, 9]);
        image.fill_margin(0, &mut x);
        assert_eq!(x, [0, 0, 0, 0, 1, 2, 0, 3, 4, 0]);
        let rows: Vec<&[i32]> = image.rows(&x).collect();
        assert_eq!(rows, [&[1, 2], &[3, 4]]);
    }

    #[test]
    fn wide_margins_are_filled_whole_and_nothing_else_is() {
        for c in [1, 3, 16, 17, 40] {
            for beside in 0..3 {
                let margin = Margin { above: beside, below: 2, beside };
                let image = Image { h: 3, w: 2, c, margin };
                let mut x = vec![9_u8; image.len() + 5];
                image.place(&vec![7; 6 * c], &mut x);
                image.fill_margin(0, &mut x);
                assert_eq!(x[image.len()..], [9; 5]);
                x.truncate(image.len());
                let sum: usize = x.iter().map(|&x| usize::from(x)).sum();
                assert_eq!(sum, 6 * c * 7);
            }
        }
    }
}
