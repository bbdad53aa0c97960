//! The int8 tile for plain NEON: `smull` and `smlal` of two pairs of neighbours, added by `sadalp`.
//!
//! Two products of at most 128 · 127 fit an i16, so that nothing wraps: weights are never -128.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::aarch64::*;

use super::super::{Operands, Tile};
use super::Int8;
use crate::kernels::aarch64::neon::{Requantizer, load_i8x8, load_i32x4, store_i8};

const NR: usize = 16;
/// Neighbours along k in a lane.
const GROUP: usize = 2;

/// Up to three pixels by 16 channels: with four, the 16 sums and what they need spill.
pub(super) const TILE: Tile<Int8> =
    Tile { nr: NR, lanes: NR / 2, k_group: GROUP, encode: None, run };

/// Weights of a pair of neighbours: `V` vectors of four channels.
type Weights<const V: usize> = [[i8; 4 * GROUP]; V];

#[target_feature(enable = "neon")]
fn run(operands: &mut Operands<'_, Int8>) {
    if operands.cols > NR / 2 { columns::<4>(operands) } else { columns::<2>(operands) }
}

/// All pixels by `V` vectors of four channels, in tiles as even as can be.
#[inline]
#[target_feature(enable = "neon")]
fn columns<const V: usize>(operands: &mut Operands<'_, Int8>) {
    let requantizer = Requantizer::new(operands.epilogue, operands.channel);
    let pixels = operands.left.pixels;
    let mut row = 0;
    for left in (1..=pixels.len().div_ceil(3)).rev() {
        let next = row + (pixels.len() - row).div_ceil(left);
        match pixels[row..next] {
            [a] => tile::<1, V>(operands, &[a], row, &requantizer),
            [a, b] => tile::<2, V>(operands, &[a, b], row, &requantizer),
            [a, b, c] => tile::<3, V>(operands, &[a, b, c], row, &requantizer),
            _ => unreachable!("tiles have 1 to 3 pixels"),
        }
        row = next;
    }
}

#[inline]
#[target_feature(enable = "neon")]
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
        let inputs = left.map(|x| &x.as_chunks::<8>().0[..fours.len()]);
        for (i, [a, b, c, d]) in fours.iter().enumerate() {
            let x = inputs.map(|x| vreinterpret_s16_s8(load_i8x8(&x[i])));
            add_two::<0, 1, R, V>(&mut acc, &x, [a, b]);
            add_two::<2, 3, R, V>(&mut acc, &x, [c, d]);
        }
        let inputs = left.map(|x| &x.as_chunks::<GROUP>().0[4 * fours.len()..][..rest.len()]);
        for (i, weights) in rest.iter().enumerate() {
            let x = inputs.map(|x| vreinterpret_s8_s16(vdup_n_s16(bytemuck::cast(x[i]))));
            for v in 0..V {
                let weights = load_i8x8(&weights[v]);
                for r in 0..R {
                    acc[r][v] = vpadalq_s16(acc[r][v], vmull_s8(x[r], weights));
                }
            }
        }
    }
    for (i, sums) in acc.into_iter().enumerate() {
        store_i8(operands.y_row(row + i), requantizer.apply(sums));
    }
}

/// Adds the products of the `I`th and `J`th pair of inputs of each pixel.
#[inline]
#[target_feature(enable = "neon")]
fn add_two<const I: i32, const J: i32, const R: usize, const V: usize>(
    acc: &mut [[int32x4_t; V]; R],
    x: &[int16x4_t; R],
    weights: [&Weights<V>; 2],
) {
    let first = x.map(|x| vreinterpret_s8_s16(vdup_lane_s16::<I>(x)));
    let second = x.map(|x| vreinterpret_s8_s16(vdup_lane_s16::<J>(x)));
    for v in 0..V {
        let weights = weights.map(|weights| load_i8x8(&weights[v]));
        for r in 0..R {
            let products = vmull_s8(first[r], weights[0]);
            let products = vmlal_s8(products, second[r], weights[1]);
            acc[r][v] = vpadalq_s16(acc[r][v], products);
        }
    }
}
