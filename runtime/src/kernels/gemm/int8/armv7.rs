//! The int8 tile for 32-bit ARM with NEON: `vmull.s8` and `vmlal.s8` of two pairs of neighbours,
//! added by `vpadal.s16`.
//!
//! Two products of at most 128 · 127 fit an i16, so that nothing wraps: weights are never -128.
#![expect(unsafe_code, reason = "functions in assembly")]

use core::arch::naked_asm;

use super::super::{Operands, Tile};
use super::Int8;
use crate::kernels::armv7::{LANES, Requantizer};

const MR: usize = 4;
/// Neighbours along k in a lane.
const GROUP: usize = 2;

/// Four pixels by eight channels: eight sums, two weights, two inputs, four products.
pub(super) const TILE: Tile<Int8> =
    Tile { nr: LANES, lanes: LANES, k_group: GROUP, encode: None, run };

/// What [`dot_4`] and [`dot_1`] read and write: `R` pixels by a panel of [`LANES`] channels.
#[repr(C)]
struct Dot<const R: usize> {
    pixels: [*const i8; R],
    /// Where segments begin from the pixel on.
    segments: *const usize,
    count: usize,
    /// Elements of a segment, a multiple of [`GROUP`].
    segment: usize,
    right: *const i8,
    bias: *const i32,
    sums: *mut [i32; LANES],
}

/// # Safety
///
/// The CPU has NEON.
unsafe fn run(operands: &mut Operands<'_, Int8>) {
    let requantizer = Requantizer::new(operands.epilogue);
    let (fours, rest) = operands.left.pixels.as_chunks::<MR>();
    for (i, pixels) in fours.iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { tile(operands, pixels, MR * i, MR, requantizer, dot_4) };
    }
    let row = MR * fours.len();
    if let [pixel] = rest {
        // SAFETY: the caller's.
        unsafe { tile(operands, &[*pixel], row, 1, requantizer, dot_1) };
    } else if let [first, ..] = rest {
        let mut pixels = [*first; MR];
        pixels[..rest.len()].copy_from_slice(rest);
        // SAFETY: the caller's.
        unsafe { tile(operands, &pixels, row, rest.len(), requantizer, dot_4) };
    }
}

/// `R` pixels, of which the first `rows` are stored.
///
/// # Safety
///
/// The CPU has NEON.
unsafe fn tile<const R: usize>(
    operands: &mut Operands<'_, Int8>,
    pixels: &[usize; R],
    row: usize,
    rows: usize,
    requantizer: Requantizer,
    dot: unsafe extern "C" fn(&Dot<R>),
) {
    let Operands { left, segment, right, epilogue, channel, .. } = *operands;
    let (count, bias) = (left.segments.len(), &epilogue.bias[channel..][..LANES]);
    assert!(right.len() >= count * segment * LANES, "a panel is shorter than its sums");
    let mut sums = [[[0; LANES]; 1]; R];
    let mut y = [[[0; LANES]; 1]; R];
    let operation = Dot {
        pixels: operands.windows(*pixels).map(<[i8]>::as_ptr),
        segments: left.segments.as_ptr(),
        count,
        segment,
        right: right.as_ptr(),
        bias: bias.as_ptr(),
        sums: sums.as_mut_ptr().cast(),
    };
    // SAFETY: the CPU has NEON. Windows have all groups of all segments, the panel and the biases
    // were just measured, and there are sums for `R` pixels.
    unsafe { dot(&operation) };
    // SAFETY: the caller's.
    unsafe { requantizer.apply(&sums, &epilogue.multiplier[channel..], &mut y) };
    for (i, [values]) in y[..rows].iter().enumerate() {
        let y = operands.y_row(row + i);
        y.copy_from_slice(&values[..y.len()]);
    }
}

/// The sums of four pixels: two vectors each, in q8 to q15.
///
/// # Safety
///
/// The CPU has NEON, and the pointers lead to what [`Dot`] says.
#[unsafe(naked)]
unsafe extern "C" fn dot_4(operation: &Dot<4>) {
    naked_asm!(
        ".fpu neon",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "ldm r0, {{r1-r10}}",
        "vld1.32 {{d16-d19}}, [r9]", // bias
        "vmov q10, q8",
        "vmov q11, q9",
        "vmov q12, q8",
        "vmov q13, q9",
        "vmov q14, q8",
        "vmov q15, q9",
        "mov r9, #0", // how far inputs were read from the pixel on
        "2:",         // segments
        "ldr r11, [r5], #4",
        "sub r12, r11, r9",
        "add r1, r1, r12",
        "add r2, r2, r12",
        "add r3, r3, r12",
        "add r4, r4, r12",
        "add r9, r11, r7",
        "lsrs r12, r7, #2",
        "beq 4f",
        "3:", // four of a segment
        "vld1.8 {{d6-d9}}, [r8]!",
        "vld2.16 {{d2[], d3[]}}, [r1]!", // two pairs of a pixel, each in all lanes
        "vld2.16 {{d4[], d5[]}}, [r2]!",
        "vmull.s8 q0, d2, d6",
        "vmull.s8 q5, d2, d7",
        "vmull.s8 q6, d4, d6",
        "vmull.s8 q7, d4, d7",
        "vmlal.s8 q0, d3, d8",
        "vmlal.s8 q5, d3, d9",
        "vmlal.s8 q6, d5, d8",
        "vmlal.s8 q7, d5, d9",
        "vpadal.s16 q8, q0",
        "vpadal.s16 q9, q5",
        "vpadal.s16 q10, q6",
        "vpadal.s16 q11, q7",
        "vld2.16 {{d2[], d3[]}}, [r3]!",
        "vld2.16 {{d4[], d5[]}}, [r4]!",
        "vmull.s8 q0, d2, d6",
        "vmull.s8 q5, d2, d7",
        "vmull.s8 q6, d4, d6",
        "vmull.s8 q7, d4, d7",
        "vmlal.s8 q0, d3, d8",
        "vmlal.s8 q5, d3, d9",
        "vmlal.s8 q6, d5, d8",
        "vmlal.s8 q7, d5, d9",
        "vpadal.s16 q12, q0",
        "vpadal.s16 q13, q5",
        "vpadal.s16 q14, q6",
        "vpadal.s16 q15, q7",
        "subs r12, r12, #1",
        "bne 3b",
        "4:",
        "tst r7, #2",
        "beq 5f",
        "vld1.8 {{d6-d7}}, [r8]!", // the last two
        "vld1.16 {{d2[]}}, [r1]!",
        "vld1.16 {{d3[]}}, [r2]!",
        "vld1.16 {{d4[]}}, [r3]!",
        "vld1.16 {{d5[]}}, [r4]!",
        "vmull.s8 q0, d2, d6",
        "vmull.s8 q5, d2, d7",
        "vmull.s8 q6, d3, d6",
        "vmull.s8 q7, d3, d7",
        "vpadal.s16 q8, q0",
        "vpadal.s16 q9, q5",
        "vpadal.s16 q10, q6",
        "vpadal.s16 q11, q7",
        "vmull.s8 q0, d4, d6",
        "vmull.s8 q5, d4, d7",
        "vmull.s8 q6, d5, d6",
        "vmull.s8 q7, d5, d7",
        "vpadal.s16 q12, q0",
        "vpadal.s16 q13, q5",
        "vpadal.s16 q14, q6",
        "vpadal.s16 q15, q7",
        "5:",
        "subs r6, r6, #1",
        "bne 2b",
        "vst1.32 {{d16-d19}}, [r10]!",
        "vst1.32 {{d20-d23}}, [r10]!",
        "vst1.32 {{d24-d27}}, [r10]!",
        "vst1.32 {{d28-d31}}, [r10]",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
    )
}

/// The sums of one pixel in q8 and q9: linear layers, and what is left of images.
///
/// # Safety
///
/// The CPU has NEON, and the pointers lead to what [`Dot`] says.
#[unsafe(naked)]
unsafe extern "C" fn dot_1(operation: &Dot<1>) {
    naked_asm!(
        ".fpu neon",
        "push {{r4-r9, lr}}",
        "ldm r0, {{r1-r7}}",
        "vld1.32 {{d16-d19}}, [r6]", // bias
        "2:",                        // segments
        "ldr r8, [r2], #4",
        "add r8, r1, r8",
        "lsrs r12, r4, #2",
        "beq 4f",
        "3:", // four of a segment
        "vld2.16 {{d0[], d1[]}}, [r8]!",
        "vld1.8 {{d4-d7}}, [r5]!",
        "vmull.s8 q10, d0, d4",
        "vmull.s8 q11, d0, d5",
        "vmlal.s8 q10, d1, d6",
        "vmlal.s8 q11, d1, d7",
        "subs r12, r12, #1",
        "vpadal.s16 q8, q10",
        "vpadal.s16 q9, q11",
        "bne 3b",
        "4:",
        "tst r4, #2",
        "beq 5f",
        "vld1.16 {{d0[]}}, [r8]", // the last two
        "vld1.8 {{d4-d5}}, [r5]!",
        "vmull.s8 q10, d0, d4",
        "vmull.s8 q11, d0, d5",
        "vpadal.s16 q8, q10",
        "vpadal.s16 q9, q11",
        "5:",
        "subs r3, r3, #1",
        "bne 2b",
        "vst1.32 {{d16-d19}}, [r7]",
        "pop {{r4-r9, pc}}",
    )
}
