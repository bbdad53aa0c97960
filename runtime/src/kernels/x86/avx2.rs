//! Loads, stores and the requantizing epilogue of the AVX2 kernels.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "loads and stores of vectors through references of their size")]

use core::arch::x86_64::*;

use crate::kernels::gemm::int8::Requantize;

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

/// The epilogue for 16 neighbouring channels, its constants in registers.
#[derive(Clone, Copy)]
pub(crate) struct Requantizer {
    multiplier: [__m256; 2],
    lo: __m256,
    hi: __m256,
    zero_point: __m256i,
}

impl Requantizer {
    /// The constants of channels `channel..channel + 16`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(epilogue: &Requantize, channel: usize) -> Self {
        let (lo, hi) = epilogue.output.bounds();
        let (multiplier, _) = epilogue.multiplier[channel..][..16].as_chunks();
        Self {
            multiplier: [load_f32x8(&multiplier[0]), load_f32x8(&multiplier[1])],
            lo: _mm256_set1_ps(lo),
            hi: _mm256_set1_ps(hi),
            zero_point: _mm256_set1_epi16(i16::from(epilogue.output.zero_point)),
        }
    }

    /// [`requantize`](crate::quant::requantize) of 16 sums; `vcvtps2dq` rounds ties to even.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn apply(&self, sums: [__m256i; 2]) -> __m128i {
        let [low, high] = [self.round(sums[0], 0), self.round(sums[1], 1)];
        // Packing works in halves of vectors: the middle quarters change places.
        let steps = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
        let values = _mm256_add_epi16(steps, self.zero_point);
        let (low, high) = (_mm256_castsi256_si128(values), _mm256_extracti128_si256::<1>(values));
        _mm_packs_epi16(low, high)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn round(&self, sums: __m256i, half: usize) -> __m256i {
        let steps = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), self.multiplier[half]);
        // Operands in this order give `lo` for NaN, as `quant::clamp` does.
        _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(steps, self.lo), self.hi))
    }
}
