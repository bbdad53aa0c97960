//! The f32 tile for AVX2 with fused multiply-add.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use super::super::{Operands, Tile};
use super::Float;
use crate::kernels::x86::avx2::{load_f32x8, store_f32};

const MR: usize = 6;
const NR: usize = 16;

/// Six pixels by 16 channels: twelve accumulators, two weights and an input fill the registers.
pub(super) const TILE: Tile<Float> = Tile { nr: NR, lanes: NR, k_group: 1, encode: None, run };

#[target_feature(enable = "avx2,fma")]
fn run(operands: &mut Operands<'_, Float>) {
    if operands.cols > 8 { columns::<2>(operands) } else { columns::<1>(operands) }
}

/// All pixels by `V` vectors of 8 channels.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn columns<const V: usize>(operands: &mut Operands<'_, Float>) {
    let (sixes, rest) = operands.left.pixels.as_chunks::<MR>();
    for (i, pixels) in sixes.iter().enumerate() {
        tile::<MR, V, 1>(operands, pixels, i * MR);
    }
    let row = sixes.len() * MR;
    match *rest {
        [a] => tile::<1, V, 4>(operands, &[a], row),
        [a, b] => tile::<2, V, 2>(operands, &[a, b], row),
        [a, b, c] => tile::<3, V, 1>(operands, &[a, b, c], row),
        [a, b, c, d] => tile::<4, V, 1>(operands, &[a, b, c, d], row),
        [a, b, c, d, e] => tile::<5, V, 1>(operands, &[a, b, c, d, e], row),
        _ => {}
    }
}

/// `R` pixels by `V` vectors; with few of them, `U` sums each hide the latency of additions.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn tile<const R: usize, const V: usize, const U: usize>(
    operands: &mut Operands<'_, Float>,
    pixels: &[usize; R],
    row: usize,
) {
    let (right, _) = operands.right.as_chunks::<NR>();
    let (bias, _) = operands.epilogue.bias[operands.channel..][..NR].as_chunks::<8>();
    let mut acc = [[[_mm256_setzero_ps(); 2]; R]; U];
    for sums in &mut acc[0] {
        for v in 0..V {
            sums[v] = load_f32x8(&bias[v]);
        }
    }
    let parts = right.chunks_exact(operands.segment);
    for (offset, weights) in operands.left.segments.iter().zip(parts) {
        let left = operands.segments(pixels, *offset);
        let (unrolled, last) = weights.as_chunks::<U>();
        for (step, weights) in unrolled.iter().enumerate() {
            for u in 0..U {
                add_products::<R, V>(&mut acc[u], &left, step * U + u, &weights[u]);
            }
        }
        for (i, weights) in last.iter().enumerate() {
            add_products::<R, V>(&mut acc[0], &left, unrolled.len() * U + i, weights);
        }
    }
    let (lo, hi) = operands.epilogue.range;
    let (lo, hi) = (_mm256_set1_ps(lo), _mm256_set1_ps(hi));
    for i in 0..R {
        let y = operands.y_row(row + i);
        let mut sums = acc[0][i];
        for more in &acc[1..] {
            for v in 0..V {
                sums[v] = _mm256_add_ps(sums[v], more[i][v]);
            }
        }
        // NaN in the second operand comes through.
        store_f32(y, sums.map(|sum| _mm256_min_ps(hi, _mm256_max_ps(lo, sum))));
    }
}

/// Adds the products of element `k` of each pixel.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_products<const R: usize, const V: usize>(
    acc: &mut [[__m256; 2]; R],
    left: &[&[f32]; R],
    k: usize,
    weights: &[f32; NR],
) {
    let (weights, _) = weights.as_chunks();
    let weights: [__m256; V] = core::array::from_fn(|v| load_f32x8(&weights[v]));
    for (sums, x) in acc.iter_mut().zip(left) {
        let x = _mm256_set1_ps(x[k]);
        for v in 0..V {
            sums[v] = _mm256_fmadd_ps(x, weights[v], sums[v]);
        }
    }
}
