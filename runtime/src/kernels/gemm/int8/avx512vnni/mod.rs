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

/// Most vectors of sums in a tile, of the 32 registers.
const SUMS: usize = 24;

/// Most pixels in a tile of so many vectors of channels: fewer sums than six would wait for one
/// another, more than six pixels gain less than their code is worth.
const fn most(vectors: usize) -> usize {
    match vectors {
        1 => 8,
        2..=4 => 6,
        _ => SUMS / vectors,
    }
}

/// The tile for `n` channels of sums of `k` products.
pub(super) const fn tile(n: usize, k: usize) -> Tile<Int8> {
    match (n, k) {
        (first::CHANNELS, first::K) => FIRST,
        (..=8, _) => EIGHT,
        // Pointwise ones as a rule, which read their input once: a copy does not pay.
        (..=LANES, 16 | 32) => WIDE,
        (..=LANES, LANES..) => NARROW,
        (96, _) => SIX,
        _ => WIDE,
    }
}

/// Up to four vectors of channels by a few pixels, which it offsets itself.
const WIDE: Tile<Int8> =
    Tile { nr: 4 * LANES, lanes: LANES, k_group: GROUP, encode: None, run: wide };

/// Six vectors, where they are all channels: rows of pixels then follow one another and are stored
/// as whole vectors.
const SIX: Tile<Int8> = Tile { nr: 6 * LANES, ..WIDE };

/// As [`WIDE`], but for the first layer of narrow image networks.
const FIRST: Tile<Int8> = Tile { run: first_layer, ..WIDE };

/// One vector of channels: with no other to share it, to offset pixels costs more than a copy where
/// several taps read them.
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
    if Requantizer::unsigned(operands.epilogue.output) {
        vectors::<true>(operands);
    } else {
        vectors::<false>(operands);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn vectors<const UNSIGNED: bool>(operands: &mut Operands<'_, Int8>) {
    match operands.cols.div_ceil(LANES) {
        1 => columns::<1, true, UNSIGNED>(operands),
        2 => columns::<2, true, UNSIGNED>(operands),
        3 => columns::<3, true, UNSIGNED>(operands),
        4 => columns::<4, true, UNSIGNED>(operands),
        _ => columns::<6, true, UNSIGNED>(operands),
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
    if Requantizer::unsigned(operands.epilogue.output) {
        columns::<1, false, true>(operands);
    } else {
        columns::<1, false, false>(operands);
    }
}

/// All pixels by `V` vectors of channels, in tiles as even as can be.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn columns<const V: usize, const OFFSET: bool, const UNSIGNED: bool>(
    operands: &mut Operands<'_, Int8>,
) {
    // Hidden, or the compiler flips bits before it broadcasts, in one instruction more.
    let flip = core::hint::black_box(_mm512_set1_epi8(i8::MIN));
    let constants = (flip, Requantizer::new(operands.epilogue.output));
    let most = most(V);
    let pixels = operands.left.pixels;
    let mut row = 0;
    for left in (1..=pixels.len().div_ceil(most)).rev() {
        let next = row + (pixels.len() - row).div_ceil(left);
        match pixels[row..next] {
            [a] => rows::<1, V, OFFSET, UNSIGNED>(operands, [a], row, &constants),
            [a, b] => rows::<2, V, OFFSET, UNSIGNED>(operands, [a, b], row, &constants),
            [a, b, c] => rows::<3, V, OFFSET, UNSIGNED>(operands, [a, b, c], row, &constants),
            [a, b, c, d] => rows::<4, V, OFFSET, UNSIGNED>(operands, [a, b, c, d], row, &constants),
            [a, b, c, d, e] if V <= 4 => {
                rows::<5, V, OFFSET, UNSIGNED>(operands, [a, b, c, d, e], row, &constants);
            }
            [a, b, c, d, e, f] if V <= 4 => {
                rows::<6, V, OFFSET, UNSIGNED>(operands, [a, b, c, d, e, f], row, &constants);
            }
            [a, b, c, d, e, f, g] if V == 1 => {
                rows::<7, V, OFFSET, UNSIGNED>(operands, [a, b, c, d, e, f, g], row, &constants);
            }
            [a, b, c, d, e, f, g, h] if V == 1 => {
                rows::<8, V, OFFSET, UNSIGNED>(operands, [a, b, c, d, e, f, g, h], row, &constants);
            }
            _ => unreachable!("tiles have 1 to {most} pixels"),
        }
        row = next;
    }
}

/// `R` pixels by `V` vectors of channels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn rows<const R: usize, const V: usize, const OFFSET: bool, const UNSIGNED: bool>(
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
    let multipliers = &multipliers[..V];
    let places = &operands.places[row..][..R];
    let whole = operands.cols == V * LANES;
    let together = whole && places[R - 1] - places[0] == (R - 1) * V * LANES;
    // Unrolled by hand, because sums whose place is known only later lie in memory.
    macro_rules! each_four {
        ($($i:literal)*; $store:expr) => {
            $(if 4 * $i < R * V {
                // The last ones may be fewer, and something else then fills the vector.
                let at = |i: usize| if 4 * $i + i < R * V { 4 * $i + i } else { 4 * $i };
                let [a, b, c, d] = [at(0), at(1), at(2), at(3)];
                let sums =
                    [acc[a / V][a % V], acc[b / V][b % V], acc[c / V][c % V], acc[d / V][d % V]];
                let multipliers = [
                    load_f32x16(&multipliers[a % V]),
                    load_f32x16(&multipliers[b % V]),
                    load_f32x16(&multipliers[c % V]),
                    load_f32x16(&multipliers[d % V]),
                ];
                let values = if UNSIGNED {
                    requantizer.apply_unsigned(sums, multipliers)
                } else {
                    requantizer.apply(sums, multipliers)
                };
                $store($i, values);
            })*
        };
    }
    if together {
        let y = &mut operands.y[places[0]..][..R * V * LANES];
        each_four!(0 1 2 3 4 5; |i: usize, values| match R * V - 4 * i {
            1 => store_i8x16(&mut y[4 * i * LANES..][..LANES], _mm512_castsi512_si128(values)),
            2 => store_i8x32(&mut y[4 * i * LANES..][..2 * LANES], _mm512_castsi512_si256(values)),
            len => store_i8x64(&mut y[4 * i * LANES..][..len.min(4) * LANES], values),
        });
    } else if V == 4 {
        each_four!(0 1 2 3 4 5; |i: usize, values| store_i8x64(operands.y_row(row + i), values));
    } else {
        let mut all = [0; SUMS * LANES];
        let (fours, _) = all.as_chunks_mut();
        each_four!(0 1 2 3 4 5; |i: usize, values| store_i8x64_all(&mut fours[i], values));
        store_apart::<V>(operands, row, R, &all);
    }
}

/// Stores rows that do not follow one another, or of fewer channels than the tile has.
#[inline(never)]
fn store_apart<const V: usize>(
    operands: &mut Operands<'_, Int8>,
    row: usize,
    rows: usize,
    values: &[i8; SUMS * LANES],
) {
    for (i, values) in values.chunks_exact(V * LANES).take(rows).enumerate() {
        let cols = operands.cols;
        operands.y_row(row + i).copy_from_slice(&values[..cols]);
    }
}
