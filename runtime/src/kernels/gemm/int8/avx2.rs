//! The int8 tile for AVX2: `vpmaddubsw` of |x| and the weights with the sign of x.
//!
//! Two products of at most 128 · 127 fit an i16, so that nothing saturates; `vpmaddwd` by ones
//! adds pairs of these, four products a lane.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of the left side, checked once a tile")]

use core::arch::x86_64::*;

use super::super::{Operands, Tile};
use super::{GROUP, Int8, group};
use crate::kernels::x86::avx2::{Requantizer, load_i8x32, load_i32x8, store_i8};

const MR: usize = 4;
const NR: usize = 16;

/// Four pixels by 16 channels: eight accumulators of the sixteen registers; six pixels spill.
pub(super) const TILE: Tile<Int8> = Tile { nr: NR, lanes: NR, k_group: GROUP, encode: None, run };

#[target_feature(enable = "avx2")]
fn run(operands: &mut Operands<'_, Int8>) {
    if operands.cols > 8 { columns::<2>(operands) } else { columns::<1>(operands) }
}

/// All pixels by `V` vectors of 8 channels.
#[inline]
#[target_feature(enable = "avx2")]
fn columns<const V: usize>(operands: &mut Operands<'_, Int8>) {
    let requantizer = Requantizer::new(operands.epilogue, operands.channel);
    let (fours, rest) = operands.left.pixels.as_chunks::<MR>();
    for (i, pixels) in fours.iter().enumerate() {
        tile::<MR, V>(operands, pixels, i * MR, &requantizer);
    }
    let row = fours.len() * MR;
    match *rest {
        [a] => tile::<1, V>(operands, &[a], row, &requantizer),
        [a, b] => tile::<2, V>(operands, &[a, b], row, &requantizer),
        [a, b, c] => tile::<3, V>(operands, &[a, b, c], row, &requantizer),
        _ => {}
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn tile<const R: usize, const V: usize>(
    operands: &mut Operands<'_, Int8>,
    pixels: &[usize; R],
    row: usize,
    requantizer: &Requantizer,
) {
    let (right, _) = operands.right.as_chunks::<{ GROUP * NR }>();
    let (bias, _) = operands.epilogue.bias[operands.channel..][..NR].as_chunks::<8>();
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    for sums in &mut acc {
        for v in 0..V {
            sums[v] = load_i32x8(&bias[v]);
        }
    }
    let ones = _mm256_set1_epi16(1);
    let left = operands.windows(*pixels);
    for (&at, weights) in operands.left.groups.iter().zip(right) {
        let (weights, _) = weights.as_chunks();
        for r in 0..R {
            // SAFETY: windows have all groups.
            let x = _mm256_set1_epi32(unsafe { group(left[r], at) });
            let size = _mm256_abs_epi8(x);
            for v in 0..V {
                let signed = _mm256_sign_epi8(load_i8x32(&weights[v]), x);
                let pairs = _mm256_maddubs_epi16(size, signed);
                acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    for (i, sums) in acc.into_iter().enumerate() {
        store_i8(operands.y_row(row + i), requantizer.apply(sums));
    }
}
