//! Depthwise sums in plain Rust, for the compiler to vectorize with the target's baseline.

use super::{Kernel, Run};
use crate::kernels::gemm::float::{Float, clamp};
use crate::kernels::gemm::int8::Int8;
use crate::quant::requantize;

/// Channels in a block.
const BLOCK: usize = 16;

pub(super) const INT8: Kernel<Int8> =
    Kernel { block: BLOCK, tap_group: 1, by_rows: false, lane: |channel| channel, run: int8 };
pub(super) const FLOAT: Kernel<Float> =
    Kernel { block: BLOCK, tap_group: 1, by_rows: false, lane: |channel| channel, run: float };

fn int8(run: &mut Run<'_, Int8>) {
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let epilogue = run.epilogue;
    for (block, taps) in weight.chunks_exact(run.offsets.len()).enumerate() {
        let channel = block * BLOCK;
        let multiplier = &epilogue.multiplier[channel..][..BLOCK];
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, channel) {
                let mut acc = [0_i32; BLOCK];
                acc.copy_from_slice(&epilogue.bias[channel..][..BLOCK]);
                for (weights, offset) in taps.iter().zip(run.offsets) {
                    for ((sum, &w), &x) in
                        acc.iter_mut().zip(weights).zip(run.load::<BLOCK>(start + offset))
                    {
                        *sum = sum.wrapping_add(i32::from(x) * i32::from(w));
                    }
                }
                for ((y, sum), &m) in run.y[stored].iter_mut().zip(acc).zip(multiplier) {
                    *y = requantize(sum, m, epilogue.output);
                }
            }
        }
    }
}

fn float(run: &mut Run<'_, Float>) {
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let epilogue = run.epilogue;
    for (block, taps) in weight.chunks_exact(run.offsets.len()).enumerate() {
        let channel = block * BLOCK;
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, channel) {
                let mut acc = [0.0_f32; BLOCK];
                acc.copy_from_slice(&epilogue.bias[channel..][..BLOCK]);
                for (weights, offset) in taps.iter().zip(run.offsets) {
                    for ((sum, &w), &x) in
                        acc.iter_mut().zip(weights).zip(run.load::<BLOCK>(start + offset))
                    {
                        *sum += x * w;
                    }
                }
                for (y, sum) in run.y[stored].iter_mut().zip(acc) {
                    *y = clamp(sum, epilogue.range);
                }
            }
        }
    }
}
