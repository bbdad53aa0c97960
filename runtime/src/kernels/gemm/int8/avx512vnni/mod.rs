//! The int8 tile for AVX512-VNNI: `vpdpbusd` adds four products of unsigned by signed bytes.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of the left side, checked once a tile")]

mod eight;
mod first;

use core::arch::x86_64::*;

use super::{GROUP, Int8, group};
use crate::kernels::Isa;
use crate::kernels::gemm::{Operands, Tile};
use crate::kernels::x86::avx512::{
    LANES, Requantizer, load_f32x16, load_i8x64, load_i32x16, store_i8x16, store_i8x32,
    store_i8x64, store_i8x64_all,
};

/// Most pixels in a tile; six by four vectors of channels are 24 sums, of the 32 registers.
const MOST: usize = 8;

/// The tile for `n` channels of sums of `k` products.
pub(super) const fn tile(n: usize, k: usize) -> Tile<Int8> {
    match (n, k) {
        (first::CHANNELS, first::K) => FIRST,
        (..=8, _) => EIGHT,
        (..=LANES, LANES..) => NARROW,
        _ => WIDE,
    }
}

/// Up to four vectors of channels by a few pixels, which it offsets itself.
const WIDE: Tile<Int8> =
    Tile { nr: 4 * LANES, lanes: LANES, k_group: GROUP, encode: None, run: wide };

/// As [`WIDE`], but for the first layer of narrow image networks.
const FIRST: Tile<Int8> = Tile { run: first_layer, ..WIDE };

/// One vector of channels: with no other to share it, to offset pixels costs as much as the
/// products, which is more than a copy where there are many.
const NARROW: Tile<Int8> =
    Tile { nr: LANES, lanes: LANES, k_group: GROUP, encode: Some(encode), run: narrow };

/// Two pixels in a vector.
const EIGHT: Tile<Int8> =
    Tile { nr: eight::NR, lanes: eight::NR, k_group: GROUP, encode: Some(encode), run: eight::run };

fn encode(values: &mut [i8]) {
    Isa::Avx512Vnni.vectorized(|| values.iter_mut().for_each(|x| *x ^= i8::MIN));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn wide(operands: &mut Operands<'_, Int8>) {
    match operands.cols.div_ceil(LANES) {
        1 => columns::<1, true>(operands),
        2 => columns::<2, true>(operands),
        3 => columns::<3, true>(operands),
        _ => columns::<4, true>(operands),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
fn first_layer(operands: &mut Operands<'_, Int8>) {
    if !first::run(operands) {
        wide(operands);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn narrow(operands: &mut Operands<'_, Int8>) {
    columns::<1, false>(operands);
}

/// All pixels by `V` vectors of channels, in tiles as even as can be.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn columns<const V: usize, const OFFSET: bool>(operands: &mut Operands<'_, Int8>) {
    // Hidden, or the compiler flips bits before it broadcasts, in one instruction more.
    let flip = core::hint::black_box(_mm512_set1_epi8(i8::MIN));
    let constants = (flip, Requantizer::new(operands.epilogue.output));
    let most = if V > 2 { 6 } else { MOST };
    let pixels = operands.left.pixels;
    let mut row = 0;
    for left in (1..=pixels.len().div_ceil(most)).rev() {
        let next = row + (pixels.len() - row).div_ceil(left);
        match pixels[row..next] {
            [a] => rows::<1, V, OFFSET>(operands, [a], row, &constants),
            [a, b] => rows::<2, V, OFFSET>(operands, [a, b], row, &constants),
            [a, b, c] => rows::<3, V, OFFSET>(operands, [a, b, c], row, &constants),
            [a, b, c, d] => rows::<4, V, OFFSET>(operands, [a, b, c, d], row, &constants),
            [a, b, c, d, e] => rows::<5, V, OFFSET>(operands, [a, b, c, d, e], row, &constants),
            [a, b, c, d, e, f] => {
                rows::<6, V, OFFSET>(operands, [a, b, c, d, e, f], row, &constants);
            }
            [a, b, c, d, e, f, g] => {
                rows::<7, V, OFFSET>(operands, [a, b, c, d, e, f, g], row, &constants);
            }
            [a, b, c, d, e, f, g, h] => {
                rows::<8, V, OFFSET>(operands, [a, b, c, d, e, f, g, h], row, &constants);
            }
            _ => unreachable!("tiles have 1 to {MOST} pixels"),
        }
        row = next;
    }
}

/// `R` pixels by `V` vectors of channels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn rows<const R: usize, const V: usize, const OFFSET: bool>(
    operands: &mut Operands<'_, Int8>,
    pixels: [usize; R],
    row: usize,
    (flip, requantizer): &(__m512i, Requantizer),
) {
    let (right, _) = operands.right.as_chunks::<{ LANES * GROUP }>();
    let (right, _) = right.as_chunks::<V>();
    let (bias, _) = operands.epilogue.bias[operands.channel..].as_chunks::<LANES>();
    let mut acc = [[_mm512_setzero_si512(); V]; R];
    for (v, bias) in bias[..V].iter().enumerate() {
        for sums in &mut acc {
            sums[v] = load_i32x16(bias);
        }
    }
    let left = operands.windows(pixels);
    for (&at, weights) in operands.left.groups.iter().zip(right) {
        let mut vectors = [load_i8x64(&weights[0]); V];
        for v in 1..V {
            vectors[v] = load_i8x64(&weights[v]);
        }
        for r in 0..R {
            // SAFETY: windows have all groups.
            let mut x = _mm512_set1_epi32(unsafe { group(left[r], at) });
            if OFFSET {
                x = _mm512_xor_si512(x, *flip);
            }
            for v in 0..V {
                acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], x, vectors[v]);
            }
        }
    }
    let (multipliers, _) = operands.epilogue.multiplier[operands.channel..].as_chunks::<LANES>();
    let multipliers = [
        load_f32x16(&multipliers[0]),
        load_f32x16(&multipliers[1 % V]),
        load_f32x16(&multipliers[2 % V]),
        load_f32x16(&multipliers[3 % V]),
    ];
    let (places, whole) = (&operands.places[row..], operands.cols == V * LANES);
    let contiguous = |first: usize, rows: usize| {
        whole && places[first + rows - 1] - places[first] == (rows - 1) * V * LANES
    };
    // Unrolled by hand, because sums whose place is known only later lie in memory.
    macro_rules! store_four {
        ($($i:literal)*) => {
            $(if $i * (4 / V) < R {
                let first = $i * (4 / V);
                let sums = [
                    acc[first][0],
                    acc[(first + 1 / V).min(R - 1)][1 % V],
                    acc[(first + 2 / V).min(R - 1)][2 % V],
                    acc[(first + 3 / V).min(R - 1)][3 % V],
                ];
                let values = requantizer.apply(sums, multipliers);
                let rows = (4 / V).min(R - first);
                let all = rows * V == 4 && contiguous(first, rows);
                let y = operands.y.get_mut(places[first]..);
                match y.and_then(|y| y.first_chunk_mut()) {
                    Some(y) if all => store_i8x64_all(y, values),
                    _ if V > 2 => store_i8x64(operands.y_row(row + first), values),
                    _ => store_apart::<V>(operands, row + first, rows, values),
                }
            })*
        };
    }
    store_four!(0 1 2 3 4 5 6 7);
}

/// Stores `rows` rows of `V` vectors that do not follow one another, or of fewer channels.
///
/// Not inlined, or the compiler finds the code around it too long to keep sums in registers.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_apart<const V: usize>(
    operands: &mut Operands<'_, Int8>,
    row: usize,
    rows: usize,
    values: __m512i,
) {
    // Unrolled by hand, because the part of a vector has to be known.
    macro_rules! store {
        ($($i:literal)*) => {
            $(if $i < rows {
                // What a whole vector has too much may fall to the next pixel, which comes later.
                let place = operands.places[row + $i];
                let next = operands.places.get(row + $i + 1);
                let exact = next != Some(&(place + operands.cols));
                let len = if exact { operands.cols } else { V * LANES };
                let y = &mut operands.y[place..][..len];
                match V {
                    1 => store_i8x16(y, _mm512_extracti32x4_epi32::<$i>(values)),
                    _ => store_i8x32(y, _mm512_extracti64x4_epi64::<{ $i % 2 }>(values)),
                }
            })*
        };
    }
    store!(0 1 2 3);
}
