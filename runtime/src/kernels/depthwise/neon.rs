//! Depthwise sums for NEON: int8 by pairs of taps in i16, f32 by fused multiply-add.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of taps, checked once a window")]

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
pub(super) type Sums = [int32x4_t; 4];

/// A block of channels with its constants.
struct Block {
    channel: usize,
    bias: Sums,
    requantizer: Requantizer<4>,
}

#[target_feature(enable = "neon")]
fn int8(run: &mut Run<'_, Int8>) {
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    for (i, weight) in weight.chunks_exact(run.offsets.len()).enumerate() {
        let channel = i * BLOCK;
        let (bias, _) = run.epilogue.bias[channel..][..BLOCK].as_chunks();
        let bias = [0, 1, 2, 3].map(|v| load_i32x4(&bias[v]));
        let block = Block { channel, bias, requantizer: Requantizer::new(run.epilogue, channel) };
        match (run.offsets.first_chunk(), weight.as_chunks()) {
            (Some(taps), ([weight], [])) => block.nine(run, &Taps::new(*taps), weight),
            _ => block.any(run, weight),
        }
    }
}

impl Block {
    /// 3×3 kernels, their weights in registers.
    #[inline]
    #[target_feature(enable = "neon")]
    fn nine(&self, run: &mut Run<'_, Int8>, taps: &Taps<9>, weight: &[[i8; BLOCK]; 9]) {
        let mut w = [vdupq_n_s8(0); 9];
        for (w, weight) in w.iter_mut().zip(weight) {
            *w = load_i8x16(weight);
        }
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, self.channel) {
                let x = taps.load(run.x, start);
                let mut sums = add_two(self.bias, [x[0], x[1]], [w[0], w[1]]);
                sums = add_two(sums, [x[2], x[3]], [w[2], w[3]]);
                sums = add_two(sums, [x[4], x[5]], [w[4], w[5]]);
                sums = add_two(sums, [x[6], x[7]], [w[6], w[7]]);
                sums = add_one(sums, x[8], w[8]);
                store_i8(&mut run.y[stored], self.requantizer.apply(sums));
            }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn any(&self, run: &mut Run<'_, Int8>, weight: &[[i8; BLOCK]]) {
        let (pairs, last) = run.offsets.as_chunks::<2>();
        let (weight, last_weight) = weight.as_chunks::<2>();
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, self.channel) {
                let mut sums = self.bias;
                for ([v, w], [a, b]) in weight.iter().zip(pairs) {
                    let a = load_i8x16(run.load(start + a));
                    let b = load_i8x16(run.load(start + b));
                    sums = add_two(sums, [a, b], [load_i8x16(v), load_i8x16(w)]);
                }
                for (w, a) in last_weight.iter().zip(last) {
                    sums = add_one(sums, load_i8x16(run.load(start + a)), load_i8x16(w));
                }
                store_i8(&mut run.y[stored], self.requantizer.apply(sums));
            }
        }
    }
}

/// Where the taps of a window lie from its beginning, and the last of these places.
pub(super) struct Taps<const T: usize> {
    at: [usize; T],
    last: usize,
}

impl<const T: usize> Taps<T> {
    pub(super) fn new(at: [usize; T]) -> Self {
        Self { at, last: at.iter().fold(0, |last, &at| last.max(at)) }
    }

    /// A block of inputs at each tap of the window at `start`, checked once for all of them.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn load(&self, x: &[i8], start: usize) -> [int8x16_t; T] {
        let window = &x[start..][..self.last + BLOCK];
        let mut blocks = [vdupq_n_s8(0); T];
        for (block, &at) in blocks.iter_mut().zip(&self.at) {
            // SAFETY: `at` is not above `last`, where the window has a block.
            let first = unsafe { window.as_ptr().add(at) };
            // SAFETY: the 16 bytes of the block lie in the window; no alignment is needed.
            *block = unsafe { vld1q_s8(first) };
        }
        blocks
    }
}

/// Adds the products of two taps: two of at most 128 · 127 fit an i16, as weights are never -128.
#[inline]
#[target_feature(enable = "neon")]
fn add_two(sums: Sums, x: [int8x16_t; 2], w: [int8x16_t; 2]) -> Sums {
    let low = vmull_s8(vget_low_s8(x[0]), vget_low_s8(w[0]));
    let high = vmull_high_s8(x[0], w[0]);
    let low = vmlal_s8(low, vget_low_s8(x[1]), vget_low_s8(w[1]));
    add(sums, [low, vmlal_high_s8(high, x[1], w[1])])
}

/// Adds the products of one tap.
#[inline]
#[target_feature(enable = "neon")]
fn add_one(sums: Sums, x: int8x16_t, w: int8x16_t) -> Sums {
    add(sums, [vmull_s8(vget_low_s8(x), vget_low_s8(w)), vmull_high_s8(x, w)])
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
        for row in 0..run.rows {
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
