//! The int8 tile for AVX512-VNNI: `vpdpbusd` adds four products of unsigned by signed bytes.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of the left side, checked once a tile")]

use core::arch::x86_64::*;

use super::super::{Operands, Tile};
use super::Int8;
use crate::kernels::x86::avx512::{
    LANES, Requantizer, load_f32x16, load_i8x64, load_i32x16, store_i8x16, store_i8x32, store_i8x64,
};

/// Neighbours along k in a lane.
const GROUP: usize = 4;
/// Most pixels in a tile; six by four vectors of channels are 24 sums, of the 32 registers.
const MOST: usize = 8;

/// Up to four vectors of channels by a few pixels.
pub(super) const TILE: Tile<Int8> = Tile { nr: 4 * LANES, lanes: LANES, k_group: GROUP, run };

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn run(operands: &mut Operands<'_, Int8>) {
    match operands.cols.div_ceil(LANES) {
        1 => columns::<1>(operands),
        2 => columns::<2>(operands),
        3 => columns::<3>(operands),
        _ => columns::<4>(operands),
    }
}

/// All pixels by `V` vectors of channels, in tiles as even as can be.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn columns<const V: usize>(operands: &mut Operands<'_, Int8>) {
    // Hidden, or the compiler flips bits before it broadcasts, in one instruction more.
    let flip = core::hint::black_box(_mm512_set1_epi8(i8::MIN));
    let constants = (flip, Requantizer::new(operands.epilogue));
    let most = if V > 2 { 6 } else { MOST };
    let pixels = operands.left.pixels;
    let mut row = 0;
    for left in (1..=pixels.len().div_ceil(most)).rev() {
        let next = row + (pixels.len() - row).div_ceil(left);
        match pixels[row..next] {
            [a] => tile::<1, V>(operands, [a], row, &constants),
            [a, b] => tile::<2, V>(operands, [a, b], row, &constants),
            [a, b, c] => tile::<3, V>(operands, [a, b, c], row, &constants),
            [a, b, c, d] => tile::<4, V>(operands, [a, b, c, d], row, &constants),
            [a, b, c, d, e] => tile::<5, V>(operands, [a, b, c, d, e], row, &constants),
            [a, b, c, d, e, f] => tile::<6, V>(operands, [a, b, c, d, e, f], row, &constants),
            [a, b, c, d, e, f, g] => {
                tile::<7, V>(operands, [a, b, c, d, e, f, g], row, &constants);
            }
            [a, b, c, d, e, f, g, h] => {
                tile::<8, V>(operands, [a, b, c, d, e, f, g, h], row, &constants);
            }
            _ => unreachable!("tiles have 1 to {MOST} pixels"),
        }
        row = next;
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tile<const R: usize, const V: usize>(
    operands: &mut Operands<'_, Int8>,
    pixels: [usize; R],
    row: usize,
    (flip, requantizer): &(__m512i, Requantizer),
) {
    let (right, _) = operands.right.as_chunks::<{ LANES * GROUP }>();
    let (right, _) = right.as_chunks::<V>();
    let (bias, _) = operands.epilogue.bias[operands.channel..].as_chunks::<LANES>();
    let mut acc = [[_mm512_setzero_si512(); V]; R];
    for (v, bias) in bias[..V].iter().enumerate() {
        for sums in &mut acc {
            sums[v] = load_i32x16(bias);
        }
    }
    let left = operands.windows(pixels);
    let steps = operands.segment / GROUP;
    for (start, weights) in operands.left.segments.iter().zip(right.chunks_exact(steps)) {
        for (step, weights) in weights.iter().enumerate() {
            let weights: [__m512i; V] = core::array::from_fn(|v| load_i8x64(&weights[v]));
            for r in 0..R {
                // SAFETY: the segment from `start` on has `steps` groups, and windows have all
                // segments.
                let x = unsafe { group(left[r], start + step * GROUP) };
                let x = _mm512_xor_si512(_mm512_set1_epi32(x), *flip);
                for v in 0..V {
                    acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], x, weights[v]);
                }
            }
        }
    }
    let (multipliers, _) = operands.epilogue.multiplier[operands.channel..].as_chunks::<LANES>();
    let multipliers: [__m512; V] = core::array::from_fn(|v| load_f32x16(&multipliers[v]));
    let finish = Finish { acc, multipliers, row, requantizer };
    finish.store::<0>(operands);
    finish.store::<1>(operands);
    finish.store::<2>(operands);
    finish.store::<3>(operands);
    finish.store::<4>(operands);
    finish.store::<5>(operands);
    finish.store::<6>(operands);
    finish.store::<7>(operands);
}

/// Sums on their way to memory, four vectors at a time.
struct Finish<'a, const R: usize, const V: usize> {
    acc: [[__m512i; V]; R],
    multipliers: [__m512; V],
    row: usize,
    requantizer: &'a Requantizer,
}

impl<const R: usize, const V: usize> Finish<'_, R, V> {
    /// The `I`th four; a constant, because sums with a place known only later lie in memory.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn store<const I: usize>(&self, operands: &mut Operands<'_, Int8>) {
        let rows = 4 / V;
        let first = I * rows;
        if first >= R {
            return;
        }
        // The last pixel again where there are no more.
        let sums = |i: usize| self.acc[(first + i / V).min(R - 1)][i % V];
        let sums = [sums(0), sums(1), sums(2), sums(3)];
        let multipliers = [0, 1 % V, 2 % V, 3 % V].map(|v| self.multipliers[v]);
        let values = self.requantizer.apply(sums, multipliers);
        for i in 0..rows.min(R - first) {
            let y = operands.y_row(self.row + first + i);
            match V {
                1 => store_i8x16(y, quarter(values, i)),
                2 => store_i8x32(y, half(values, i)),
                _ => store_i8x64(y, values),
            }
        }
    }
}

/// Four neighbours.
///
/// # Safety
///
/// They lie in `window`. With a check here the loop took 1.5 times as long (benches/kernels.rs).
#[inline(always)]
unsafe fn group(window: &[i8], at: usize) -> i32 {
    debug_assert!(at + GROUP <= window.len(), "group: {at} of {}", window.len());
    // SAFETY: the caller's.
    let first = unsafe { window.as_ptr().add(at) };
    // SAFETY: the four bytes lie in the window, and the read needs no alignment.
    unsafe { first.cast::<i32>().read_unaligned() }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn half(values: __m512i, i: usize) -> __m256i {
    match i {
        0 => _mm512_castsi512_si256(values),
        _ => _mm512_extracti64x4_epi64::<1>(values),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn quarter(values: __m512i, i: usize) -> __m128i {
    match i {
        0 => _mm512_castsi512_si128(values),
        1 => _mm512_extracti32x4_epi32::<1>(values),
        2 => _mm512_extracti32x4_epi32::<2>(values),
        _ => _mm512_extracti32x4_epi32::<3>(values),
    }
}
