//! The f32 tile for AArch64: fused multiply-add, the inputs taken by lane.

use core::arch::aarch64::{
    float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_laneq_f32, vfmaq_n_f32, vmaxq_f32, vminq_f32,
};

use super::super::{Operands, Tile};
use super::Float;
use crate::kernels::aarch64::neon::{load_f32x4, store_f32};

const MR: usize = 8;
const NR: usize = 8;
/// Vectors of channels.
const V: usize = NR / 4;

/// Eight pixels by eight channels: 16 sums, eight inputs and the weights fill the registers.
pub(super) const TILE: Tile<Float> = Tile { nr: NR, lanes: NR, k_group: 1, encode: None, run };

/// Sums of a pixel.
type Sums = [float32x4_t; V];

#[target_feature(enable = "neon")]
fn run(operands: &mut Operands<'_, Float>) {
    let (eights, rest) = operands.left.pixels.as_chunks::<MR>();
    for (i, pixels) in eights.iter().enumerate() {
        tile::<MR, 1>(operands, pixels, i * MR);
    }
    let row = eights.len() * MR;
    let (fours, rest) = rest.as_chunks::<4>();
    for pixels in fours {
        tile::<4, 1>(operands, pixels, row);
    }
    let row = row + 4 * fours.len();
    match *rest {
        [a] => tile::<1, 4>(operands, &[a], row),
        [a, b] => tile::<2, 4>(operands, &[a, b], row),
        [a, b, c] => tile::<3, 2>(operands, &[a, b, c], row),
        _ => {}
    }
}

/// `R` pixels; with few of them, `U` sums each hide the latency of additions.
#[inline]
#[target_feature(enable = "neon")]
fn tile<const R: usize, const U: usize>(
    operands: &mut Operands<'_, Float>,
    pixels: &[usize; R],
    row: usize,
) {
    let (right, _) = operands.right.as_chunks::<4>();
    let (right, _) = right.as_chunks::<V>();
    let (bias, _) = operands.epilogue.bias[operands.channel..][..NR].as_chunks::<4>();
    let mut acc = [[[vdupq_n_f32(0.0); V]; R]; U];
    for sums in &mut acc[0] {
        for v in 0..V {
            sums[v] = load_f32x4(&bias[v]);
        }
    }
    let parts = right.chunks_exact(operands.segment);
    for (offset, weights) in operands.left.segments.iter().zip(parts) {
        let left = operands.segments(pixels, *offset);
        let (fours, rest) = weights.as_chunks::<4>();
        let inputs = left.map(|x| &x.as_chunks::<4>().0[..fours.len()]);
        for (i, weights) in fours.iter().enumerate() {
            let x = inputs.map(|x| load_f32x4(&x[i]));
            add_products::<0, R>(&mut acc[0], &x, &weights[0]);
            add_products::<1, R>(&mut acc[1 % U], &x, &weights[1]);
            add_products::<2, R>(&mut acc[2 % U], &x, &weights[2]);
            add_products::<3, R>(&mut acc[3 % U], &x, &weights[3]);
        }
        let inputs = left.map(|x| &x[4 * fours.len()..][..rest.len()]);
        for (i, weights) in rest.iter().enumerate() {
            for v in 0..V {
                let weights = load_f32x4(&weights[v]);
                for r in 0..R {
                    acc[0][r][v] = vfmaq_n_f32(acc[0][r][v], weights, inputs[r][i]);
                }
            }
        }
    }
    let (lo, hi) = operands.epilogue.range;
    let (lo, hi) = (vdupq_n_f32(lo), vdupq_n_f32(hi));
    for i in 0..R {
        let y = operands.y_row(row + i);
        let mut sums = acc[0][i];
        for more in &acc[1..] {
            for v in 0..V {
                sums[v] = vaddq_f32(sums[v], more[i][v]);
            }
        }
        // `fmin` and `fmax` let NaN through.
        store_f32(y, sums.map(|sum| vminq_f32(vmaxq_f32(sum, lo), hi)));
    }
}

/// Adds the products of the `L`th of four inputs of each pixel.
#[inline]
#[target_feature(enable = "neon")]
fn add_products<const L: i32, const R: usize>(
    acc: &mut [Sums; R],
    x: &[float32x4_t; R],
    weights: &[[f32; 4]; V],
) {
    for v in 0..V {
        let weights = load_f32x4(&weights[v]);
        for r in 0..R {
            acc[r][v] = vfmaq_laneq_f32::<L>(acc[r][v], weights, x[r]);
        }
    }
}
