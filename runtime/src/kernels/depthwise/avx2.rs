//! Depthwise sums for AVX2: int8 by pairs of taps with `vpmaddwd`, f32 by fused multiply-add.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use super::{Kernel, Run};
use crate::kernels::gemm::float::Float;
use crate::kernels::gemm::int8::Int8;
use crate::kernels::x86::avx2::{
    Requantizer, load_f32x8, load_i8x16, load_i8x16_as_i16, load_i32x8, store_f32, store_i8,
};

/// Channels in a block.
const BLOCK: usize = 16;

pub(super) const INT8: Kernel<Int8> =
    Kernel { block: BLOCK, tap_group: 2, by_rows: false, lane: |channel| channel, run: int8 };
pub(super) const FLOAT: Kernel<Float> =
    Kernel { block: BLOCK, tap_group: 1, by_rows: false, lane: |channel| channel, run: float };

#[target_feature(enable = "avx2")]
fn int8(run: &mut Run<'_, Int8>) {
    let (pairs, _) = run.offsets.as_chunks::<2>();
    let (weight, _) = run.weight.as_chunks::<{ 2 * BLOCK }>();
    for (block, weight) in weight.chunks_exact(pairs.len()).enumerate() {
        let channel = block * BLOCK;
        let requantizer = Requantizer::new(run.epilogue, channel);
        let (bias, _) = run.epilogue.bias[channel..][..BLOCK].as_chunks();
        let bias = [load_i32x8(&bias[0]), load_i32x8(&bias[1])];
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, channel) {
                let mut sums = bias;
                for (weights, [first, second]) in weight.iter().zip(pairs) {
                    let (weights, _) = weights.as_chunks();
                    let first = load_i8x16(run.load(start + first));
                    let second = load_i8x16(run.load(start + second));
                    // Interleaved before widening, so that channels stay in their order.
                    let low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second));
                    let high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second));
                    for (v, x) in [low, high].into_iter().enumerate() {
                        let products = _mm256_madd_epi16(x, load_i8x16_as_i16(&weights[v]));
                        sums[v] = _mm256_add_epi32(sums[v], products);
                    }
                }
                store_i8(&mut run.y[stored], requantizer.apply(sums));
            }
        }
    }
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
