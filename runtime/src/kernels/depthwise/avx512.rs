//! Depthwise f32 sums for AVX-512: three kernel rows roll down a column of outputs.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of taps, checked once a column")]

use core::arch::x86_64::*;

use super::{Kernel, Run};
use crate::kernels::gemm::float::Float;
use crate::kernels::x86::avx512::{LANES, load_f32x16, store_f32x16};

pub(super) const FLOAT: Kernel<Float> =
    Kernel { block: LANES, tap_group: 1, by_rows: false, lane: |channel| channel, run };

/// A block of channels with what all its outputs share.
struct Block<'a> {
    channel: usize,
    weight: &'a [[f32; LANES]],
    bias: __m512,
    range: (__m512, __m512),
}

#[target_feature(enable = "avx512f")]
fn run(run: &mut Run<'_, Float>) {
    let (weight, _) = run.weight.as_chunks::<LANES>();
    let (bias, _) = run.epilogue.bias.as_chunks::<LANES>();
    let (lo, hi) = run.epilogue.range;
    let range = (_mm512_set1_ps(lo), _mm512_set1_ps(hi));
    let (taps, rest) = run.offsets.as_chunks::<3>();
    // Whether the second kernel row lies where the first of the next row of outputs does.
    let apart = |a: [usize; 3], b: [usize; 3]| (0..3).all(|i| a[i] + run.line == b[i]);
    let stride = match *taps {
        [a, b, c] if rest.is_empty() && apart(a, b) && apart(b, c) => 1,
        [a, _, c] if rest.is_empty() && apart(a, c) => 2,
        _ => 0,
    };
    for (i, weight) in weight.chunks_exact(run.offsets.len()).enumerate() {
        let block = Block { channel: i * LANES, weight, bias: load_f32x16(&bias[i]), range };
        match stride {
            1 => block.roll::<1>(run),
            2 => block.roll::<2>(run),
            _ => block.each(run),
        }
    }
}

impl Block<'_> {
    /// A 3×3 kernel, going down columns with the rows that were read.
    ///
    /// The inputs of output rows lie `STRIDE` kernel rows apart.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn roll<const STRIDE: usize>(&self, run: &mut Run<'_, Float>) {
        let Run { x, line, y_row, step, channels, .. } = *run;
        let (&[a, b, c], Some(weights)) = (run.offsets.as_chunks().0, self.weight.first_chunk())
        else {
            return;
        };
        let w = load_all::<9>(weights);
        let last = run.offsets.iter().max().map_or(0, |&last| last);
        let reach = (run.rows - 1) * line + last + LANES;
        for (pixel, at) in (self.channel..y_row).step_by(channels).enumerate() {
            let cols = LANES.min(channels - self.channel).min(y_row - at);
            let column = &x[pixel * step + self.channel..][..reach];
            // SAFETY: the column reaches to the last tap of the last row, here and below.
            let mut first = unsafe { taps(column, 0, a) };
            let mut second = first;
            if STRIDE == 1 {
                // SAFETY: as above.
                second = unsafe { taps(column, 0, b) };
            }
            let mut start = 0;
            for y in run.column(at) {
                if STRIDE == 2 {
                    // SAFETY: as above.
                    second = unsafe { taps(column, start, b) };
                }
                // SAFETY: as above.
                let third = unsafe { taps(column, start, c) };
                let mut sum = self.bias;
                for i in 0..3 {
                    sum = _mm512_fmadd_ps(first[i], w[i], sum);
                }
                for i in 0..3 {
                    sum = _mm512_fmadd_ps(second[i], w[3 + i], sum);
                }
                for i in 0..3 {
                    sum = _mm512_fmadd_ps(third[i], w[6 + i], sum);
                }
                store_f32x16(&mut run.y[y..y + cols], self.clamp(sum));
                (first, second) = if STRIDE == 1 { (second, third) } else { (third, third) };
                start += line;
            }
        }
    }

    /// Any kernel: all taps of each pixel.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn each(&self, run: &mut Run<'_, Float>) {
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<LANES>(row, self.channel) {
                let mut sum = self.bias;
                for (weights, offset) in self.weight.iter().zip(run.offsets) {
                    let x = load_f32x16(run.load(start + offset));
                    sum = _mm512_fmadd_ps(x, load_f32x16(weights), sum);
                }
                store_f32x16(&mut run.y[stored], self.clamp(sum));
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn clamp(&self, sum: __m512) -> __m512 {
        let (lo, hi) = self.range;
        // NaN in the second operand comes through.
        _mm512_min_ps(hi, _mm512_max_ps(lo, sum))
    }
}

/// `N` vectors of weights.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_all<const N: usize>(weights: &[[f32; LANES]; N]) -> [__m512; N] {
    let mut vectors = [_mm512_setzero_ps(); N];
    for (vector, weights) in vectors.iter_mut().zip(weights) {
        *vector = load_f32x16(weights);
    }
    vectors
}

/// Three inputs of a kernel row.
///
/// # Safety
///
/// A block at each offset from `start` lies in `x`. With checks here a layer took twice as long
/// (benches/networks.rs).
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn taps(x: &[f32], start: usize, offsets: [usize; 3]) -> [__m512; 3] {
    let mut vectors = [_mm512_setzero_ps(); 3];
    for (vector, offset) in vectors.iter_mut().zip(offsets) {
        let at = start + offset;
        debug_assert!(at + LANES <= x.len(), "taps: a block at {at} of {}", x.len());
        // SAFETY: the caller's.
        let first = unsafe { x.as_ptr().add(at) };
        // SAFETY: 64 bytes lie in `x`, and the load needs no alignment.
        *vector = unsafe { _mm512_loadu_ps(first) };
    }
    vectors
}
