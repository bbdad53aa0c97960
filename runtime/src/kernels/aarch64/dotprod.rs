//! `sdot`, four products of int8 added to each i32; its intrinsics are not stable.
#![expect(unsafe_code, reason = "inline assembly of one instruction each")]

use core::arch::aarch64::{int8x16_t, int32x4_t};
use core::arch::asm;

/// Adds to each lane the products of its four weights and the four inputs of the same places.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn dot(mut sums: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the function's features include the instruction, which reads and writes the named
    // registers alone.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds to each lane the products of its four weights and the `GROUP`th four inputs.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn dot_group<const GROUP: usize>(
    mut sums: int32x4_t,
    weights: int8x16_t,
    x: int8x16_t,
) -> int32x4_t {
    // SAFETY: the function's features include the instruction, which reads and writes the named
    // registers alone.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.4b[{group}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            group = const GROUP,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
