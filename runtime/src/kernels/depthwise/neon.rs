//! Depthwise sums for NEON: int8 by pairs of taps in i16, f32 by fused multiply-add.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::aarch64::*;

use super::{Kernel, Run};
use crate::kernels::aarch64::neon::{
    Requantizer, load_f32x4, load_i8x16, load_i32x4, store_f32, store_i8,
};
use crate::kernels::gemm::float::Float;
use crate::kernels::gemm::int8::Int8;

/// Channels in a block.
const BLOCK: usize = 16;

pub(super) const INT8: Kernel<Int8> =
    Kernel { block: BLOCK, tap_group: 1, by_rows: false, lane: |channel| channel, run: int8 };
pub(super) const FLOAT: Kernel<Float> =
    Kernel { block: BLOCK, tap_group: 1, by_rows: false, lane: |channel| channel, run: float };

/// Sums of a block.
type Sums = [int32x4_t; 4];

#[target_feature(enable = "neon")]
fn int8(run: &mut Run<'_, Int8>) {
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let (pairs, last) = run.offsets.as_chunks::<2>();
    for (block, weight) in weight.chunks_exact(run.offsets.len()).enumerate() {
        let channel = block * BLOCK;
        let requantizer = Requantizer::new(run.epilogue, channel);
        let (bias, _) = run.epilogue.bias[channel..][..BLOCK].as_chunks();
        let bias = [0, 1, 2, 3].map(|v| load_i32x4(&bias[v]));
        let (weight, last_weight) = weight.as_chunks::<2>();
        for row in run.rows() {
            for (start, stored) in run.pixels::<BLOCK>(row, channel) {
                let mut sums = bias;
                for (weights, offsets) in weight.iter().zip(pairs) {
                    let x = offsets.map(|offset| load_i8x16(run.load(start + offset)));
                    let weights = [load_i8x16(&weights[0]), load_i8x16(&weights[1])];
                    // Two products of at most 128 · 127 fit an i16: weights are never -128.
                    let low = vmull_s8(vget_low_s8(x[0]), vget_low_s8(weights[0]));
                    let low = vmlal_s8(low, vget_low_s8(x[1]), vget_low_s8(weights[1]));
                    let high = vmull_high_s8(x[0], weights[0]);
                    let high = vmlal_high_s8(high, x[1], weights[1]);
                    sums = add(sums, [low, high]);
                }
                for (weights, offset) in last_weight.iter().zip(last) {
                    let (x, weights) = (load_i8x16(run.load(start + offset)), load_i8x16(weights));
                    let low = vmull_s8(vget_low_s8(x), vget_low_s8(weights));
                    sums = add(sums, [low, vmull_high_s8(x, weights)]);
                }
                store_i8(&mut run.y[stored], requantizer.apply(sums));
            }
        }
    }
}

/// Adds the products of channels 0 to 7 and 8 to 15.
#[inline]
#[target_feature(enable = "neon")]
fn add([a, b, c, d]: Sums, [low, high]: [int16x8_t; 2]) -> Sums {
    [
        vaddw_s16(a, vget_low_s16(low)),
        vaddw_high_s16(b, low),
        vaddw_s16(c, vget_low_s16(high)),
        vaddw_high_s16(d, high),
    ]
}

#[target_feature(enable = "neon")]
fn float(run: &mut Run<'_, Float>) {
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let (lo, hi) = run.epilogue.range;
    let (lo, hi) = (vdupq_n_f32(lo), vdupq_n_f32(hi));
    for (block, taps) in weight.chunks_exact(run.offsets.len()).enumerate() {
        let channel = block * BLOCK;
        let (bias, _) = run.epilogue.bias[channel..][..BLOCK].as_chunks();
        let bias = [0, 1, 2, 3].map(|v| load_f32x4(&bias[v]));
        for row in run.rows() {
            for (start, stored) in run.pixels::<BLOCK>(row, channel) {
                let mut sums = bias;
                for (weights, offset) in taps.iter().zip(run.offsets) {
                    let x = run.load::<BLOCK>(start + offset);
                    let ((x, _), (weights, _)) = (x.as_chunks(), weights.as_chunks());
                    for v in 0..4 {
                        sums[v] = vfmaq_f32(sums[v], load_f32x4(&x[v]), load_f32x4(&weights[v]));
                    }
                }
                // `fmin` and `fmax` let NaN through.
                let clamped = sums.map(|sum| vminq_f32(vmaxq_f32(sum, lo), hi));
                store_f32(&mut run.y[stored], clamped);
            }
        }
    }
}
