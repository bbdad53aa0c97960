//! The int8 tile for AArch64 with `smmla`: two pixels by two channels by eight products.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "inline assembly of one instruction")]

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::{Operands, Tile};
use super::Int8;
use crate::kernels::aarch64::neon::{Requantizer, load_i8x8, load_i8x16, load_i32x4, store_i8};

const NR: usize = 16;
/// Neighbours along k in half a vector.
const GROUP: usize = 8;

/// Up to three pairs of pixels by eight of channels: 24 vectors of sums, of 32 registers.
pub(super) const TILE: Tile<Int8> =
    Tile { nr: NR, lanes: NR / 2, k_group: GROUP, encode: None, run };

/// Sums of two pixels by four channels: `[first · 0, first · 1, second · 0, second · 1]`, then the
/// same of channels 2 and 3.
type Sums = [int32x4_t; 2];

#[target_feature(enable = "neon,i8mm")]
fn run(operands: &mut Operands<'_, Int8>) {
    if operands.cols > NR / 2 { columns::<4>(operands) } else { columns::<2>(operands) }
}

/// All pixels by `V` vectors of four channels, in tiles as even as can be.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn columns<const V: usize>(operands: &mut Operands<'_, Int8>) {
    let requantizer = Requantizer::new(operands.epilogue, operands.channel);
    let pixels = operands.left.pixels;
    let pairs = pixels.len().div_ceil(2);
    // A last pixel without a neighbour is its own.
    let pair = |i: usize| [pixels[2 * i], pixels[(2 * i + 1).min(pixels.len() - 1)]];
    let mut first = 0;
    for left in (1..=pairs.div_ceil(3)).rev() {
        let count = (pairs - first).div_ceil(left);
        match count {
            1 => tile::<1, V>(operands, [pair(first)], first, &requantizer),
            2 => tile::<2, V>(operands, [0, 1].map(|i| pair(first + i)), first, &requantizer),
            3 => tile::<3, V>(operands, [0, 1, 2].map(|i| pair(first + i)), first, &requantizer),
            _ => unreachable!("tiles have 1 to 3 pairs of pixels"),
        }
        first += count;
    }
}

/// The pairs of pixels from the `first` on.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn tile<const P: usize, const V: usize>(
    operands: &mut Operands<'_, Int8>,
    pairs: [[usize; 2]; P],
    first: usize,
    requantizer: &Requantizer<V>,
) {
    let (right, _) = operands.right.as_chunks::<{ 2 * GROUP }>();
    let (right, _) = right.as_chunks::<2>();
    let (right, _) = right.as_chunks::<V>();
    let (bias, _) = operands.epilogue.bias[operands.channel..][..4 * V].as_chunks::<4>();
    let mut acc: [[Sums; V]; P] = [[[vdupq_n_s32(0); 2]; V]; P];
    for sums in &mut acc {
        for v in 0..V {
            let bias = load_i32x4(&bias[v]);
            sums[v] = halves(bias, bias);
        }
    }
    let steps = operands.segment / GROUP;
    let mut x = [vdupq_n_s8(0); P];
    for (offset, weights) in operands.left.segments.iter().zip(right.chunks_exact(steps)) {
        // Loops, because closures with these features were not inlined.
        let mut left: [[&[[i8; GROUP]]; 2]; P] = [[&[]; 2]; P];
        for p in 0..P {
            let [a, b] = operands.segments(&pairs[p], *offset);
            left[p] = [&a.as_chunks().0[..steps], &b.as_chunks().0[..steps]];
        }
        for (step, weights) in weights.iter().enumerate() {
            for p in 0..P {
                let [a, b] = left[p];
                x[p] = vcombine_s8(load_i8x8(&a[step]), load_i8x8(&b[step]));
            }
            for v in 0..V {
                for half in 0..2 {
                    let weights = load_i8x16(&weights[v][half]);
                    for p in 0..P {
                        acc[p][v][half] = multiply(acc[p][v][half], x[p], weights);
                    }
                }
            }
        }
    }
    let last = operands.left.pixels.len() - 1;
    for (p, sums) in acc.iter().enumerate() {
        let row = 2 * (first + p);
        let mut rows = [[vdupq_n_s32(0); V]; 2];
        for v in 0..V {
            [rows[0][v], rows[1][v]] = halves(sums[v][0], sums[v][1]);
        }
        store_i8(operands.y_row(row), requantizer.apply(rows[0]));
        if row < last {
            store_i8(operands.y_row(row + 1), requantizer.apply(rows[1]));
        }
    }
}

/// `[[a0, a1, b0, b1], [a2, a3, b2, b3]]`.
#[inline]
#[target_feature(enable = "neon")]
fn halves(a: int32x4_t, b: int32x4_t) -> [int32x4_t; 2] {
    let (a, b) = (vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b));
    [vreinterpretq_s32_s64(vzip1q_s64(a, b)), vreinterpretq_s32_s64(vzip2q_s64(a, b))]
}

/// Adds the product of two pixels (rows of eight) and two channels (columns of eight).
///
/// `vmmlaq_s32`, which is not stable.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn multiply(mut sums: int32x4_t, x: int8x16_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: the function's features include the instruction, which reads and writes the named
    // registers alone.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {x:v}.16b, {weights:v}.16b",
            sums = inout(vreg) sums,
            x = in(vreg) x,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
