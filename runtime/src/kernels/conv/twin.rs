//! The definition of a convolution in nested loops: what every instruction set is compared with.

use alloc::vec::Vec;

use super::ConvShape;
use crate::quant::{Output, requantize};

/// Calls `product(output index, input index or none in the padding, weight index)` for each tap.
fn each_product(s: &ConvShape, mut product: impl FnMut(usize, Option<usize>, usize)) {
    let (group_in, group_out) = (s.in_c / s.groups, s.out_c / s.groups);
    for oy in 0..s.out_h {
        for ox in 0..s.out_w {
            for o in 0..s.out_c {
                for ky in 0..s.kernel[0] {
                    for kx in 0..s.kernel[1] {
                        for i in 0..group_in {
                            let iy = (oy * s.stride[0] + ky * s.dilation[0]) as isize
                                - s.padding[0] as isize;
                            let ix = (ox * s.stride[1] + kx * s.dilation[1]) as isize
                                - s.padding[1] as isize;
                            let inside = (0..s.in_h as isize).contains(&iy)
                                && (0..s.in_w as isize).contains(&ix);
                            let channel = o / group_out * group_in + i;
                            let at = (iy * s.in_w as isize + ix) * s.in_c as isize;
                            let weight = ((o * s.kernel[0] + ky) * s.kernel[1] + kx) * group_in + i;
                            let y = (oy * s.out_w + ox) * s.out_c + o;
                            product(y, inside.then_some(at as usize + channel), weight);
                        }
                    }
                }
            }
        }
    }
}

/// `requantize(b' + Σ x · w)` with the zero point in the padding.
pub(super) fn int8(
    shape: &ConvShape,
    x: &[i8],
    weight: &[i8],
    bias: &[i32],
    multiplier: &[f32],
    zero: i8,
    output: Output,
) -> Vec<i8> {
    let mut acc: Vec<i32> = (0..shape.output_len()).map(|i| bias[i % shape.out_c]).collect();
    each_product(shape, |y, at, w| {
        acc[y] += i32::from(at.map_or(zero, |at| x[at])) * i32::from(weight[w]);
    });
    let channels = multiplier.iter().cycle();
    acc.iter().zip(channels).map(|(&acc, &m)| requantize(acc, m, output)).collect()
}

/// `(b + Σ x · w, |b| + Σ |x · w|)` in f64: the value and what its rounding is measured by.
pub(super) fn float(shape: &ConvShape, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<(f64, f64)> {
    let start = |i: usize| f64::from(bias[i % shape.out_c]);
    let mut acc: Vec<(f64, f64)> =
        (0..shape.output_len()).map(|i| (start(i), start(i).abs())).collect();
    each_product(shape, |y, at, w| {
        let product = at.map_or(0.0, |at| f64::from(x[at]) * f64::from(weight[w]));
        acc[y].0 += product;
        acc[y].1 += product.abs();
    });
    acc
}
