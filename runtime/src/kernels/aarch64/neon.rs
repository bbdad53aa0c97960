//! Loads, stores and the requantizing epilogue of the NEON kernels.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "loads and stores of vectors through references of their size")]

use core::arch::aarch64::*;

use crate::kernels::gemm::int8::Requantize;

/// Eight int8.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_i8x8(values: &[i8; 8]) -> int8x8_t {
    // SAFETY: the reference covers exactly the 8 bytes read, and the load needs no alignment.
    unsafe { vld1_s8(values.as_ptr()) }
}

/// Sixteen int8.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_i8x16(values: &[i8; 16]) -> int8x16_t {
    // SAFETY: the reference covers exactly the 16 bytes read, and the load needs no alignment.
    unsafe { vld1q_s8(values.as_ptr()) }
}

/// Four i32.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_i32x4(values: &[i32; 4]) -> int32x4_t {
    // SAFETY: the reference covers exactly the 16 bytes read.
    unsafe { vld1q_s32(values.as_ptr()) }
}

/// Four f32.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_f32x4(values: &[f32; 4]) -> float32x4_t {
    // SAFETY: the reference covers exactly the 16 bytes read.
    unsafe { vld1q_f32(values.as_ptr()) }
}

/// Stores the first `y.len()` of `4 · V` f32.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn store_f32<const V: usize>(y: &mut [f32], values: [float32x4_t; V]) {
    for (y, values) in y.chunks_mut(4).zip(values) {
        if let Ok(y) = <&mut [f32; 4]>::try_from(&mut *y) {
            // SAFETY: the reference covers exactly the 16 bytes written.
            unsafe { vst1q_f32(y.as_mut_ptr(), values) };
        } else {
            let mut all = [0.0; 4];
            store_f32(&mut all, [values]);
            y.copy_from_slice(&all[..y.len()]);
        }
    }
}

/// Stores the first `y.len()` of 16 int8.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn store_i8(y: &mut [i8], values: int8x16_t) {
    if let Ok(y) = <&mut [i8; 16]>::try_from(&mut *y) {
        // SAFETY: the reference covers exactly the 16 bytes written; no alignment is needed.
        unsafe { vst1q_s8(y.as_mut_ptr(), values) };
    } else if let Ok(y) = <&mut [i8; 8]>::try_from(&mut *y) {
        let values = vget_low_s8(values);
        // SAFETY: the reference covers exactly the 8 bytes written; no alignment is needed.
        unsafe { vst1_s8(y.as_mut_ptr(), values) };
    } else {
        store_some(y, values);
    }
}

/// Stores the first `y.len()` of 16 int8; apart, so that loops around full stores stay small.
#[inline(never)]
#[target_feature(enable = "neon")]
fn store_some(y: &mut [i8], values: int8x16_t) {
    let mut all = [0; 16];
    store_i8(&mut all, values);
    y.copy_from_slice(&all[..y.len()]);
}

/// The epilogue for `4 · V` neighbouring channels, 8 or 16, its constants in registers.
#[derive(Clone, Copy)]
pub(crate) struct Requantizer<const V: usize> {
    multiplier: [float32x4_t; V],
    lo: float32x4_t,
    hi: float32x4_t,
    zero_point: int16x8_t,
}

impl<const V: usize> Requantizer<V> {
    /// The constants of channels `channel..channel + 4 · V`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn new(epilogue: &Requantize, channel: usize) -> Self {
        const { assert!(V == 2 || V == 4, "8 or 16 channels") };
        let (lo, hi) = epilogue.output.bounds();
        let (multiplier, _) = epilogue.multiplier[channel..][..4 * V].as_chunks();
        Self {
            multiplier: core::array::from_fn(|v| load_f32x4(&multiplier[v])),
            lo: vdupq_n_f32(lo),
            hi: vdupq_n_f32(hi),
            zero_point: vdupq_n_s16(i16::from(epilogue.output.zero_point)),
        }
    }

    /// [`requantize`](crate::quant::requantize) of the sums; the upper half is zero for 8 channels.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn apply(&self, sums: [int32x4_t; V]) -> int8x16_t {
        let low = vqmovn_s16(self.eight(&sums, 0));
        if V == 2 {
            vcombine_s8(low, vdup_n_s8(0))
        } else {
            vqmovn_high_s16(low, self.eight(&sums, 2))
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn eight(&self, sums: &[int32x4_t; V], v: usize) -> int16x8_t {
        let low = vqmovn_s32(self.round(sums[v], v));
        let steps = vqmovn_high_s32(low, self.round(sums[v + 1], v + 1));
        vqaddq_s16(steps, self.zero_point)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn round(&self, sums: int32x4_t, v: usize) -> int32x4_t {
        let steps = vmulq_f32(vcvtq_f32_s32(sums), self.multiplier[v]);
        // `fmaxnm` gives `lo` for NaN, as `quant::clamp` does; `fcvtns` rounds ties to even.
        vcvtnq_s32_f32(vminnmq_f32(vmaxnmq_f32(steps, self.lo), self.hi))
    }
}
