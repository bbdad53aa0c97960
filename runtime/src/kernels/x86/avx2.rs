//! Loads, stores and the requantizing epilogue of the AVX2 kernels.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "loads and stores of vectors through references of their size")]

use core::arch::x86_64::*;

use crate::quant::Output;

/// Sixteen int8.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_i8x16(values: &[i8; 16]) -> __m128i {
    // SAFETY: the reference covers exactly the 16 bytes read, and the load needs no alignment.
    unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
}

/// Thirty-two int8.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_i8x32(values: &[i8; 32]) -> __m256i {
    // SAFETY: the reference covers exactly the 32 bytes read, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// Sixteen int8, widened.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_i8x16_as_i16(values: &[i8; 16]) -> __m256i {
    _mm256_cvtepi8_epi16(load_i8x16(values))
}

/// Eight i32.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_i32x8(values: &[i32; 8]) -> __m256i {
    // SAFETY: the reference covers exactly the 32 bytes read, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// Eight f32.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_f32x8(values: &[f32; 8]) -> __m256 {
    // SAFETY: the reference covers exactly the 32 bytes read, and the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// Stores the first `y.len()` of 16 f32.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_f32(y: &mut [f32], values: [__m256; 2]) {
    if let Ok(y) = <&mut [f32; 16]>::try_from(&mut *y) {
        let (low, high) = y.split_at_mut(8);
        // SAFETY: `low` is the first 8 of 16 f32, the store writes 8 and needs no alignment.
        unsafe { _mm256_storeu_ps(low.as_mut_ptr(), values[0]) };
        // SAFETY: `high` is the last 8 of 16 f32, the store writes 8 and needs no alignment.
        unsafe { _mm256_storeu_ps(high.as_mut_ptr(), values[1]) };
    } else {
        let mut all = [0.0; 16];
        store_f32(&mut all, values);
        y.copy_from_slice(&all[..y.len()]);
    }
}

/// Stores the first `y.len()` of 16 int8.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_i8(y: &mut [i8], values: __m128i) {
    if let Ok(y) = <&mut [i8; 16]>::try_from(&mut *y) {
        // SAFETY: the reference covers exactly the 16 bytes written; no alignment is needed.
        unsafe { _mm_storeu_si128(y.as_mut_ptr().cast(), values) };
    } else if let Ok(y) = <&mut [i8; 8]>::try_from(&mut *y) {
        // SAFETY: the reference covers exactly the 8 bytes written; no alignment is needed.
        unsafe { _mm_storeu_si64(y.as_mut_ptr().cast(), values) };
    } else {
        let mut all = [0; 16];
        store_i8(&mut all, values);
        y.copy_from_slice(&all[..y.len()]);
    }
}

/// Stores the first `y.len()` of 32 int8.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_i8x32(y: &mut [i8], values: __m256i) {
    if let Ok(y) = <&mut [i8; 32]>::try_from(&mut *y) {
        store_i8x32_all(y, values);
    } else {
        store_some(y, values);
    }
}

/// Stores 32 int8.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_i8x32_all(y: &mut [i8; 32], values: __m256i) {
    // SAFETY: the reference covers exactly the 32 bytes written; no alignment is needed.
    unsafe { _mm256_storeu_si256(y.as_mut_ptr().cast(), values) };
}

/// Stores the first `y.len()` of 32 int8; apart, so that loops around full stores stay small.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx2")]
fn store_some(y: &mut [i8], values: __m256i) {
    let mut all = [0; 32];
    store_i8x32_all(&mut all, values);
    y.copy_from_slice(&all[..y.len()]);
}

/// The epilogue for four vectors of sums, its constants in registers.
#[derive(Clone, Copy)]
pub(crate) struct Requantizer {
    /// The upper clamp before the zero point is added.
    hi: __m256,
    zero_point: __m256i,
    /// The lower clamp of the int8 stored.
    lo: __m256i,
    /// Undoes what packing by halves of vectors does to the order.
    order: __m256i,
}

impl Requantizer {
    /// The constants that all channels share.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(output: Output) -> Self {
        Self {
            hi: _mm256_set1_ps(output.bounds().1),
            zero_point: _mm256_set1_epi16(i16::from(output.zero_point)),
            lo: _mm256_set1_epi8(output.lo),
            order: _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7),
        }
    }

    /// [`requantize`](crate::quant::requantize) of four vectors.
    ///
    /// Vector `v` becomes the bytes `8 · v..8 · v + 8`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn apply(&self, sums: [__m256i; 4], multipliers: [__m256; 4]) -> __m256i {
        _mm256_permutevar8x32_epi32(self.apply_in_halves(sums, multipliers), self.order)
    }

    /// As [`apply`](Self::apply); element `4 · h + i` of vector `v` becomes byte
    /// `16 · h + 4 · v + i`.
    ///
    /// The lower clamp comes last, which gives the same as first: what lies below i32 becomes its
    /// lowest value, as NaN does, later steps saturate, and rounding is monotone.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn apply_in_halves(&self, sums: [__m256i; 4], multipliers: [__m256; 4]) -> __m256i {
        let [a, b, c, d] = [
            self.round(sums[0], multipliers[0]),
            self.round(sums[1], multipliers[1]),
            self.round(sums[2], multipliers[2]),
            self.round(sums[3], multipliers[3]),
        ];
        let low = _mm256_adds_epi16(_mm256_packs_epi32(a, b), self.zero_point);
        let high = _mm256_adds_epi16(_mm256_packs_epi32(c, d), self.zero_point);
        _mm256_max_epi8(_mm256_packs_epi16(low, high), self.lo)
    }

    /// Steps of the output, clamped from above; `vcvtps2dq` rounds ties to even.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn round(&self, sums: __m256i, multiplier: __m256) -> __m256i {
        let steps = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), multiplier);
        // Operands in this order let NaN through.
        _mm256_cvtps_epi32(_mm256_min_ps(self.hi, steps))
    }
}
