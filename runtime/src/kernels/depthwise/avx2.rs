//! Depthwise sums for AVX2: int8 by pairs of taps with `vpmaddwd`, f32 by fused multiply-add.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of taps, checked once a window")]

use core::arch::x86_64::*;

use super::{Kernel, Run};
use crate::kernels::gemm::float::Float;
use crate::kernels::gemm::int8::Int8;
use crate::kernels::x86::avx2::{
    Requantizer, load_f32x8, load_i8x16_as_i16, load_i32x8, store_f32, store_i8,
};

/// Channels in a vector of int8 sums.
const LANES: usize = 8;
/// Channels in a block of f32.
const BLOCK: usize = 16;

pub(super) const INT8: Kernel<Int8> =
    Kernel { block: LANES, tap_group: 2, by_rows: false, lane: |channel| channel, run: int8 };
pub(super) const FLOAT: Kernel<Float> =
    Kernel { block: BLOCK, tap_group: 1, by_rows: false, lane: |channel| channel, run: float };

#[target_feature(enable = "avx2")]
fn int8(run: &mut Run<'_, Int8>) {
    let requantizer = Requantizer::new(run.epilogue.output);
    let (weight, _) = run.weight.as_chunks::<{ 2 * LANES }>();
    let (pairs, _) = run.offsets.as_chunks::<2>();
    let last = run.offsets.iter().max().map_or(0, |last| last + LANES);
    for (i, weight) in weight.chunks_exact(pairs.len()).enumerate() {
        let channel = i * LANES;
        let (bias, _) = run.epilogue.bias[channel..].as_chunks();
        let (multiplier, _) = run.epilogue.multiplier[channel..].as_chunks();
        let block = Block {
            channel,
            bias: load_i32x8(&bias[0]),
            multiplier: load_f32x8(&multiplier[0]),
            requantizer: &requantizer,
            last,
        };
        match weight.try_into() {
            Ok(weight) if is_three_by_three(run.offsets, run.line) => block.roll(run, weight),
            Ok(weight) => block.five(run, weight),
            Err(_) => block.each(run, weight),
        }
    }
}

/// Whether taps are those of three rows `line` apart, and an empty one.
fn is_three_by_three(offsets: &[usize], line: usize) -> bool {
    let rows = offsets.iter().zip(&offsets[3..]).take(6);
    offsets.len() == 10
        && offsets[8] == offsets[9]
        && rows.into_iter().all(|(tap, below)| tap + line == *below)
}

/// Eight channels with their constants.
struct Block<'a> {
    channel: usize,
    bias: __m256i,
    multiplier: __m256,
    requantizer: &'a Requantizer,
    /// Elements from a window's beginning to the end of its last tap.
    last: usize,
}

/// The weights of a pair of taps.
type Weights = [i8; 2 * LANES];

impl Block<'_> {
    /// Three kernel rows of three taps, going down columns two rows at a time.
    ///
    /// First and second tap of a row make a pair, and third taps of two rows.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn roll(&self, run: &mut Run<'_, Int8>, weight: &[Weights; 5]) {
        let Run { line, y_row, step, channels, x, offsets, rows, .. } = *run;
        let (a, b, c) = (offsets[0], offsets[1], offsets[2]);
        let w = weight.map(|weights| load_i8x16_as_i16(&weights));
        // Taps are numbered row by row: the packed pairs are 01, 23, 45, 67 and 8 alone.
        let w01 = w[0];
        let w34 = _mm256_or_si256(_mm256_srli_epi32::<16>(w[1]), _mm256_slli_epi32::<16>(w[2]));
        let w67 = w[3];
        let w25 = _mm256_blend_epi16::<0b1010_1010>(w[1], w[2]);
        let w8 = w[4];
        let w_2 = _mm256_slli_epi32::<16>(w[1]);
        let w58 = _mm256_or_si256(_mm256_srli_epi32::<16>(w[2]), _mm256_slli_epi32::<16>(w[4]));
        for (pixel, at) in (self.channel..y_row).step_by(channels).enumerate() {
            let window = &x[pixel * step + self.channel..][..(rows - 1) * line + self.last];
            let cols = LANES.min(channels - self.channel).min(y_row - at);
            // SAFETY: of the window's `rows + 2` input rows, this is one or two.
            let pairs = |row: usize| unsafe { pair(window, row * line + a, row * line + b) };
            // SAFETY: as above.
            let thirds =
                |row: usize, next: usize| unsafe { pair(window, row * line + c, next * line + c) };
            let (mut first, mut second, mut third) = (pairs(0), pairs(1), thirds(0, 1));
            for row in (0..rows - 1).step_by(2) {
                let (below, last, last_third) =
                    (pairs(row + 2), pairs(row + 3), thirds(row + 2, row + 3));
                let upper =
                    [(first, w01), (second, w34), (below, w67), (third, w25), (last_third, w8)];
                let lower =
                    [(second, w01), (below, w34), (last, w67), (third, w_2), (last_third, w58)];
                let values = self.requantize(self.sum(&upper), self.sum(&lower));
                let y = at + row * run.y_line;
                store_i8(&mut run.y[y..y + cols], values);
                let y = y + run.y_line;
                store_i8(&mut run.y[y..y + cols], _mm_srli_si128::<8>(values));
                (first, second, third) = (below, last, last_third);
            }
            if rows % 2 == 1 {
                let (below, last_third) = (pairs(rows + 1), thirds(rows + 1, rows + 1));
                let sums = self.sum(&[
                    (first, w01),
                    (second, w34),
                    (below, w67),
                    (third, w25),
                    (last_third, w8),
                ]);
                let y = at + (rows - 1) * run.y_line;
                store_i8(&mut run.y[y..y + cols], self.requantize(sums, sums));
            }
        }
    }

    /// Five pairs of taps, anywhere: weights stay in registers.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn five(&self, run: &mut Run<'_, Int8>, weight: &[Weights; 5]) {
        let weight = weight.map(|weights| load_i8x16_as_i16(&weights));
        let (&[p, q, r, s, t], _) = run.offsets.as_chunks() else { return };
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<LANES>(row, self.channel) {
                let window = &run.x[start..][..self.last];
                // SAFETY: the window has eight channels at each tap.
                let x = [p, q, r, s, t].map(|[a, b]| unsafe { pair(window, a, b) });
                let sums = self.sum(&[0, 1, 2, 3, 4].map(|i| (x[i], weight[i])));
                store_i8(&mut run.y[stored], self.requantize(sums, sums));
            }
        }
    }

    /// Any kernel: all taps of each pixel.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn each(&self, run: &mut Run<'_, Int8>, weight: &[Weights]) {
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<LANES>(row, self.channel) {
                let window = &run.x[start..][..self.last];
                let mut sums = self.bias;
                for (weights, &[a, b]) in weight.iter().zip(run.offsets.as_chunks().0) {
                    // SAFETY: the window has eight channels at each tap.
                    let x = unsafe { pair(window, a, b) };
                    let products = _mm256_madd_epi16(x, load_i8x16_as_i16(weights));
                    sums = _mm256_add_epi32(sums, products);
                }
                store_i8(&mut run.y[stored], self.requantize(sums, sums));
            }
        }
    }

    /// The bias and the products of pairs with their weights.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sum(&self, pairs: &[(__m256i, __m256i); 5]) -> __m256i {
        let mut sums = self.bias;
        for (x, weights) in pairs {
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(*x, *weights));
        }
        sums
    }

    /// Eight outputs and eight more.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn requantize(&self, first: __m256i, second: __m256i) -> __m128i {
        let sums = [first, second, first, second];
        _mm256_castsi256_si128(self.requantizer.apply(sums, [self.multiplier; 4]))
    }
}

/// Two taps of eight channels, those of a channel side by side, as i16.
///
/// # Safety
///
/// Both lie in `window`, each with eight channels.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pair(window: &[i8], first: usize, second: usize) -> __m256i {
    debug_assert!(first.max(second) + LANES <= window.len(), "pair: {first} and {second}");
    // SAFETY: the caller's.
    let first = unsafe { window.as_ptr().add(first) };
    // SAFETY: the caller's.
    let second = unsafe { window.as_ptr().add(second) };
    // SAFETY: eight bytes lie in the window, and the load needs no alignment.
    let first = unsafe { _mm_loadl_epi64(first.cast()) };
    // SAFETY: as above.
    let second = unsafe { _mm_loadl_epi64(second.cast()) };
    _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second))
}

#[target_feature(enable = "avx2,fma")]
fn float(run: &mut Run<'_, Float>) {
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let (lo, hi) = run.epilogue.range;
    let (lo, hi) = (_mm256_set1_ps(lo), _mm256_set1_ps(hi));
    for (block, taps) in weight.chunks_exact(run.offsets.len()).enumerate() {
        let channel = block * BLOCK;
        let (bias, _) = run.epilogue.bias[channel..][..BLOCK].as_chunks();
        let bias = [load_f32x8(&bias[0]), load_f32x8(&bias[1])];
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, channel) {
                let mut sums = bias;
                for (weights, offset) in taps.iter().zip(run.offsets) {
                    let x = run.load::<BLOCK>(start + offset);
                    let ((x, _), (weights, _)) = (x.as_chunks(), weights.as_chunks());
                    for v in 0..2 {
                        sums[v] =
                            _mm256_fmadd_ps(load_f32x8(&x[v]), load_f32x8(&weights[v]), sums[v]);
                    }
                }
                // NaN in the second operand comes through.
                let clamped = sums.map(|sum| _mm256_min_ps(hi, _mm256_max_ps(lo, sum)));
                store_f32(&mut run.y[stored], clamped);
            }
        }
    }
}
