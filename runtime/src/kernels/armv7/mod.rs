//! What the kernels for 32-bit ARM share: whether the CPU has NEON, and the requantizing epilogue.
//!
//! Intrinsics and the target feature are not stable there, so that kernels are naked functions with
//! their own `.fpu`: they assemble for any 32-bit ARM Linux, and the CPU is asked when one is made.
#![expect(unsafe_code, reason = "functions in assembly")]

use core::arch::naked_asm;

use crate::kernels::gemm::int8::Requantize;
use crate::quant::ROUNDING;

/// Channels that the epilogue takes at a time.
pub(crate) const LANES: usize = 8;

/// Whether the kernel reports NEON to this process.
pub(crate) fn has_neon() -> bool {
    // Linux, include/uapi/linux/auxvec.h and arch/arm/include/uapi/asm/hwcap.h.
    const AT_HWCAP: usize = 16;
    const HWCAP_NEON: usize = 1 << 12;
    cfg!(target_endian = "little") && getauxval(AT_HWCAP) & HWCAP_NEON != 0
}

// SAFETY: as in the C library that `std` links: `unsigned long getauxval(unsigned long)`, which
// only reads what the process was started with.
unsafe extern "C" {
    safe fn getauxval(kind: usize) -> usize;
}

/// The epilogue's constants for all channels of an output.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Requantizer {
    lo: f32,
    hi: f32,
    /// Added to round.
    rounding: f32,
    zero_point: i32,
}

/// What [`requantize`] reads and writes: `groups` of [`LANES`] sums.
#[repr(C)]
struct Groups {
    sums: *const i32,
    multiplier: *const f32,
    /// Bytes from a group's multipliers to the next one's: none where all are the same channels.
    multiplier_step: usize,
    count: usize,
    y: *mut i8,
    constants: Requantizer,
}

impl Requantizer {
    pub(crate) fn new(epilogue: &Requantize) -> Self {
        let (lo, hi) = epilogue.output.bounds();
        Self { lo, hi, rounding: ROUNDING, zero_point: epilogue.output.zero_point.into() }
    }

    /// [`requantize`](crate::quant::requantize) of `[pixels, V, LANES]` sums; `multiplier` is that
    /// of the `V · LANES` channels.
    ///
    /// # Safety
    ///
    /// The CPU has NEON.
    pub(crate) unsafe fn apply<const P: usize, const V: usize>(
        self,
        sums: &[[[i32; LANES]; V]; P],
        multiplier: &[f32],
        y: &mut [[[i8; LANES]; V]; P],
    ) {
        const { assert!(P == 1 || V == 1, "multipliers either stay or go on") };
        assert!(multiplier.len() >= V * LANES, "requantize: too few multipliers");
        let mut groups = Groups {
            sums: sums.as_ptr().cast(),
            multiplier: multiplier.as_ptr(),
            multiplier_step: if V == 1 { 0 } else { size_of::<[f32; LANES]>() },
            count: P * V,
            y: y.as_mut_ptr().cast(),
            constants: self,
        };
        // SAFETY: the CPU has NEON; sums and y are of `P · V` groups, and there are multipliers
        // for one group where these stay, for `V` where they go on.
        unsafe { requantize(&raw mut groups) }
    }
}

/// `requantize` of the contract, step by step, for eight sums at a time.
///
/// NEON flushes denormal numbers to zero here. Only a product of less than 2⁻¹²⁶ in size can be one
/// (sums are integers, and a multiplier that small gives no larger product): the clamp, whose bounds
/// are integers, and the rounding make the same of it as of zero. [`ROUNDING`] is added to
/// round; the low 16 bits of what comes out are the integer.
///
/// # Safety
///
/// The CPU has NEON, and the pointers lead to what [`Groups`] says.
#[unsafe(naked)]
unsafe extern "C" fn requantize(groups: *mut Groups) {
    naked_asm!(
        ".fpu neon",
        "push {{r4-r9, lr}}",
        "ldm r0, {{r1-r9}}",
        "vdup.32 q12, r6", // lo
        "vdup.32 q13, r7", // hi
        "vdup.32 q14, r8", // 1.5 · 2²³
        "vdup.16 q15, r9", // zero point
        "2:",
        "vld1.32 {{d0-d3}}, [r1]!",    // sums
        "vld1.32 {{d4-d7}}, [r2], r3", // multipliers
        "vcvt.f32.s32 q0, q0",
        "vcvt.f32.s32 q1, q1",
        "vmul.f32 q0, q0, q2",
        "vmul.f32 q1, q1, q3",
        "vcgt.f32 q8, q0, q12", // lo unless larger, also for NaN
        "vcgt.f32 q9, q1, q12",
        "vbif q0, q12, q8",
        "vbif q1, q12, q9",
        "vmin.f32 q0, q0, q13",
        "vmin.f32 q1, q1, q13",
        "vadd.f32 q0, q0, q14",
        "vadd.f32 q1, q1, q14",
        "vmovn.i32 d0, q0",
        "vmovn.i32 d1, q1",
        "vadd.i16 q0, q0, q15",
        "vmovn.i16 d0, q0",
        "vst1.8 {{d0}}, [r5]!",
        "subs r4, r4, #1",
        "bne 2b",
        "pop {{r4-r9, pc}}",
    )
}
