//! Linear layers for AVX512-VNNI.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use super::{FEW, LANES, NR, PAIR, padded};
use crate::kernels::gemm::int8::{GROUP, Int8};
use crate::kernels::gemm::vector::Operands;
use crate::kernels::x86::avx2::{load_f32x8, load_i32x8};
use crate::kernels::x86::avx512::{
    Requantizer, load_f32x16, load_i8x64, load_i32x16, store_i8x16, store_i8x32, store_i8x64,
};

/// Bytes of a vector.
const BYTES: usize = 64;

/// More than eight channels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn many(operands: &mut Operands<'_, Int8>) {
    for panel in 0..operands.y.len().div_ceil(NR) {
        match (operands.y.len() - panel * NR).div_ceil(LANES) {
            1 => columns::<1, 4>(operands, panel * NR),
            2 => columns::<2, 2>(operands, panel * NR),
            3 => columns::<3, 1>(operands, panel * NR),
            _ => columns::<4, 1>(operands, panel * NR),
        }
    }
}

/// `V` vectors of channels from `first` on, with `U` sums each to hide the latency of `vpdpbusd`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn columns<const V: usize, const U: usize>(operands: &mut Operands<'_, Int8>, first: usize) {
    let depth = operands.x.len().next_multiple_of(GROUP);
    let (bias, _) = operands.epilogue.bias[first..].as_chunks::<LANES>();
    let (multipliers, _) = operands.epilogue.multiplier[first..].as_chunks::<LANES>();
    let (weights, _) = operands.weights[first * depth..].as_chunks::<BYTES>();
    let (weights, _) = weights.as_chunks::<V>();
    let (groups, tail) = operands.x.as_chunks::<GROUP>();
    let mut acc = [[_mm512_setzero_si512(); V]; U];
    for (v, bias) in bias[..V].iter().enumerate() {
        acc[0][v] = load_i32x16(bias);
    }
    let (unrolled, rest) = groups.as_chunks::<U>();
    let (unrolled_weights, _) = weights.as_chunks::<U>();
    for (x, weights) in unrolled.iter().zip(unrolled_weights) {
        for u in 0..U {
            products(&mut acc[u], x[u], &weights[u]);
        }
    }
    let weights = &weights[unrolled.len() * U..];
    for (x, weights) in rest.iter().zip(weights) {
        products(&mut acc[0], *x, weights);
    }
    if !tail.is_empty() {
        products(&mut acc[0], padded(tail), &weights[rest.len()]);
    }
    let mut sums = acc[0];
    for more in &acc[1..] {
        for v in 0..V {
            sums[v] = _mm512_add_epi32(sums[v], more[v]);
        }
    }
    let values = Requantizer::new(operands.epilogue.output).apply(
        [sums[0], sums[1 % V], sums[2 % V], sums[3 % V]],
        [
            load_f32x16(&multipliers[0]),
            load_f32x16(&multipliers[1 % V]),
            load_f32x16(&multipliers[2 % V]),
            load_f32x16(&multipliers[3 % V]),
        ],
    );
    let end = operands.y.len().min(first + V * LANES);
    let y = &mut operands.y[first..end];
    match V {
        1 => store_i8x16(y, _mm512_castsi512_si128(values)),
        2 => store_i8x32(y, _mm512_castsi512_si256(values)),
        _ => store_i8x64(y, values),
    }
}

/// Adds the products of a group with `V` vectors of channels.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn products<const V: usize>(sums: &mut [__m512i; V], x: [i8; GROUP], weights: &[[i8; BYTES]; V]) {
    let x = _mm512_xor_si512(_mm512_set1_epi32(bytemuck::cast(x)), _mm512_set1_epi8(i8::MIN));
    for v in 0..V {
        sums[v] = _mm512_dpbusd_epi32(sums[v], x, load_i8x64(&weights[v]));
    }
}

/// Up to eight channels: a lane for every other group of each.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn few(operands: &mut Operands<'_, Int8>) {
    const SUMS: usize = 4;
    let (weights, _) = operands.weights.as_chunks::<BYTES>();
    let (pairs, tail) = operands.x.as_chunks::<PAIR>();
    let mut acc = [_mm512_setzero_si512(); SUMS];
    let (fours, rest) = pairs.as_chunks::<SUMS>();
    let (fours_weights, _) = weights.as_chunks::<SUMS>();
    for (x, weights) in fours.iter().zip(fours_weights) {
        for i in 0..SUMS {
            acc[i] = pair(acc[i], x[i], &weights[i]);
        }
    }
    let weights = &weights[fours.len() * SUMS..];
    for (x, weights) in rest.iter().zip(weights) {
        acc[0] = pair(acc[0], *x, weights);
    }
    if !tail.is_empty() {
        acc[1] = pair(acc[1], padded(tail), &weights[rest.len()]);
    }
    let [a, b, c, d] = acc;
    let sums = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
    let sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32::<0b10_11_00_01>(sums));
    let (bias, _) = operands.epilogue.bias.as_chunks::<FEW>();
    let (multiplier, _) = operands.epilogue.multiplier.as_chunks::<FEW>();
    let sums = _mm256_add_epi32(_mm512_cvtepi64_epi32(sums), load_i32x8(&bias[0]));
    let values = Requantizer::new(operands.epilogue.output).apply(
        [_mm512_castsi256_si512(sums); 4],
        [_mm512_castps256_ps512(load_f32x8(&multiplier[0])); 4],
    );
    store_i8x16(operands.y, _mm512_castsi512_si128(values));
}

/// Adds the products of two groups with eight channels.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn pair(sums: __m512i, x: [i8; PAIR], weights: &[i8; BYTES]) -> __m512i {
    let x = _mm512_xor_si512(_mm512_set1_epi64(bytemuck::cast(x)), _mm512_set1_epi8(i8::MIN));
    _mm512_dpbusd_epi32(sums, x, load_i8x64(weights))
}
