//! 3×3 convolutions of stride 1 with fewer products: Winograd's minimal filtering
//! (Lavin and Gray 2016).
//!
//! Windows of the input are transformed, multiplied position by position (a matrix product each),
//! and transformed back; weights are transformed when packed, in f64. Rounding differs from that
//! of the plain sum (`docs/performance.md` has the measured error).

mod rule;
#[cfg(test)]
mod tests;
mod transform;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::array::from_fn;
use core::marker::PhantomData;
use core::ops::Range;

pub(super) use rule::{Size, choose};
use transform::{Four, LANES, Lanes, Transform, Two};

use super::PlacedConv;
use crate::kernels::aligned::Aligned;
use crate::kernels::gemm::float::{self, BiasClamp, Float, clamp};
use crate::kernels::gemm::{Depth, Gemm, Left};
use crate::kernels::image::Image;
use crate::kernels::isa::{Body, Isa};

/// Bytes of transformed inputs and products at a time, about half a second-level cache.
const BLOCK_BYTES: usize = 512 * 1024;
/// Fewest tiles at a time, so that weights are not read too often.
const FEWEST: usize = 20;

/// A convolution of one type of value alone, as [`Strategy`](super::Strategy) holds it.
pub(super) trait Convolve<V>: Send + Sync {
    /// Bytes of scratch.
    fn scratch_len(&self) -> usize;
    /// Elements of the input that have to be readable.
    fn x_len(&self) -> usize;
    /// Output rows that are computed together.
    fn row_unit(&self) -> usize;
    /// Computes output rows from a multiple of the unit on; `y` begins at their first pixel, and
    /// buffers are as long as they have to be.
    fn run(&self, rows: Range<usize>, x: &[V], y: &mut [V], scratch: &mut [u8]);
}

/// Packs `weight` `[out_c, 3, 3, in_c]` for tiles of `size`.
pub(super) fn new(
    size: Size,
    isa: Isa,
    conv: &PlacedConv,
    weight: &[f32],
    bias: &[f32],
    range: (f32, f32),
) -> Box<dyn Convolve<f32>> {
    match size {
        Size::Two => Box::new(Winograd::<Two, 4, 2>::new(isa, conv, weight, bias, range)),
        Size::Four => Box::new(Winograd::<Four, 6, 4>::new(isa, conv, weight, bias, range)),
    }
}

/// A convolution by tiles of `OUT` × `OUT` outputs from `IN` × `IN` inputs.
struct Winograd<T, const IN: usize, const OUT: usize> {
    isa: Isa,
    conv: PlacedConv,
    gemm: Gemm<Float>,
    /// One a padded channel.
    bias: Aligned<f32>,
    range: (f32, f32),
    /// Most tiles at a time.
    block: usize,
    /// Where each tile's channels begin in transformed inputs, and in products.
    pixels: Vec<usize>,
    places: Vec<usize>,
    /// Every channel of the input: the depth of the products.
    groups: Vec<usize>,
    transform: PhantomData<fn() -> T>,
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> Winograd<T, IN, OUT> {
    const POSITIONS: usize = IN * IN;

    fn new(isa: Isa, conv: &PlacedConv, weight: &[f32], bias: &[f32], range: (f32, f32)) -> Self {
        let (in_c, out_c) = (conv.shape.in_c, conv.shape.out_c);
        let tile = float::tile(isa);
        let unbounded = (f32::NEG_INFINITY, f32::INFINITY);
        let zeros = vec![0.0; Self::POSITIONS * out_c];
        let mut padded_bias = Aligned::zeroed(padded(out_c));
        padded_bias.as_mut_slice()[..out_c].copy_from_slice(bias);
        let epilogue = BiasClamp::new(&zeros, unbounded, out_c, tile.lanes);
        let depth = Depth { segments: 1, segment: in_c };
        let weight = transform_weights::<T, IN, OUT>(in_c, out_c, weight);
        let tile_bytes = Self::POSITIONS * (padded(in_c) + padded(out_c)) * size_of::<f32>();
        let [rows, columns] = Self::tiles(conv);
        let most = (BLOCK_BYTES / tile_bytes).max(FEWEST);
        let blocks = (rows * columns).div_ceil(most);
        let block = (rows * columns).div_ceil(blocks);
        Self {
            isa,
            conv: *conv,
            gemm: Gemm::new(tile, out_c, depth, &weight, epilogue),
            bias: padded_bias,
            range,
            block,
            pixels: (0..block).map(|tile| tile * padded(in_c)).collect(),
            places: (0..block).map(|tile| tile * padded(out_c)).collect(),
            groups: (0..in_c).collect(),
            transform: PhantomData,
        }
    }

    /// Rows and columns of tiles.
    fn tiles(conv: &PlacedConv) -> [usize; 2] {
        [conv.shape.out_h, conv.shape.out_w].map(|size| size.div_ceil(OUT))
    }

    /// Elements from one position to the next: a cache line more than there are values, because
    /// all positions of a tile at a distance of 4 KiB would share a few places of the cache.
    fn strides(&self) -> [usize; 2] {
        [self.conv.shape.in_c, self.conv.shape.out_c]
            .map(|channels| self.block * padded(channels) + LANES)
    }
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> Convolve<f32>
    for Winograd<T, IN, OUT>
{
    fn scratch_len(&self) -> usize {
        let [inputs, products] = self.strides();
        let window = padded(self.conv.shape.in_c);
        Self::POSITIONS * (inputs + products + window) * size_of::<f32>()
    }

    fn x_len(&self) -> usize {
        self.conv.x_image().len()
    }

    fn row_unit(&self) -> usize {
        OUT
    }

    fn run(&self, rows: Range<usize>, x: &[f32], y: &mut [f32], scratch: &mut [u8]) {
        let [_, columns] = Self::tiles(&self.conv);
        let (begin, end) = (rows.start / OUT * columns, rows.end.div_ceil(OUT) * columns);
        let [stride, stride_y] = self.strides();
        let (inputs, rest) = super::elements(scratch).split_at_mut(Self::POSITIONS * stride);
        let (products, window) = rest.split_at_mut(Self::POSITIONS * stride_y);
        for first in (begin..end).step_by(self.block) {
            let count = self.block.min(end - first);
            let tiles = Tiles { first, count, columns };
            self.isa.vectorized(Inputs { conv: self, tiles, x, window, to: inputs, stride });
            for position in 0..Self::POSITIONS {
                let left = Left {
                    values: &inputs[position * stride..][..stride],
                    pixels: &self.pixels[..count],
                    segments: &[0],
                    groups: &self.groups,
                };
                let to = &mut products[position * stride_y..][..stride_y];
                self.gemm.run(position, left, (to, &self.places[..count]));
            }
            let first_row = rows.start;
            self.isa.vectorized(Outputs {
                conv: self,
                tiles,
                products,
                stride: stride_y,
                first_row,
                y,
            });
        }
    }
}

/// Tiles that are computed together, row by row.
#[derive(Clone, Copy)]
struct Tiles {
    first: usize,
    count: usize,
    /// Tiles in a row.
    columns: usize,
}

impl Tiles {
    /// Each tile's row and column.
    #[inline(always)]
    fn each(self) -> impl Iterator<Item = [usize; 2]> {
        (self.first..self.first + self.count).map(move |i| [i / self.columns, i % self.columns])
    }
}

/// Transforms the inputs of tiles.
struct Inputs<'a, T, const IN: usize, const OUT: usize> {
    conv: &'a Winograd<T, IN, OUT>,
    tiles: Tiles,
    x: &'a [f32],
    /// A window that is copied: `[IN, IN, padded in_c]`.
    window: &'a mut [f32],
    /// `[positions, tiles, padded in_c]`, positions `stride` apart.
    to: &'a mut [f32],
    stride: usize,
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> Body for Inputs<'_, T, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { conv, tiles, x, window, to, stride } = self;
        let (image, [top, left]) = (conv.conv.x_image(), conv.conv.shape.padding);
        let channels = padded(image.c);
        for (tile, [row, column]) in tiles.each().enumerate() {
            let (row, column) = (row * OUT, column * OUT);
            let inside = row >= top
                && column >= left
                && row - top + IN <= image.h
                && column - left + IN <= image.w;
            let (from, line) = if inside && channels == image.c {
                let start = (row - top) * image.line() + (column - left) * image.c;
                (&x[image.origin() + start..], image.line())
            } else {
                copy_window::<IN>(&image, [row, column], [top, left], x, window);
                (&*window, IN * channels)
            };
            for channel in (0..channels).step_by(LANES) {
                let mut half = [[[0.0; LANES]; IN]; IN];
                for j in 0..IN {
                    let values = T::input(load(from, j * channels + channel, line));
                    set_column(&mut half, j, values);
                }
                let to = &mut to[tile * channels + channel..];
                for i in 0..IN {
                    let values = T::input(half[i]);
                    for j in 0..IN {
                        store(values[j], &mut to[(i * IN + j) * stride..]);
                    }
                }
            }
        }
    }
}

/// Copies the inputs from `at - padding` on, zeros where they lie outside the image.
#[inline(never)]
fn copy_window<const IN: usize>(
    image: &Image,
    at: [usize; 2],
    padding: [usize; 2],
    x: &[f32],
    window: &mut [f32],
) {
    window.fill(0.0);
    let pixels = window.chunks_exact_mut(window.len() / (IN * IN));
    for (i, pixel) in pixels.enumerate() {
        let row = (at[0] + i / IN).checked_sub(padding[0]).filter(|&row| row < image.h);
        let column = (at[1] + i % IN).checked_sub(padding[1]).filter(|&column| column < image.w);
        if let (Some(row), Some(column)) = (row, column) {
            let start = image.origin() + row * image.line() + column * image.c;
            pixel[..image.c].copy_from_slice(&x[start..][..image.c]);
        }
    }
}

/// Transforms the products of tiles to outputs.
struct Outputs<'a, T, const IN: usize, const OUT: usize> {
    conv: &'a Winograd<T, IN, OUT>,
    tiles: Tiles,
    /// `[positions, tiles, padded out_c]`, positions `stride` apart.
    products: &'a [f32],
    stride: usize,
    /// The output row with whose first pixel `y` begins.
    first_row: usize,
    y: &'a mut [f32],
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> Body for Outputs<'_, T, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { conv, tiles, products, stride, first_row, y } = self;
        let (image, out_c) = (conv.conv.y_image(), conv.conv.shape.out_c);
        let (channels, first) = (padded(out_c), conv.conv.channels.0);
        let (bias, _) = conv.bias.as_chunks::<LANES>();
        for (tile, [row, column]) in tiles.each().enumerate() {
            let rows = OUT.min(image.h - row * OUT);
            let columns = OUT.min(image.w - column * OUT);
            let line = row * OUT - first_row;
            let y = &mut y[first + line * image.line() + column * OUT * image.c..];
            for (bias, channel) in bias.iter().zip((0..channels).step_by(LANES)) {
                let from = &products[tile * channels + channel..];
                let count = LANES.min(out_c - channel);
                let mut half = [[[0.0; LANES]; IN]; OUT];
                for j in 0..IN {
                    let values = T::output(load(from, j * stride, IN * stride));
                    set_column(&mut half, j, values);
                }
                for i in 0..rows {
                    let values = T::output(half[i]);
                    let y = &mut y[i * image.line() + channel..];
                    for j in 0..columns {
                        let mut values = values[j];
                        for (value, bias) in values.iter_mut().zip(bias) {
                            *value = clamp(*value + bias, conv.range);
                        }
                        let y = &mut y[j * image.c..];
                        if count == LANES {
                            store(values, y);
                        } else {
                            y[..count].copy_from_slice(&values[..count]);
                        }
                    }
                }
            }
        }
    }
}

/// Channels with what fills their last vector.
#[inline(always)]
fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// `N` vectors, `distance` apart.
#[inline(always)]
fn load<const N: usize>(x: &[f32], first: usize, distance: usize) -> [Lanes; N] {
    let mut values = [[0.0; LANES]; N];
    for i in 0..N {
        values[i].copy_from_slice(&x[first + i * distance..][..LANES]);
    }
    values
}

/// Puts a value in each row.
#[inline(always)]
fn set_column<const ROWS: usize, const COLUMNS: usize>(
    rows: &mut [[Lanes; COLUMNS]; ROWS],
    column: usize,
    values: [Lanes; ROWS],
) {
    for (row, value) in rows.iter_mut().zip(values) {
        row[column] = value;
    }
}

/// Stores a vector at the beginning of `y`.
#[inline(always)]
fn store(values: Lanes, y: &mut [f32]) {
    y[..LANES].copy_from_slice(&values);
}

/// `[out_c, 3, 3, in_c]` to `[positions, out_c, in_c]`.
fn transform_weights<T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    in_c: usize,
    out_c: usize,
    weight: &[f32],
) -> Aligned<f32> {
    let mut all = Aligned::zeroed(IN * IN * out_c * in_c);
    let values = all.as_mut_slice();
    for (o, kernel) in weight.chunks_exact(9 * in_c).enumerate() {
        for channel in 0..in_c {
            let tap = |ky: usize, kx: usize| f64::from(kernel[(3 * ky + kx) * in_c + channel]);
            let half: [[f64; 3]; IN] =
                T::WEIGHT.map(|g| from_fn(|kx| (0..3).map(|ky| g[ky] * tap(ky, kx)).sum()));
            for (i, half) in half.iter().enumerate() {
                for (j, g) in T::WEIGHT.iter().enumerate() {
                    let sum: f64 = half.iter().zip(g).map(|(half, g)| half * g).sum();
                    values[((i * IN + j) * out_c + o) * in_c + channel] = sum as f32;
                }
            }
        }
    }
    all
}
