//! int8 depthwise sums for 32-bit ARM with NEON: by pairs of taps in 16 bits.
#![expect(unsafe_code, reason = "functions in assembly")]

use core::arch::naked_asm;

use super::{Kernel, Run};
use crate::kernels::armv7::{LANES, Requantizer};
use crate::kernels::gemm::int8::Int8;

/// Channels in a block.
const BLOCK: usize = 2 * LANES;

pub(super) const INT8: Kernel<Int8> =
    Kernel { block: BLOCK, tap_group: 1, by_rows: false, lane: |channel| channel, run };

/// What [`sums`] reads and writes: the taps of a pixel's block of channels.
#[repr(C)]
struct Window {
    x: *const i8,
    offsets: *const usize,
    taps: usize,
    weight: *const [i8; BLOCK],
    bias: *const i32,
    sums: *mut i32,
}

/// # Safety
///
/// The CPU has NEON.
unsafe fn run(run: &mut Run<'_, Int8>) {
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let (requantizer, taps) = (Requantizer::new(run.epilogue), run.offsets.len());
    let reach = run.offsets.iter().fold(0, |last, &at| last.max(at)) + BLOCK;
    for (block, weight) in weight.chunks_exact(taps).enumerate() {
        let channel = block * BLOCK;
        let bias = &run.epilogue.bias[channel..][..BLOCK];
        let multiplier = &run.epilogue.multiplier[channel..][..BLOCK];
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, channel) {
                let (mut acc, mut y) = ([[[0; LANES]; 2]], [[[0; LANES]; 2]]);
                let window = Window {
                    x: run.x[start..][..reach].as_ptr(),
                    offsets: run.offsets.as_ptr(),
                    taps,
                    weight: weight.as_ptr(),
                    bias: bias.as_ptr(),
                    sums: acc.as_mut_ptr().cast(),
                };
                // SAFETY: the CPU has NEON. The input has a block at the last tap, there are
                // weights for each tap, biases and sums for a block.
                unsafe { sums(&window) };
                // SAFETY: the caller's.
                unsafe { requantizer.apply(&acc, multiplier, &mut y) };
                let y = y.as_flattened().as_flattened();
                let stored = &mut run.y[stored];
                stored.copy_from_slice(&y[..stored.len()]);
            }
        }
    }
}

/// The sums of 16 channels in q8 to q11.
///
/// Two products of at most 128 · 127 fit an i16, so that nothing wraps: weights are never -128.
///
/// # Safety
///
/// The CPU has NEON, and the pointers lead to what [`Window`] says.
#[unsafe(naked)]
unsafe extern "C" fn sums(window: &Window) {
    naked_asm!(
        ".fpu neon",
        "push {{r4-r8, lr}}",
        "ldm r0, {{r1-r6}}",
        "vld1.32 {{d16-d19}}, [r5]!", // bias
        "vld1.32 {{d20-d23}}, [r5]",
        "lsrs r0, r3, #1",
        "beq 3f",
        "2:", // two taps
        "ldm r2!, {{r7, r8}}",
        "add r7, r1, r7",
        "add r8, r1, r8",
        "vld1.8 {{d0-d1}}, [r7]",
        "vld1.8 {{d2-d3}}, [r8]",
        "vld1.8 {{d4-d7}}, [r4]!",
        "vmull.s8 q12, d0, d4",
        "vmull.s8 q13, d1, d5",
        "vmlal.s8 q12, d2, d6",
        "vmlal.s8 q13, d3, d7",
        "subs r0, r0, #1",
        "vaddw.s16 q8, q8, d24",
        "vaddw.s16 q9, q9, d25",
        "vaddw.s16 q10, q10, d26",
        "vaddw.s16 q11, q11, d27",
        "bne 2b",
        "3:",
        "tst r3, #1",
        "beq 4f",
        "ldr r7, [r2]", // the last one
        "add r7, r1, r7",
        "vld1.8 {{d0-d1}}, [r7]",
        "vld1.8 {{d4-d5}}, [r4]",
        "vmull.s8 q12, d0, d4",
        "vmull.s8 q13, d1, d5",
        "vaddw.s16 q8, q8, d24",
        "vaddw.s16 q9, q9, d25",
        "vaddw.s16 q10, q10, d26",
        "vaddw.s16 q11, q11, d27",
        "4:",
        "vst1.32 {{d16-d19}}, [r6]!",
        "vst1.32 {{d20-d23}}, [r6]",
        "pop {{r4-r8, pc}}",
    )
}
