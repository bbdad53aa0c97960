//! int8 depthwise sums for WebAssembly: by pairs of taps in i16.

use core::arch::wasm32::{
    i16x8_add, i16x8_extmul_high_i8x16, i16x8_extmul_low_i8x16, i32x4_add, i32x4_extend_high_i16x8,
    i32x4_extend_low_i16x8, v128,
};

use super::{Kernel, Run};
use crate::kernels::gemm::int8::Int8;
use crate::kernels::simd128::{Requantizer, load, store_i8};

/// Channels in a block.
const BLOCK: usize = 16;

pub(super) const INT8: Kernel<Int8> =
    Kernel { block: BLOCK, tap_group: 1, by_rows: false, lane: |channel| channel, run };

/// Sums of a block.
type Sums = [v128; BLOCK / 4];

fn run(run: &mut Run<'_, Int8>) {
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let (pairs, last) = run.offsets.as_chunks::<2>();
    for (i, weight) in weight.chunks_exact(run.offsets.len()).enumerate() {
        let channel = i * BLOCK;
        let (weight, last_weight) = weight.as_chunks::<2>();
        let requantizer = Requantizer::new(run.epilogue, channel);
        let (bias, _) = run.epilogue.bias[channel..][..BLOCK].as_chunks::<4>();
        let bias: Sums = [0, 1, 2, 3].map(|v| load(&bias[v]));
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, channel) {
                let mut sums = bias;
                for ([v, w], [a, b]) in weight.iter().zip(pairs) {
                    let first = products(run.load(start + a), v);
                    let second = products(run.load(start + b), w);
                    // Two of at most 128 · 127 fit an i16, as weights are never -128.
                    sums = add(sums, [0, 1].map(|v| i16x8_add(first[v], second[v])));
                }
                for (w, a) in last_weight.iter().zip(last) {
                    sums = add(sums, products(run.load(start + a), w));
                }
                store_i8(&mut run.y[stored], requantizer.apply(sums));
            }
        }
    }
}

/// The products of channels 0 to 7 and 8 to 15.
#[inline]
fn products(x: &[i8; BLOCK], w: &[i8; BLOCK]) -> [v128; 2] {
    let (x, w) = (load(x), load(w));
    [i16x8_extmul_low_i8x16(x, w), i16x8_extmul_high_i8x16(x, w)]
}

#[inline]
fn add(sums: Sums, [low, high]: [v128; 2]) -> Sums {
    [
        i32x4_add(sums[0], i32x4_extend_low_i16x8(low)),
        i32x4_add(sums[1], i32x4_extend_high_i16x8(low)),
        i32x4_add(sums[2], i32x4_extend_low_i16x8(high)),
        i32x4_add(sums[3], i32x4_extend_high_i16x8(high)),
    ]
}
