//! Linear layers for AVX2 and for 256-bit VNNI.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use super::{FEW, LANES, NR, PAIR, padded};
use crate::kernels::gemm::int8::{GROUP, Int8};
use crate::kernels::gemm::vector::Operands;
use crate::kernels::x86::avx2::{
    Requantizer, load_f32x8, load_i8x32, load_i32x8, store_i8, store_i8x32,
};

/// Bytes of a vector, and its sums.
const BYTES: usize = 32;
const SUMS: usize = 8;

/// The kernels with one way to prepare inputs and to add products.
macro_rules! kernels {
    ($features:literal) => {
        /// More than eight channels.
        #[target_feature(enable = $features)]
        pub(in super::super) fn many(operands: &mut Operands<'_, Int8>) {
            for panel in 0..operands.y.len().div_ceil(NR) {
                match (operands.y.len() - panel * NR).div_ceil(LANES) {
                    1 => columns::<2, 4>(operands, panel * NR),
                    2 => columns::<4, 2>(operands, panel * NR),
                    3 => columns::<6, 1>(operands, panel * NR),
                    _ => columns::<8, 1>(operands, panel * NR),
                }
            }
        }

        /// `V` vectors of channels from `first` on, with `U` sums each to hide latencies.
        #[inline]
        #[target_feature(enable = $features)]
        fn columns<const V: usize, const U: usize>(
            operands: &mut Operands<'_, Int8>,
            first: usize,
        ) {
            let depth = operands.x.len().next_multiple_of(GROUP);
            let (bias, _) = operands.epilogue.bias[first..].as_chunks::<SUMS>();
            let (weights, _) = operands.weights[first * depth..].as_chunks::<BYTES>();
            let (weights, _) = weights.as_chunks::<V>();
            let (groups, tail) = operands.x.as_chunks::<GROUP>();
            let mut acc = [[_mm256_setzero_si256(); V]; U];
            for (v, bias) in bias[..V].iter().enumerate() {
                acc[0][v] = load_i32x8(bias);
            }
            let (unrolled, rest) = groups.as_chunks::<U>();
            let (unrolled_weights, _) = weights.as_chunks::<U>();
            for (x, weights) in unrolled.iter().zip(unrolled_weights) {
                for u in 0..U {
                    group(&mut acc[u], x[u], &weights[u]);
                }
            }
            let weights = &weights[unrolled.len() * U..];
            for (x, weights) in rest.iter().zip(weights) {
                group(&mut acc[0], *x, weights);
            }
            if !tail.is_empty() {
                group(&mut acc[0], padded(tail), &weights[rest.len()]);
            }
            let mut sums = acc[0];
            for more in &acc[1..] {
                for v in 0..V {
                    sums[v] = _mm256_add_epi32(sums[v], more[v]);
                }
            }
            store(operands, first, &sums);
        }

        /// Adds the products of a group with `V` vectors of channels.
        #[inline]
        #[target_feature(enable = $features)]
        fn group<const V: usize>(
            sums: &mut [__m256i; V],
            x: [i8; GROUP],
            weights: &[[i8; BYTES]; V],
        ) {
            let x = prepare(_mm256_set1_epi32(bytemuck::cast(x)));
            for v in 0..V {
                sums[v] = add(sums[v], x, load_i8x32(&weights[v]));
            }
        }

        /// Up to eight channels: a lane for every other group of each.
        #[target_feature(enable = $features)]
        pub(in super::super) fn few(operands: &mut Operands<'_, Int8>) {
            const UNROLLED: usize = 4;
            let (weights, _) = operands.weights.as_chunks::<BYTES>();
            let (weights, _) = weights.as_chunks::<2>();
            let (pairs, tail) = operands.x.as_chunks::<PAIR>();
            let mut acc = [[_mm256_setzero_si256(); 2]; UNROLLED];
            let (unrolled, rest) = pairs.as_chunks::<UNROLLED>();
            let (unrolled_weights, _) = weights.as_chunks::<UNROLLED>();
            for (x, weights) in unrolled.iter().zip(unrolled_weights) {
                for i in 0..UNROLLED {
                    pair(&mut acc[i], x[i], &weights[i]);
                }
            }
            let weights = &weights[unrolled.len() * UNROLLED..];
            for (x, weights) in rest.iter().zip(weights) {
                pair(&mut acc[0], *x, weights);
            }
            if !tail.is_empty() {
                pair(&mut acc[1], padded(tail), &weights[rest.len()]);
            }
            store_few(operands, &acc);
        }

        /// Adds the products of two groups with eight channels.
        #[inline]
        #[target_feature(enable = $features)]
        fn pair(sums: &mut [__m256i; 2], x: [i8; PAIR], weights: &[[i8; BYTES]; 2]) {
            let x = prepare(_mm256_set1_epi64x(bytemuck::cast(x)));
            for v in 0..2 {
                sums[v] = add(sums[v], x, load_i8x32(&weights[v]));
            }
        }
    };
}

/// Requantizes and stores `V` vectors of channels from `first` on.
#[inline]
#[target_feature(enable = "avx2")]
fn store<const V: usize>(operands: &mut Operands<'_, Int8>, first: usize, sums: &[__m256i; V]) {
    let requantizer = Requantizer::new(operands.epilogue.output);
    let (multipliers, _) = operands.epilogue.multiplier[first..].as_chunks::<SUMS>();
    let mut y = &mut operands.y[first..];
    for v in (0..V).step_by(4) {
        let [a, b, c, d] = [v, v + 1, (v + 2) % V, (v + 3) % V];
        let values = requantizer.apply(
            [sums[a], sums[b], sums[c], sums[d]],
            [
                load_f32x8(&multipliers[a]),
                load_f32x8(&multipliers[b]),
                load_f32x8(&multipliers[c]),
                load_f32x8(&multipliers[d]),
            ],
        );
        let len = y.len().min((V - v) * SUMS);
        if len <= LANES {
            return store_i8(&mut y[..len], _mm256_castsi256_si128(values));
        }
        let (now, rest) = y.split_at_mut(len.min(BYTES));
        store_i8x32(now, values);
        y = rest;
    }
}

/// Adds, requantizes and stores the sums of up to eight channels.
#[inline]
#[target_feature(enable = "avx2")]
fn store_few(operands: &mut Operands<'_, Int8>, acc: &[[__m256i; 2]; 4]) {
    let mut sums = acc[0];
    for more in &acc[1..] {
        for v in 0..2 {
            sums[v] = _mm256_add_epi32(sums[v], more[v]);
        }
    }
    // Halves of vectors by themselves: channels 0, 1, 4, 5 and 2, 3, 6, 7.
    let sums = _mm256_hadd_epi32(sums[0], sums[1]);
    let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(sums);
    let (bias, _) = operands.epilogue.bias.as_chunks::<FEW>();
    let (multiplier, _) = operands.epilogue.multiplier.as_chunks::<FEW>();
    let sums = _mm256_add_epi32(sums, load_i32x8(&bias[0]));
    let requantizer = Requantizer::new(operands.epilogue.output);
    let values = requantizer.apply([sums; 4], [load_f32x8(&multiplier[0]); 4]);
    store_i8(operands.y, _mm256_castsi256_si128(values));
}

/// |x|, and weights with the sign of x: two products of at most 128 · 127 fit an i16.
pub(super) mod avx2 {
    use super::*;

    kernels!("avx2");

    #[inline]
    #[target_feature(enable = "avx2")]
    fn prepare(x: __m256i) -> (__m256i, __m256i) {
        (x, _mm256_abs_epi8(x))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(sums: __m256i, (x, size): (__m256i, __m256i), weights: __m256i) -> __m256i {
        let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(weights, x));
        _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

/// `x + 128`, as `vpdpbusd` wants it.
macro_rules! vnni {
    ($features:literal, $dpbusd:ident) => {
        use super::*;

        kernels!($features);

        #[inline]
        #[target_feature(enable = "avx2")]
        fn prepare(x: __m256i) -> __m256i {
            _mm256_xor_si256(x, _mm256_set1_epi8(i8::MIN))
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn add(sums: __m256i, x: __m256i, weights: __m256i) -> __m256i {
            $dpbusd(sums, x, weights)
        }
    };
}

pub(super) mod vex {
    vnni!("avx2,avxvnni", _mm256_dpbusd_avx_epi32);
}

pub(super) mod evex {
    vnni!("avx2,avx512vl,avx512vnni", _mm256_dpbusd_epi32);
}
