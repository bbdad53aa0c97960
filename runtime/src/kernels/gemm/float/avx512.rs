//! The f32 tile for AVX-512: fused multiply-add with the input broadcast from memory.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use super::super::{Operands, Tile};
use super::Float;
use crate::kernels::x86::avx2::load_f32x8;
use crate::kernels::x86::avx512::{LANES, load_f32x16, store_f32x16, store_some_f32};

/// Channels in half a vector: two of them take as long as a whole one.
const HALF: usize = LANES / 2;
/// Most pixels in a tile of up to one vector of channels.
const MOST: usize = 14;
/// Most pixels in a wider tile: the compiler takes inputs to registers, and more of them would
/// put sums to memory.
const MOST_OF_TWO: usize = 10;
/// Elements in a cache line.
const LINE: usize = 16;

/// Up to 14 pixels by 32 channels.
pub(super) const TILE: Tile<Float> =
    Tile { nr: 2 * LANES, lanes: HALF, k_group: 1, encode: None, run };

#[target_feature(enable = "avx512f,avx512vl")]
fn run(operands: &mut Operands<'_, Float>) {
    match operands.cols.div_ceil(HALF) {
        1 => columns::<1>(operands),
        2 => columns::<2>(operands),
        3 => columns::<3>(operands),
        _ => columns::<4>(operands),
    }
}

/// All pixels by `W` halves of vectors, in tiles as even as can be.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn columns<const W: usize>(operands: &mut Operands<'_, Float>) {
    let pixels = operands.left.pixels;
    let tiles = pixels.len().div_ceil(if W > 2 { MOST_OF_TWO } else { MOST });
    let mut row = 0;
    for left in (1..=tiles).rev() {
        let next = row + (pixels.len() - row).div_ceil(left);
        // Each tile asks for its share of the next panel.
        let ahead = Ahead { first: (tiles - left) * operands.right.len() / tiles, tiles };
        macro_rules! rows {
            ($($n:literal)*) => {
                match next - row {
                    $($n if W <= 2 || $n <= MOST_OF_TWO => rows::<$n, W>(operands, row, ahead),)*
                    _ => unreachable!("tiles have 1 to {MOST} pixels"),
                }
            };
        }
        rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        row = next;
    }
}

/// Which part of the panel behind this one a tile brings to the second-level cache.
#[derive(Clone, Copy)]
struct Ahead {
    first: usize,
    tiles: usize,
}

/// Sums of a pixel: whole vectors, then half a vector.
type Sums = ([__m512; 2], __m256);

/// `R` pixels by `W` halves of vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn rows<const R: usize, const W: usize>(
    operands: &mut Operands<'_, Float>,
    row: usize,
    ahead: Ahead,
) {
    let (right, _) = operands.right.as_chunks::<HALF>();
    let (right, _) = right.as_chunks::<W>();
    let (bias, _) = operands.epilogue.bias[operands.channel..].as_chunks::<HALF>();
    let Some(&pixels) = operands.left.pixels[row..].first_chunk::<R>() else { return };
    let left = operands.windows(pixels);
    let groups = operands.left.groups;
    // Few sums at a time would wait for one another.
    let chains = const { if R * W.div_ceil(2) < 4 { 4 } else { 1 } };
    let mut acc = [[([_mm512_setzero_ps(); 2], _mm256_setzero_ps()); R]; 4];
    if let Some(bias) = bias.first_chunk::<W>() {
        acc[0] = [load::<W>(bias); R];
    }
    let mut next = operands.right.as_ptr_range().end.wrapping_add(ahead.first);
    let step = W * HALF / ahead.tiles;
    let steps = groups.len().min(right.len());
    let unrolled = steps / chains * chains;
    for k in (0..unrolled).step_by(chains) {
        for chain in 0..chains {
            add_products(&mut acc[chain], &left, groups[k + chain], &right[k + chain]);
        }
        if R > 1 {
            for line in 0..W.div_ceil(2) * chains {
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(line * LINE).cast());
            }
        }
        next = next.wrapping_add(chains * step);
    }
    for k in unrolled..steps {
        add_products(&mut acc[0], &left, groups[k], &right[k]);
    }
    let (lo, hi) = operands.epilogue.range;
    let (lo, hi) = (_mm512_set1_ps(lo), _mm512_set1_ps(hi));
    let [mut sums, others @ ..] = acc;
    for (r, (vectors, half)) in sums.iter_mut().enumerate() {
        for other in &others[..chains - 1] {
            for (sum, other) in vectors.iter_mut().zip(other[r].0) {
                *sum = _mm512_add_ps(*sum, other);
            }
            *half = _mm256_add_ps(*half, other[r].1);
        }
        let mut y = operands.y_row(row + r);
        // NaN in the second operand comes through.
        for sum in &vectors[..W / 2] {
            let (now, rest) = y.split_at_mut(LANES.min(y.len()));
            store_f32x16(now, _mm512_min_ps(hi, _mm512_max_ps(lo, *sum)));
            y = rest;
        }
        if W % 2 == 1 {
            let sum = _mm512_castps256_ps512(*half);
            store_some_f32(y, _mm512_min_ps(hi, _mm512_max_ps(lo, sum)));
        }
    }
}

/// `W` halves of vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn load<const W: usize>(values: &[[f32; HALF]; W]) -> Sums {
    let (whole, half) = values.as_flattened().as_chunks::<LANES>();
    let mut sums = ([_mm512_setzero_ps(); 2], _mm256_setzero_ps());
    for (sum, values) in sums.0.iter_mut().zip(whole) {
        *sum = load_f32x16(values);
    }
    if let Some(half) = half.first_chunk() {
        sums.1 = load_f32x8(half);
    }
    sums
}

/// Adds the products of the element at `at` of each window.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn add_products<const R: usize, const W: usize>(
    acc: &mut [Sums; R],
    left: &[&[f32]; R],
    at: usize,
    weights: &[[f32; HALF]; W],
) {
    let (vectors, half) = load::<W>(weights);
    for r in 0..R {
        let x = left[r][at];
        for (v, &weights) in vectors.iter().enumerate().take(W / 2) {
            acc[r].0[v] = _mm512_fmadd_ps(_mm512_set1_ps(x), weights, acc[r].0[v]);
        }
        if W % 2 == 1 {
            acc[r].1 = _mm256_fmadd_ps(_mm256_set1_ps(x), half, acc[r].1);
        }
    }
}
