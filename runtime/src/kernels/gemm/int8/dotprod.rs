//! The int8 tile for AArch64 with `sdot`: four products a lane, the inputs taken by lane.

use core::arch::aarch64::{int8x16_t, int32x4_t, vdupq_n_s32, vreinterpretq_s8_s32};

use super::super::{Operands, Tile};
use super::Int8;
use crate::kernels::aarch64::dotprod::{dot, dot_group};
use crate::kernels::aarch64::neon::{Requantizer, load_i8x16, load_i32x4, store_i8};

const NR: usize = 16;
/// Neighbours along k in a lane.
const GROUP: usize = 4;

/// Up to six pixels by 16 channels: 24 sums, six inputs and a weight, of 32 registers.
pub(super) const TILE: Tile<Int8> =
    Tile { nr: NR, lanes: NR / 2, k_group: GROUP, encode: None, run };

#[target_feature(enable = "neon,dotprod")]
fn run(operands: &mut Operands<'_, Int8>) {
    if operands.cols > NR / 2 { columns::<4>(operands) } else { columns::<2>(operands) }
}

/// All pixels by `V` vectors of four channels, in tiles as even as can be.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn columns<const V: usize>(operands: &mut Operands<'_, Int8>) {
    let requantizer = Requantizer::new(operands.epilogue, operands.channel);
    let pixels = operands.left.pixels;
    let mut row = 0;
    for left in (1..=pixels.len().div_ceil(6)).rev() {
        let next = row + (pixels.len() - row).div_ceil(left);
        match pixels[row..next] {
            [a] => tile::<1, V>(operands, &[a], row, &requantizer),
            [a, b] => tile::<2, V>(operands, &[a, b], row, &requantizer),
            [a, b, c] => tile::<3, V>(operands, &[a, b, c], row, &requantizer),
            [a, b, c, d] => tile::<4, V>(operands, &[a, b, c, d], row, &requantizer),
            [a, b, c, d, e] => tile::<5, V>(operands, &[a, b, c, d, e], row, &requantizer),
            [a, b, c, d, e, f] => tile::<6, V>(operands, &[a, b, c, d, e, f], row, &requantizer),
            _ => unreachable!("tiles have 1 to 6 pixels"),
        }
        row = next;
    }
}

/// Weights of four groups' lanes: `V` vectors of four channels.
type Weights<const V: usize> = [[i8; 4 * GROUP]; V];

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn tile<const R: usize, const V: usize>(
    operands: &mut Operands<'_, Int8>,
    pixels: &[usize; R],
    row: usize,
    requantizer: &Requantizer<V>,
) {
    let (right, _) = operands.right.as_chunks::<{ 4 * GROUP }>();
    let (right, _): (&[Weights<V>], _) = right.as_chunks();
    let (bias, _) = operands.epilogue.bias[operands.channel..][..4 * V].as_chunks::<4>();
    let mut acc = [[vdupq_n_s32(0); V]; R];
    for sums in &mut acc {
        for v in 0..V {
            sums[v] = load_i32x4(&bias[v]);
        }
    }
    let steps = operands.segment / GROUP;
    for (offset, weights) in operands.left.segments.iter().zip(right.chunks_exact(steps)) {
        let left = operands.segments(pixels, *offset);
        let (fours, rest) = weights.as_chunks::<4>();
        let inputs = left.map(|x| &x.as_chunks::<16>().0[..fours.len()]);
        for (i, weights) in fours.iter().enumerate() {
            let x = inputs.map(|x| load_i8x16(&x[i]));
            add_products::<0, R, V>(&mut acc, &x, &weights[0]);
            add_products::<1, R, V>(&mut acc, &x, &weights[1]);
            add_products::<2, R, V>(&mut acc, &x, &weights[2]);
            add_products::<3, R, V>(&mut acc, &x, &weights[3]);
        }
        let inputs = left.map(|x| &x.as_chunks::<GROUP>().0[4 * fours.len()..][..rest.len()]);
        for (i, weights) in rest.iter().enumerate() {
            let x = inputs.map(|x| vreinterpretq_s8_s32(vdupq_n_s32(bytemuck::cast(x[i]))));
            for v in 0..V {
                let weights = load_i8x16(&weights[v]);
                for r in 0..R {
                    acc[r][v] = dot(acc[r][v], weights, x[r]);
                }
            }
        }
    }
    for (i, sums) in acc.into_iter().enumerate() {
        store_i8(operands.y_row(row + i), requantizer.apply(sums));
    }
}

/// Adds the products of the `G`th four inputs of each pixel.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_products<const G: usize, const R: usize, const V: usize>(
    acc: &mut [[int32x4_t; V]; R],
    x: &[int8x16_t; R],
    weights: &Weights<V>,
) {
    for v in 0..V {
        let weights = load_i8x16(&weights[v]);
        for r in 0..R {
            acc[r][v] = dot_group::<G>(acc[r][v], weights, x[r]);
        }
    }
}
