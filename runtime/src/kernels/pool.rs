//! Max and average pooling, int8 and f32: NHWC, one image.

use alloc::vec::Vec;

use super::Isa;
use crate::quant::{Output, QuantParams, requantize};

/// Sizes of a pooling of one image `[in_h, in_w, channels]` to `[out_h, out_w, channels]`.
///
/// Padding at bottom and right follows from the output size. Windows overlap the image: padding
/// is less than the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Rows of the input.
    pub in_h: usize,
    /// Columns of the input.
    pub in_w: usize,
    /// Channels of input and output.
    pub channels: usize,
    /// Rows of the output.
    pub out_h: usize,
    /// Columns of the output.
    pub out_w: usize,
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Step in rows and columns.
    pub stride: [usize; 2],
    /// Rows of padding at the top, columns at the left.
    pub padding: [usize; 2],
}

impl PoolShape {
    /// One window over the whole image.
    pub const fn global(in_h: usize, in_w: usize, channels: usize) -> Self {
        Self {
            in_h,
            in_w,
            channels,
            out_h: 1,
            out_w: 1,
            kernel: [in_h, in_w],
            stride: [1, 1],
            padding: [0, 0],
        }
    }

    fn assert_lengths(&self, x: usize, y: usize) {
        assert_eq!(x, self.in_h * self.in_w * self.channels, "pool: input length, {self:?}");
        assert_eq!(y, self.out_h * self.out_w * self.channels, "pool: output length, {self:?}");
    }

    /// Folds each window, channel by channel in row order; `finish` is told how many pixels.
    #[inline(always)]
    fn fold<T: Copy, A: Copy>(
        &self,
        x: &[T],
        y: &mut [T],
        start: A,
        fold: impl Fn(A, T) -> A,
        finish: impl Fn(A, usize) -> T,
    ) {
        let channels = self.channels;
        for (pixel, y) in y.chunks_exact_mut(channels).enumerate() {
            let rows = self.clip(0, pixel / self.out_w);
            let columns = self.clip(1, pixel % self.out_w);
            let window = Window { x, width: self.in_w, channels, rows, columns };
            let mut channel = 0;
            while channel < channels {
                let y = &mut y[channel..];
                channel += match channels - channel {
                    64.. => window.block::<64, A>(channel, y, start, &fold, &finish),
                    16.. => window.block::<16, A>(channel, y, start, &fold, &finish),
                    4.. => window.block::<4, A>(channel, y, start, &fold, &finish),
                    _ => window.block::<1, A>(channel, y, start, &fold, &finish),
                };
            }
        }
    }

    /// The part of a window's rows (`axis` 0) or columns (1) that lies in the image.
    #[inline(always)]
    fn clip(&self, axis: usize, at: usize) -> (usize, usize) {
        let size = [self.in_h, self.in_w][axis];
        let first = at * self.stride[axis];
        let end = (first + self.kernel[axis]).saturating_sub(self.padding[axis]);
        (first.saturating_sub(self.padding[axis]), end.min(size))
    }
}

/// The pixels of an image under one window; ranges are half open.
struct Window<'a, T> {
    x: &'a [T],
    width: usize,
    channels: usize,
    rows: (usize, usize),
    columns: (usize, usize),
}

impl<T: Copy> Window<'_, T> {
    /// Folds `N` channels from `channel` on and says how many they were.
    #[inline(always)]
    fn block<const N: usize, A: Copy>(
        &self,
        channel: usize,
        y: &mut [T],
        start: A,
        fold: impl Fn(A, T) -> A,
        finish: impl Fn(A, usize) -> T,
    ) -> usize {
        let mut acc = [start; N];
        for row in self.rows.0..self.rows.1 {
            for column in self.columns.0..self.columns.1 {
                let x = &self.x[(row * self.width + column) * self.channels + channel..][..N];
                for (acc, &x) in acc.iter_mut().zip(x) {
                    *acc = fold(*acc, x);
                }
            }
        }
        let height = self.rows.1.saturating_sub(self.rows.0);
        let count = height * self.columns.1.saturating_sub(self.columns.0);
        for (y, acc) in y[..N].iter_mut().zip(acc) {
            *y = finish(acc, count);
        }
        N
    }
}

/// Largest int8 of each window; padding never wins.
pub fn max_pool_i8(isa: Isa, shape: &PoolShape, x: &[i8], y: &mut [i8]) {
    shape.assert_lengths(x.len(), y.len());
    isa.vectorized_with((shape, x, y), largest_i8);
}

#[inline(always)]
fn largest_i8((shape, x, y): (&PoolShape, &[i8], &mut [i8])) {
    shape.fold(x, y, i8::MIN, |max: i8, x| max.max(x), |max, _| max);
}

/// Largest f32 of each window; padding never wins, and NaN neither.
pub fn max_pool_f32(isa: Isa, shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    shape.assert_lengths(x.len(), y.len());
    isa.vectorized_with((shape, x, y), largest_f32);
}

#[inline(always)]
fn largest_f32((shape, x, y): (&PoolShape, &[f32], &mut [f32])) {
    let larger = |max: f32, x: f32| if x > max { x } else { max };
    shape.fold(x, y, f32::NEG_INFINITY, larger, |max, _| max);
}

/// Mean of each window in f32: the sum in row order, then one division.
///
/// With `count_include_pad` the divisor is the window's area, otherwise its pixels in the image.
pub fn avg_pool_f32(
    isa: Isa,
    shape: &PoolShape,
    count_include_pad: bool,
    x: &[f32],
    y: &mut [f32],
) {
    shape.assert_lengths(x.len(), y.len());
    let area = count_include_pad.then_some(shape.kernel[0] * shape.kernel[1]);
    isa.vectorized_with((shape, area, x, y), mean_f32);
}

#[inline(always)]
fn mean_f32((shape, divisor, x, y): (&PoolShape, Option<usize>, &[f32], &mut [f32])) {
    let mean = |sum: f32, count| sum / divisor.unwrap_or(count) as f32;
    shape.fold(x, y, 0.0, |sum: f32, x| sum + x, mean);
}

/// int8 average pooling: `Σ (q - z_x)` in int32, requantized with `s_x / (s_y · count)`.
#[derive(Clone, Debug)]
pub struct AvgPoolI8 {
    isa: Isa,
    shape: PoolShape,
    zero_point: i8,
    /// One for each number of pixels in the image, from 0 on; 0 pixels give the zero point.
    multipliers: Vec<f32>,
    output: Output,
}

impl AvgPoolI8 {
    /// For an input with parameters `x` and an output of scale `y_scale`.
    ///
    /// With `count_include_pad` the divisor is the window's area, otherwise its pixels in the
    /// image. A window has less than 2²³ pixels, so that the sum cannot overflow.
    pub fn new(
        isa: Isa,
        shape: PoolShape,
        x: QuantParams,
        y_scale: f32,
        count_include_pad: bool,
        output: Output,
    ) -> Self {
        let area = shape.kernel[0] * shape.kernel[1];
        let most = shape.kernel[0].min(shape.in_h) * shape.kernel[1].min(shape.in_w);
        let multiplier = |count| {
            let divisor = if count_include_pad { area } else { count };
            (f64::from(x.scale) / (f64::from(y_scale) * divisor as f64)) as f32
        };
        let multipliers = core::iter::once(0.0).chain((1..=most).map(multiplier)).collect();
        Self { isa, shape, zero_point: x.zero_point, multipliers, output }
    }

    /// Pools `x` to `y`; panics when a length does not fit the shape.
    pub fn run(&self, x: &[i8], y: &mut [i8]) {
        self.shape.assert_lengths(x.len(), y.len());
        self.isa.vectorized_with((self, x, y), mean_i8);
    }
}

#[inline(always)]
fn mean_i8((pool, x, y): (&AvgPoolI8, &[i8], &mut [i8])) {
    let zero_point = i32::from(pool.zero_point);
    let add = |sum: i32, x: i8| sum.wrapping_add(i32::from(x));
    let mean = |sum: i32, count: usize| {
        let sum = sum.wrapping_sub(zero_point.wrapping_mul(count as i32));
        requantize(sum, pool.multipliers[count], pool.output)
    };
    pool.shape.fold(x, y, 0, add, mean);
}
