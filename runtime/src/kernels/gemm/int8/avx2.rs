//! The int8 tile for AVX2: pixels are widened to i16 once for all channels, weights as they are
//! read; `vpmaddwd` adds two products a lane, exactly.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "loads and stores through references of their size")]

use core::arch::x86_64::*;

use super::Int8;
use super::vectors256::{LANES, start, store};
use crate::kernels::gemm::{Operands, Tile};
use crate::kernels::x86::avx2::{Requantizer, load_i8x16_as_i16};

/// Products in a lane of 32 bits.
const GROUP: usize = 2;
/// Vectors of channels in a panel.
const NR: usize = 64;
/// Pixels of a tile.
const MR: usize = 4;
/// Most groups widened at a time.
const DEPTH: usize = 256;
/// Vectors of channels in a tile.
const MV: usize = 2;

/// Pixels by panels of channels, of which two vectors at a time.
pub(super) const TILE: Tile<Int8> =
    Tile { nr: NR, lanes: LANES, k_group: GROUP, encode: None, run };

/// Pixels as pairs of i16.
type Wide = [[i32; DEPTH]; MR];

#[target_feature(enable = "avx2")]
fn run(operands: &mut Operands<'_, Int8>) {
    let requantizer = Requantizer::new(operands.epilogue.output);
    let mut wide = [[0; DEPTH]; MR];
    let (fours, rest) = operands.left.pixels.as_chunks();
    for (i, pixels) in fours.iter().enumerate() {
        rows::<MR>(operands, pixels, i * MR, &mut wide, &requantizer);
    }
    let row = fours.len() * MR;
    match *rest {
        [a] => rows::<1>(operands, &[a], row, &mut wide, &requantizer),
        [a, b] => rows::<2>(operands, &[a, b], row, &mut wide, &requantizer),
        [a, b, c] => rows::<3>(operands, &[a, b, c], row, &mut wide, &requantizer),
        _ => {}
    }
}

/// `R` pixels by all channels of the panel.
#[inline]
#[target_feature(enable = "avx2")]
fn rows<const R: usize>(
    operands: &mut Operands<'_, Int8>,
    pixels: &[usize; R],
    row: usize,
    wide: &mut Wide,
    requantizer: &Requantizer,
) {
    let mut partial = [[[_mm256_setzero_si256(); MV]; R]; NR / (MV * LANES)];
    let (segment, most) = (operands.segment, DEPTH * GROUP);
    let all = operands.left.groups.len();
    let mut done = 0;
    for segments in operands.left.segments.chunks((most / segment).max(1)) {
        for part in (0..segment).step_by(most) {
            let len = most.min(segment - part);
            for (wide, pixel) in wide.iter_mut().zip(pixels) {
                let wide = bytemuck::cast_slice_mut(wide);
                for (wide, start) in wide.chunks_exact_mut(len).zip(segments) {
                    widen(&operands.left.values[pixel + start + part..][..len], wide);
                }
            }
            let groups = segments.len() * len / GROUP;
            let span = (done, groups);
            done += groups;
            for (i, partial) in partial.iter_mut().enumerate() {
                let first = i * MV * LANES;
                if first + LANES < operands.cols {
                    let mut acc =
                        if span.0 == 0 { start::<R, MV>(operands, first) } else { *partial };
                    multiply(operands, wide, span, first, &mut acc);
                    if done == all {
                        store(operands, (row, first), acc, requantizer);
                    } else {
                        *partial = acc;
                    }
                } else if first < operands.cols {
                    let mut acc = if span.0 == 0 {
                        start::<R, 1>(operands, first)
                    } else {
                        partial.map(|sums| [sums[0]])
                    };
                    multiply(operands, wide, span, first, &mut acc);
                    if done == all {
                        store(operands, (row, first), acc, requantizer);
                    } else {
                        *partial = acc.map(|sums| [sums[0]; MV]);
                    }
                }
            }
        }
    }
}

/// Adds the products of the groups `done..done + groups`, which are `wide`.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply<const R: usize, const V: usize>(
    operands: &Operands<'_, Int8>,
    wide: &Wide,
    (done, groups): (usize, usize),
    first: usize,
    acc: &mut [[__m256i; V]; R],
) {
    let width = operands.cols.next_multiple_of(LANES) * GROUP;
    let right = &operands.right[done * width..][..groups * width];
    let mut sums = *acc;
    for (g, weights) in right.chunks_exact(width).enumerate() {
        let (weights, _) = weights[first * GROUP..][..V * LANES * GROUP].as_chunks();
        let mut w = [_mm256_setzero_si256(); V];
        for v in 0..V {
            w[v] = load_i8x16_as_i16(&weights[v]);
        }
        for r in 0..R {
            let x = _mm256_set1_epi32(wide[r][g]);
            for v in 0..V {
                sums[r][v] = _mm256_add_epi32(sums[r][v], _mm256_madd_epi16(x, w[v]));
            }
        }
    }
    *acc = sums;
}

/// Widens a segment, the last vector overlapping the one before it.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(x: &[i8], wide: &mut [i16]) {
    if let (Some(x_last), Some(_)) = (x.last_chunk::<16>(), wide.last_chunk_mut::<16>()) {
        let ((x, _), (all, _)) = (x.as_chunks(), wide.as_chunks_mut());
        for (x, wide) in x.iter().zip(all) {
            store_i16x16(wide, load_i8x16_as_i16(x));
        }
        if let Some(wide) = wide.last_chunk_mut() {
            store_i16x16(wide, load_i8x16_as_i16(x_last));
        }
    } else {
        for (wide, x) in wide.iter_mut().zip(x) {
            *wide = i16::from(*x);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_i16x16(wide: &mut [i16; 16], values: __m256i) {
    // SAFETY: the reference covers exactly the 32 bytes written; no alignment is needed.
    unsafe { _mm256_storeu_si256(wide.as_mut_ptr().cast(), values) };
}
