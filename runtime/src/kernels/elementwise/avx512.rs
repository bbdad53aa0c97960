//! int8 addition for AVX-512: packed to bytes with saturation instead of one by one.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use super::AddI8;
use crate::kernels::x86::avx2::load_i8x16;
use crate::kernels::x86::avx512::{Requantizer, store_i8x64_all};

/// [`AddI8::run`] for sums far within i32.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn add(constants: &AddI8, a: &[i8], b: &[i8], y: &mut [i8]) {
    let requantizer = Requantizer::new(constants.output);
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks(), b.as_chunks());
    let (y, y_rest) = y.as_chunks_mut();
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        add_64(constants, &requantizer, a, b, y);
    }
    if y_rest.is_empty() {
        return;
    }
    let (mut last_a, mut last_b, mut last) = ([0; 64], [0; 64], [0; 64]);
    last_a[..a_rest.len()].copy_from_slice(a_rest);
    last_b[..b_rest.len()].copy_from_slice(b_rest);
    add_64(constants, &requantizer, &last_a, &last_b, &mut last);
    y_rest.copy_from_slice(&last[..y_rest.len()]);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add_64(
    constants: &AddI8,
    requantizer: &Requantizer,
    a: &[i8; 64],
    b: &[i8; 64],
    y: &mut [i8; 64],
) {
    let ((a, _), (b, _)) = (a.as_chunks(), b.as_chunks());
    let sums = [
        sum(constants, &a[0], &b[0]),
        sum(constants, &a[1], &b[1]),
        sum(constants, &a[2], &b[2]),
        sum(constants, &a[3], &b[3]),
    ];
    store_i8x64_all(y, requantizer.finish(sums));
}

/// Sixteen sums in steps of the output.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum(constants: &AddI8, a: &[i8; 16], b: &[i8; 16]) -> __m512 {
    let AddI8 { zero_points: [zero_a, zero_b], multipliers: [m_a, m_b], .. } = *constants;
    let a = _mm512_mul_ps(steps(a, zero_a), _mm512_set1_ps(m_a));
    let b = _mm512_mul_ps(steps(b, zero_b), _mm512_set1_ps(m_b));
    _mm512_add_ps(a, b)
}

/// `q - zero_point`, exact.
#[inline]
#[target_feature(enable = "avx512f")]
fn steps(q: &[i8; 16], zero_point: i8) -> __m512 {
    let zero_point = _mm512_set1_epi32(zero_point.into());
    _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepi8_epi32(load_i8x16(q)), zero_point))
}
