//! The tile for up to eight channels: two pixels share a vector.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use crate::kernels::gemm::Operands;
use crate::kernels::gemm::int8::{GROUP, Int8, group};
use crate::kernels::x86::avx512::{
    Requantizer, load_f32x8_twice, load_i8x32_twice, load_i32x8_twice, store_i8x64_all,
};

/// Channels of a panel.
pub(super) const NR: usize = 8;
/// Pixels of a tile, in four vectors.
const MR: usize = 8;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn run(operands: &mut Operands<'_, Int8>) {
    // Hidden, or the compiler permutes vectors, one a cycle, instead of blending broadcasts.
    let upper = core::hint::black_box(0xff00);
    let constants = (upper, Requantizer::new(operands.epilogue.output));
    let (eights, rest) = operands.left.pixels.as_chunks();
    for (i, pixels) in eights.iter().enumerate() {
        let values = tile(operands, pixels, &constants);
        let places = &operands.places[i * MR..][..MR];
        let contiguous = places[MR - 1] - places[0] == (MR - 1) * NR;
        let y = operands.y.get_mut(places[0]..).and_then(|y| y.first_chunk_mut());
        match y {
            Some(y) if operands.cols == NR && contiguous => {
                store_i8x64_all(y, values);
            }
            _ => store_apart(operands, i * MR, MR, values),
        }
    }
    if let Some(last) = rest.last() {
        let mut pixels = [*last; MR];
        pixels[..rest.len()].copy_from_slice(rest);
        let values = tile(operands, &pixels, &constants);
        store_apart(operands, eights.len() * MR, rest.len(), values);
    }
}

/// Eight pixels, one after another, of eight channels each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile(
    operands: &Operands<'_, Int8>,
    pixels: &[usize; MR],
    (upper, requantizer): &(__mmask16, Requantizer),
) -> __m512i {
    let (right, _) = operands.right.as_chunks::<{ NR * GROUP }>();
    let (bias, _) = operands.epilogue.bias[operands.channel..].as_chunks();
    let (multiplier, _) = operands.epilogue.multiplier[operands.channel..].as_chunks();
    let left = operands.windows(*pixels);
    let mut sums = [load_i32x8_twice(&bias[0]); 4];
    for (&at, weights) in operands.left.groups.iter().zip(right) {
        let weights = load_i8x32_twice(weights);
        for v in 0..4 {
            // SAFETY: windows have all groups.
            let low = unsafe { group(left[2 * v], at) };
            // SAFETY: as above.
            let high = unsafe { group(left[2 * v + 1], at) };
            let x = _mm512_mask_set1_epi32(_mm512_set1_epi32(low), *upper, high);
            sums[v] = _mm512_dpbusd_epi32(sums[v], x, weights);
        }
    }
    requantizer.apply(sums, [load_f32x8_twice(&multiplier[0]); 4])
}

/// Stores `rows` rows that do not follow one another, or of fewer channels.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_apart(operands: &mut Operands<'_, Int8>, row: usize, rows: usize, values: __m512i) {
    let mut all = [0; MR * NR];
    store_i8x64_all(&mut all, values);
    for (i, values) in all.chunks_exact(NR).take(rows).enumerate() {
        let cols = operands.cols;
        operands.y_row(row + i).copy_from_slice(&values[..cols]);
    }
}
