//! Loads, stores and the requantizing epilogue of the AVX-512 kernels.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "loads and stores of vectors through references of their size")]

use core::arch::x86_64::*;

use super::avx2::{load_f32x8, load_i8x32, load_i32x8};
use crate::quant::Output;

/// Channels in a vector of sums.
pub(crate) const LANES: usize = 16;

/// The same constants, which the compiler then reads where they are used.
///
/// It would take all that do not change into registers before a loop, and there save others to
/// memory and back each time.
#[inline(always)]
pub(crate) fn in_memory<T>(constants: &T) -> &T {
    let mut place = core::ptr::from_ref(constants);
    // SAFETY: no instruction at all, which changes nothing.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) place, options(readonly, nostack, preserves_flags));
    }
    // SAFETY: still where the reference pointed to.
    unsafe { &*place }
}

/// Sixty-four int8.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_i8x64(values: &[i8; 64]) -> __m512i {
    // SAFETY: the reference covers exactly the 64 bytes read, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

/// Sixteen i32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_i32x16(values: &[i32; 16]) -> __m512i {
    // SAFETY: the reference covers exactly the 64 bytes read, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

/// Sixteen f32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_f32x16(values: &[f32; 16]) -> __m512 {
    // SAFETY: the reference covers exactly the 64 bytes read, and the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Thirty-two int8 in each half of a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_i8x32_twice(values: &[i8; 32]) -> __m512i {
    _mm512_broadcast_i64x4(load_i8x32(values))
}

/// Eight i32 in each half of a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_i32x8_twice(values: &[i32; 8]) -> __m512i {
    _mm512_broadcast_i64x4(load_i32x8(values))
}

/// Eight f32 in each half of a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_f32x8_twice(values: &[f32; 8]) -> __m512 {
    _mm512_castsi512_ps(_mm512_broadcast_i64x4(_mm256_castps_si256(load_f32x8(values))))
}

/// Quarter `q` of vector `v` becomes quarter `v` of vector `q`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) =
        (_mm512_shuffle_i32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b));
    let (cd_low, cd_high) =
        (_mm512_shuffle_i32x4::<0b01_00_01_00>(c, d), _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d));
    [
        _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_high, cd_high),
    ]
}

/// Stores the first `y.len()` of 16 f32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_f32x16(y: &mut [f32], values: __m512) {
    if let Ok(y) = <&mut [f32; 16]>::try_from(&mut *y) {
        // SAFETY: the reference covers exactly the 64 bytes written; no alignment is needed.
        unsafe { _mm512_storeu_ps(y.as_mut_ptr(), values) };
    } else {
        store_some_f32(y, values);
    }
}

/// Stores the first `y.len()` of 15 f32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_some_f32(y: &mut [f32], values: __m512) {
    let mask = ((1_u32 << y.len().min(15)) - 1) as u16;
    // SAFETY: only the first `y.len()` elements, at most 15, are written.
    unsafe { _mm512_mask_storeu_ps(y.as_mut_ptr(), mask, values) };
}

/// Stores 64 int8.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_i8x64_all(y: &mut [i8; 64], values: __m512i) {
    // SAFETY: the reference covers exactly the 64 bytes written; no alignment is needed.
    unsafe { _mm512_storeu_si512(y.as_mut_ptr().cast(), values) };
}

/// Stores the first `y.len()` of 64 int8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn store_i8x64(y: &mut [i8], values: __m512i) {
    if let Ok(y) = <&mut [i8; 64]>::try_from(&mut *y) {
        store_i8x64_all(y, values);
    } else {
        store_some(y, values);
    }
}

/// Stores the first `y.len()` of 32 int8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn store_i8x32(y: &mut [i8], values: __m256i) {
    if let Ok(y) = <&mut [i8; 32]>::try_from(&mut *y) {
        // SAFETY: the reference covers exactly the 32 bytes written; no alignment is needed.
        unsafe { _mm256_storeu_si256(y.as_mut_ptr().cast(), values) };
    } else {
        store_some(y, _mm512_castsi256_si512(values));
    }
}

/// Stores the first `y.len()` of 16 int8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn store_i8x16(y: &mut [i8], values: __m128i) {
    if let Ok(y) = <&mut [i8; 16]>::try_from(&mut *y) {
        // SAFETY: the reference covers exactly the 16 bytes written; no alignment is needed.
        unsafe { _mm_storeu_si128(y.as_mut_ptr().cast(), values) };
    } else {
        store_some(y, _mm512_castsi128_si512(values));
    }
}

/// Stores the first `y.len()` of 64 int8; apart, so that loops around full stores stay small
/// enough for the compiler to unroll.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_some(y: &mut [i8], values: __m512i) {
    let mut all = [0; 64];
    store_i8x64_all(&mut all, values);
    y.copy_from_slice(&all[..y.len()]);
}

/// The epilogue for four vectors of sums, its constants in registers.
#[derive(Clone, Copy)]
pub(crate) struct Requantizer {
    /// Whether the zero point is the lowest value, as with a ReLU: then steps are the output, as
    /// unsigned bytes, and packing them is their lower bound.
    unsigned: bool,
    zero_point: __m512i,
    /// The clamp of the int8 stored.
    bounds: (__m512i, __m512i),
    /// Undoes what packing by quarters of vectors does to the order.
    order: __m512i,
}

impl Requantizer {
    /// The constants that all channels share.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn new(output: Output) -> Self {
        Self {
            unsigned: Self::unsigned(output),
            zero_point: _mm512_set1_epi16(i16::from(output.zero_point)),
            bounds: (_mm512_set1_epi8(output.lo), _mm512_set1_epi8(output.hi)),
            order: _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        }
    }

    /// [`requantize`](crate::quant::requantize) of four vectors.
    ///
    /// Vector `v` becomes the bytes `16 · v..16 · v + 16`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn apply(&self, sums: [__m512i; 4], multipliers: [__m512; 4]) -> __m512i {
        let steps = [
            round(sums[0], multipliers[0]),
            round(sums[1], multipliers[1]),
            round(sums[2], multipliers[2]),
            round(sums[3], multipliers[3]),
        ];
        _mm512_permutexvar_epi32(self.order, self.pack(steps))
    }

    /// As [`apply`](Self::apply); element `4 · q + i` of vector `v` becomes byte
    /// `16 · q + 4 · v + i`. `vcvtps2dq` rounds ties to even.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn apply_in_quarters(
        &self,
        sums: [__m512i; 4],
        multipliers: [__m512; 4],
    ) -> __m512i {
        let steps = [
            round(sums[0], multipliers[0]),
            round(sums[1], multipliers[1]),
            round(sums[2], multipliers[2]),
            round(sums[3], multipliers[3]),
        ];
        if self.unsigned { self.pack_unsigned(steps) } else { self.pack(steps) }
    }

    /// As [`apply`](Self::apply) where [`unsigned`](Self::unsigned) is true, in fewer operations.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn apply_unsigned(&self, sums: [__m512i; 4], multipliers: [__m512; 4]) -> __m512i {
        let steps = [
            round(sums[0], multipliers[0]),
            round(sums[1], multipliers[1]),
            round(sums[2], multipliers[2]),
            round(sums[3], multipliers[3]),
        ];
        _mm512_permutexvar_epi32(self.order, self.pack_unsigned(steps))
    }

    /// Whether [`apply_unsigned`](Self::apply_unsigned) may be used.
    pub(crate) fn unsigned(output: Output) -> bool {
        output.zero_point == i8::MIN && output.lo == i8::MIN
    }

    /// Real numbers of steps of the output, far within i32, to int8, one vector after another.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn finish(&self, steps: [__m512; 4]) -> __m512i {
        let [a, b, c, d] = steps;
        let steps = [
            _mm512_cvtps_epi32(a),
            _mm512_cvtps_epi32(b),
            _mm512_cvtps_epi32(c),
            _mm512_cvtps_epi32(d),
        ];
        _mm512_permutexvar_epi32(self.order, self.pack(steps))
    }

    /// Packs to unsigned bytes, which is the lower bound, and adds the zero point: a flipped sign.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn pack_unsigned(&self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        let (low, high) = (_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
        let (lo, hi) = self.bounds;
        _mm512_min_epi8(_mm512_xor_si512(_mm512_packus_epi16(low, high), lo), hi)
    }

    /// Adds the zero point to rounded steps and clamps.
    ///
    /// Clamped last, which gives the same as first: no conversion before it overflows
    /// (`Rows::isa`), every step of it saturates, rounding is monotone and the bounds are integers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn pack(&self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        let low = _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero_point);
        let high = _mm512_adds_epi16(_mm512_packs_epi32(c, d), self.zero_point);
        let (lo, hi) = self.bounds;
        _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(low, high), lo), hi)
    }
}

/// Sums in steps of the output, rounded, ties to even.
#[inline]
#[target_feature(enable = "avx512f")]
fn round(sums: __m512i, multipliers: __m512) -> __m512i {
    _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), multipliers))
}
