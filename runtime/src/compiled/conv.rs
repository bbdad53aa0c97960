//! int8 convolution with the weights where the linker has put them, in the order of the file.

use crate::kernels::ConvShape;
use crate::quant::{Output, requantize};

/// Output channels that are computed together, so that an input is read once for all.
const BLOCK: usize = 4;

/// A convolution or a linear layer of constants: nothing is packed, nothing is copied.
///
/// Lengths that do not fit `shape` panic when it runs.
#[derive(Clone, Copy, Debug)]
pub struct Conv<'a> {
    /// The geometry.
    pub shape: ConvShape,
    /// int8, `[out_c, kh, kw, in_c / groups]`
    pub weight: &'a [u8],
    /// `[out_c]`, with the input's zero point folded in.
    pub bias: &'a [i32],
    /// `[out_c]`
    pub multiplier: &'a [f32],
    /// Of the input: what padding is.
    pub zero_point: i8,
    /// Zero point and clamp of the output.
    pub output: Output,
}

/// The taps of a window that lie in the image: rows, columns, and where the first pixel is.
struct Window {
    rows: (usize, usize),
    columns: (usize, usize),
    first: (isize, isize),
}

impl Conv<'_> {
    /// Convolves an image `[in_h, in_w, in_c]` to `[out_h, out_w, out_c]`.
    pub fn run(&self, x: &[i8], y: &mut [i8]) {
        let shape = &self.shape;
        assert!(x.len() == shape.input_len() && y.len() == shape.output_len(), "conv: lengths");
        for (pixel, y) in y.chunks_exact_mut(shape.out_c).enumerate() {
            let window = self.window(pixel / shape.out_w, pixel % shape.out_w);
            if shape.groups == shape.in_c && shape.groups == shape.out_c {
                self.depthwise(&window, x, y);
                continue;
            }
            let group_out = shape.out_c / shape.groups;
            for (group, y) in y.chunks_exact_mut(group_out).enumerate() {
                for (block, y) in y.chunks_mut(BLOCK).enumerate() {
                    let first = group * group_out + block * BLOCK;
                    match y.len() {
                        BLOCK => self.block::<BLOCK>(&window, group, first, x, y),
                        2 => self.block::<2>(&window, group, first, x, y),
                        _ => (0..y.len()).for_each(|i| {
                            self.block::<1>(&window, group, first + i, x, &mut y[i..][..1]);
                        }),
                    }
                }
            }
        }
    }

    fn window(&self, row: usize, column: usize) -> Window {
        let ConvShape { in_h, in_w, kernel, stride, padding, dilation, .. } = self.shape;
        let start = |axis: usize, at: usize| (at * stride[axis]) as isize - padding[axis] as isize;
        let clip = |axis: usize, first: isize, size: usize| {
            // Taps before the image, and the first behind it.
            let before = first.min(0).unsigned_abs().div_ceil(dilation[axis]);
            let room = (size as isize - first).max(0) as usize;
            (before, kernel[axis].min(room.div_ceil(dilation[axis])))
        };
        let first = (start(0, row), start(1, column));
        Window { rows: clip(0, first.0, in_h), columns: clip(1, first.1, in_w), first }
    }

    /// All channels of one pixel, each of its own input channel.
    fn depthwise(&self, window: &Window, x: &[i8], y: &mut [i8]) {
        let ConvShape { in_w, in_c, kernel: [kh, kw], dilation, .. } = self.shape;
        let taps = kh * kw;
        let [down, right] = [dilation[0] * in_w * in_c, dilation[1] * in_c];
        let first = (window.first.0 * in_w as isize + window.first.1) * in_c as isize;
        let whole = window.rows == (0, kh) && window.columns == (0, kw);
        for (channel, y) in y.iter_mut().enumerate() {
            let weights = &self.weight[channel * taps..][..taps];
            let first = first + channel as isize;
            let mut sum = self.bias[channel];
            for (ky, weights) in weights.chunks_exact(kw).enumerate() {
                let mut at = first + (ky * down) as isize;
                let row = (window.rows.0..window.rows.1).contains(&ky);
                for (kx, w) in weights.iter().enumerate() {
                    let columns = window.columns.0..window.columns.1;
                    let inside = whole || row && columns.contains(&kx);
                    let x = if inside { x[at as usize] } else { self.zero_point };
                    sum += i32::from(x) * i32::from(w.cast_signed());
                    at += right as isize;
                }
            }
            *y = requantize(sum, self.multiplier[channel], self.output);
        }
    }

    /// `N` channels of one pixel from `first` on.
    fn block<const N: usize>(
        &self,
        window: &Window,
        group: usize,
        first: usize,
        x: &[i8],
        y: &mut [i8],
    ) {
        let ConvShape { in_w, in_c, kernel: [kh, kw], dilation, groups, .. } = self.shape;
        let depth = in_c / groups;
        let k = kh * kw * depth;
        let weights = &self.weight[first * k..][..N * k];
        let mut sums = [0_i32; N];
        sums.copy_from_slice(&self.bias[first..][..N]);
        for ky in 0..kh {
            for kx in 0..kw {
                let tap = (ky * kw + kx) * depth;
                let inside = (window.rows.0..window.rows.1).contains(&ky)
                    && (window.columns.0..window.columns.1).contains(&kx);
                if !inside {
                    for (sum, w) in sums.iter_mut().zip(weights.chunks_exact(k)) {
                        let w = w[tap..][..depth].iter().map(|&w| i32::from(w.cast_signed()));
                        *sum += i32::from(self.zero_point) * w.sum::<i32>();
                    }
                    continue;
                }
                let row = (window.first.0 + (ky * dilation[0]) as isize) as usize;
                let column = (window.first.1 + (kx * dilation[1]) as isize) as usize;
                let x = &x[(row * in_w + column) * in_c + group * depth..][..depth];
                let w: [&[u8]; N] = core::array::from_fn(|i| &weights[i * k + tap..][..depth]);
                for (at, &x) in x.iter().enumerate() {
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum += i32::from(x) * i32::from(w[at].cast_signed());
                    }
                }
            }
        }
        for (i, (y, sum)) in y.iter_mut().zip(sums).enumerate() {
            *y = requantize(sum, self.multiplier[first + i], self.output);
        }
    }
}
