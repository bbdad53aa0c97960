//! What the int8 tiles of 256-bit vectors share: from sums to stored rows.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use super::Int8;
use crate::kernels::gemm::Operands;
use crate::kernels::x86::avx2::{
    Requantizer, load_f32x8, load_i32x8, store_i8, store_i8x32, store_i8x32_all,
};

/// Channels in a vector of sums.
pub(super) const LANES: usize = 8;

/// What the sums of `R` pixels by `V` vectors of channels from the panel's `first` on begin with.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn start<const R: usize, const V: usize>(
    operands: &Operands<'_, Int8>,
    first: usize,
) -> [[__m256i; V]; R] {
    let (bias, _) = operands.epilogue.bias[operands.channel + first..].as_chunks::<LANES>();
    let mut acc = [[_mm256_setzero_si256(); V]; R];
    for (v, bias) in bias[..V].iter().enumerate() {
        for sums in &mut acc {
            sums[v] = load_i32x8(bias);
        }
    }
    acc
}

/// Requantizes and stores the sums of `R` pixels by `V` vectors of channels.
///
/// Pixels begin at `row`, channels at the panel's `first`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store<const R: usize, const V: usize>(
    operands: &mut Operands<'_, Int8>,
    (row, first): (usize, usize),
    acc: [[__m256i; V]; R],
    requantizer: &Requantizer,
) {
    let (multipliers, _) =
        operands.epilogue.multiplier[operands.channel + first..].as_chunks::<LANES>();
    let multipliers = [
        load_f32x8(&multipliers[0]),
        load_f32x8(&multipliers[1 % V]),
        load_f32x8(&multipliers[2 % V]),
        load_f32x8(&multipliers[3 % V]),
    ];
    let cols = (V * LANES).min(operands.cols - first);
    let places = &operands.places[row..][..R];
    // Unrolled by hand, because sums whose place is known only later lie in memory.
    macro_rules! store_four {
        ($($i:literal)*) => {
            $(if $i * (4 / V) < R {
                let r = $i * (4 / V);
                let sums = [
                    acc[r][0],
                    acc[(r + 1 / V).min(R - 1)][1 % V],
                    acc[(r + 2 / V).min(R - 1)][2 % V],
                    acc[(r + 3 / V).min(R - 1)][3 % V],
                ];
                let values = requantizer.apply(sums, multipliers);
                let rows = (4 / V).min(R - r);
                let together = places[r + rows - 1] - places[r] == (rows - 1) * V * LANES;
                let y = operands.y.get_mut(places[r] + first..).and_then(|y| y.first_chunk_mut());
                match y {
                    Some(y) if rows * V == 4 && cols == V * LANES && together => {
                        store_i8x32_all(y, values);
                    }
                    _ if V == 2 && rows == 2 && cols == V * LANES => {
                        let values = [
                            _mm256_castsi256_si128(values),
                            _mm256_extracti128_si256::<1>(values),
                        ];
                        for (i, values) in values.into_iter().enumerate() {
                            store_i8(&mut operands.y[places[r + i] + first..][..V * LANES], values);
                        }
                    }
                    _ => {
                        let (places, y) = (&places[r..][..rows], &mut *operands.y);
                        store_apart::<V>(y, places, (first, cols), values);
                    }
                }
            })*
        };
    }
    store_four!(0 1 2 3 4 5 6 7);
}

/// Stores rows of `V` vectors that do not follow one another, or of fewer channels.
///
/// Not inlined, to keep the code around tiles short.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn store_apart<const V: usize>(
    y: &mut [i8],
    places: &[usize],
    (first, cols): (usize, usize),
    values: __m256i,
) {
    for (i, place) in places.iter().enumerate() {
        let y = &mut y[place + first..][..cols];
        match (V, i) {
            (1, 0) => store_i8(y, _mm256_castsi256_si128(values)),
            (1, 1) => store_i8(y, _mm_srli_si128::<8>(_mm256_castsi256_si128(values))),
            (1, 2) | (2, 1) => store_i8(y, _mm256_extracti128_si256::<1>(values)),
            (1, _) => store_i8(y, _mm_srli_si128::<8>(_mm256_extracti128_si256::<1>(values))),
            (2, _) => store_i8(y, _mm256_castsi256_si128(values)),
            _ => store_i8x32(y, values),
        }
    }
}
