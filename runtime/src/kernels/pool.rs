//! Max and average pooling, int8 and f32: NHWC, one image.

use alloc::borrow::Cow;

use super::isa::{Body, Isa};
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

    /// The part of a window's rows (`axis` 0) or columns (1) that lies in the image.
    #[inline(always)]
    fn clip(&self, axis: usize, at: usize) -> (usize, usize) {
        let size = [self.in_h, self.in_w][axis];
        let first = at * self.stride[axis];
        let end = (first + self.kernel[axis]).saturating_sub(self.padding[axis]);
        (first.saturating_sub(self.padding[axis]), end.min(size))
    }
}

/// Folds each window, channel by channel in row order.
struct Folding<'a, T, A, F, G> {
    shape: &'a PoolShape,
    x: &'a [T],
    y: &'a mut [T],
    start: A,
    fold: F,
    /// Is told how many pixels there were.
    finish: G,
}

impl<T, A, F, G, H> Body for Folding<'_, T, A, F, G>
where
    T: Copy,
    A: Copy,
    F: Fn(A, T) -> A,
    G: Fn(usize) -> H,
    H: Fn(A) -> T,
{
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { shape, x, y, start, fold, finish } = self;
        let channels = shape.channels;
        for (pixel, y) in y.chunks_exact_mut(channels).enumerate() {
            let rows = shape.clip(0, pixel / shape.out_w);
            let columns = shape.clip(1, pixel % shape.out_w);
            let window = Window { x, width: shape.in_w, channels, rows, columns };
            let mut channel = 0;
            while channel < channels {
                let y = &mut y[channel..];
                channel += match channels - channel {
                    64.. => window.block::<64, A, H>(channel, y, start, &fold, &finish),
                    16.. => window.block::<16, A, H>(channel, y, start, &fold, &finish),
                    4.. => window.block::<4, A, H>(channel, y, start, &fold, &finish),
                    _ => window.block::<1, A, H>(channel, y, start, &fold, &finish),
                };
            }
        }
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
    fn block<const N: usize, A: Copy, H: Fn(A) -> T>(
        &self,
        channel: usize,
        y: &mut [T],
        start: A,
        fold: impl Fn(A, T) -> A,
        finish: impl Fn(usize) -> H,
    ) -> usize {
        let mut acc = [start; N];
        for row in self.rows.0..self.rows.1 {
            for column in self.columns.0..self.columns.1 {
                let x = &self.x[(row * self.width + column) * self.channels + channel..][..N];
                // Arrays made anew stay in registers.
                acc = core::array::from_fn(|i| fold(acc[i], x[i]));
            }
        }
        let height = self.rows.1.saturating_sub(self.rows.0);
        let count = height * self.columns.1.saturating_sub(self.columns.0);
        let finish = finish(count);
        y[..N].copy_from_slice(&acc.map(finish));
        N
    }
}

/// Largest int8 of each window; padding never wins.
pub fn max_pool_i8(isa: Isa, shape: &PoolShape, x: &[i8], y: &mut [i8]) {
    shape.assert_lengths(x.len(), y.len());
    let (fold, finish) = (|max: i8, x| max.max(x), |_| |max| max);
    isa.vectorized(Folding { shape, x, y, start: i8::MIN, fold, finish });
}

/// Largest f32 of each window; padding never wins, and NaN neither.
pub fn max_pool_f32(isa: Isa, shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    shape.assert_lengths(x.len(), y.len());
    let fold = |max: f32, x| if x > max { x } else { max };
    isa.vectorized(Folding { shape, x, y, start: f32::NEG_INFINITY, fold, finish: |_| |max| max });
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
    let area = shape.kernel[0] * shape.kernel[1];
    let finish = |count| {
        let divisor = if count_include_pad { area } else { count } as f32;
        move |sum: f32| sum / divisor
    };
    isa.vectorized(Folding { shape, x, y, start: 0.0, fold: |sum: f32, x| sum + x, finish });
}

/// int8 average pooling: `Σ (q - z_x)` in int32, requantized with `s_x / (s_y · count)`.
#[derive(Clone, Debug)]
pub struct AvgPoolI8 {
    isa: Isa,
    shape: PoolShape,
    zero_point: i8,
    /// One for each number of pixels in the image, from 0 on; 0 pixels give the zero point.
    multipliers: Cow<'static, [f32]>,
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
        let multipliers = Cow::Owned(multipliers);
        Self { isa, shape, zero_point: x.zero_point, multipliers, output }
    }

    /// In portable code, with the [`AvgPoolI8::multipliers`] of another.
    pub const fn scalar(
        shape: PoolShape,
        zero_point: i8,
        multipliers: &'static [f32],
        output: Output,
    ) -> Self {
        let multipliers = Cow::Borrowed(multipliers);
        Self { isa: Isa::Scalar, shape, zero_point, multipliers, output }
    }

    /// What the sum of so many pixels in the image is multiplied by, from 0 on.
    pub fn multipliers(&self) -> &[f32] {
        &self.multipliers
    }

    /// Pools `x` to `y`; panics when a length does not fit the shape.
    pub fn run(&self, x: &[i8], y: &mut [i8]) {
        self.shape.assert_lengths(x.len(), y.len());
        let zero_point = i32::from(self.zero_point);
        let fold = |sum: i32, x: i8| sum.wrapping_add(i32::from(x));
        let finish = |count: usize| {
            let (zeros, m) = (zero_point.wrapping_mul(count as i32), self.multipliers[count]);
            move |sum: i32| requantize(sum.wrapping_sub(zeros), m, self.output)
        };
        self.isa.vectorized(Folding { shape: &self.shape, x, y, start: 0, fold, finish });
    }
}
