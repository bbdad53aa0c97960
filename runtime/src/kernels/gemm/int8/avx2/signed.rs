//! The tile for few channels or products: `vpmaddubsw` of |x| and the weights with the sign of x.
//!
//! Two products of at most 128 · 127 fit an i16, so that nothing saturates; `vpmaddwd` by ones
//! adds pairs of these, four products a lane.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of the left side, checked once a tile")]

use core::arch::x86_64::*;

use crate::kernels::gemm::int8::vectors256::{LANES, start, store};
use crate::kernels::gemm::int8::{GROUP, Int8, group};
use crate::kernels::gemm::{Operands, Tile};
use crate::kernels::x86::avx2::{Requantizer, load_i8x32};

/// Channels of a panel.
pub(super) const NR: usize = 2 * LANES;
/// Pixels of a tile; six by two vectors of channels spill.
const MR: usize = 4;

pub(super) const TILE: Tile<Int8> =
    Tile { nr: NR, lanes: LANES, k_group: GROUP, encode: None, run };

#[target_feature(enable = "avx2")]
fn run(operands: &mut Operands<'_, Int8>) {
    if operands.cols > LANES { columns::<2>(operands) } else { columns::<1>(operands) }
}

/// All pixels by `V` vectors of channels.
#[inline]
#[target_feature(enable = "avx2")]
fn columns<const V: usize>(operands: &mut Operands<'_, Int8>) {
    let requantizer = Requantizer::new(operands.epilogue.output);
    let (fours, rest) = operands.left.pixels.as_chunks::<MR>();
    for (i, pixels) in fours.iter().enumerate() {
        rows::<MR, V>(operands, *pixels, i * MR, &requantizer);
    }
    let row = fours.len() * MR;
    match *rest {
        [a] => rows::<1, V>(operands, [a], row, &requantizer),
        [a, b] => rows::<2, V>(operands, [a, b], row, &requantizer),
        [a, b, c] => rows::<3, V>(operands, [a, b, c], row, &requantizer),
        _ => {}
    }
}

/// `R` pixels by `V` vectors of channels.
#[inline]
#[target_feature(enable = "avx2")]
fn rows<const R: usize, const V: usize>(
    operands: &mut Operands<'_, Int8>,
    pixels: [usize; R],
    row: usize,
    requantizer: &Requantizer,
) {
    let (right, _) = operands.right.as_chunks::<{ LANES * GROUP }>();
    let (right, _) = right.as_chunks::<V>();
    let mut acc = start::<R, V>(operands, 0);
    let ones = _mm256_set1_epi16(1);
    let left = operands.windows(pixels);
    for (&at, weights) in operands.left.groups.iter().zip(right) {
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
    store(operands, (row, 0), acc, requantizer);
}
