//! The first layer of narrow image networks: 3×3 from three channels to eight, sixteen neighbouring pixels in the
//! lanes of a vector and weights broadcast, so that 27 products take seven groups instead of nine.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use crate::kernels::gemm::Operands;
use crate::kernels::gemm::int8::Int8;
use crate::kernels::x86::avx512::{LANES, Requantizer, load_i8x64, store_i8x64_all};

/// Products of a sum: three rows of three pixels.
pub(super) const K: usize = 27;
/// Channels of the output.
pub(super) const CHANNELS: usize = 8;
/// Products of a row, and with padding.
const ROW: usize = 9;
const PADDED_ROW: usize = 12;
/// Groups of a sum: two of each row, and one of the last products of all rows.
const GROUPS: usize = 7;
/// Bytes under sixteen neighbours in a row: two vectors.
const SPAN: usize = 128;

/// What does not change from pixel to pixel.
struct First {
    /// Groups of each channel.
    weights: [[i32; GROUPS + 1]; CHANNELS],
    /// The first, the second and the last bytes of a row's windows.
    gather: [__m512i; 3],
    requantizer: Requantizer,
}

/// All pixels; false where the layer is another one.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
pub(super) fn run(operands: &mut Operands<'_, Int8>) -> bool {
    let (&[first, second, ..], &[a, b, c]) = (operands.left.pixels, operands.left.segments) else {
        return false;
    };
    let step = second - first;
    let known = operands.segment == PADDED_ROW && (15 * step + ROW) <= SPAN;
    if !known || operands.cols != CHANNELS {
        return false;
    }
    let layer = First::new(operands, step);
    let pixels = operands.left.pixels;
    let mut row = 0;
    while row < pixels.len() {
        let rest = &pixels[row..];
        // Neighbours are nowhere nearer to each other than in a row.
        let whole = rest.get(LANES - 1).is_some_and(|last| last - rest[0] == (LANES - 1) * step);
        let count = if whole { LANES } else { neighbours(rest, step) };
        let windows = layer.windows(operands.left.values, [a, b, c].map(|row| rest[0] + row));
        layer.eight(operands, (row, count), &windows);
        row += count;
    }
    true
}

/// How many pixels from the first on lie `step` apart, at most sixteen.
fn neighbours(pixels: &[usize], step: usize) -> usize {
    let pairs = pixels.iter().zip(&pixels[1..]).take(LANES - 1);
    1 + pairs.take_while(|(a, b)| *b - *a == step).count()
}

impl First {
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(operands: &Operands<'_, Int8>, step: usize) -> Self {
        let (groups, _) = operands.right.as_chunks::<4>();
        let mut weights = [[0; GROUPS + 1]; CHANNELS];
        for (c, weights) in weights.iter_mut().enumerate() {
            let group = |row: usize, i: usize| groups[(row * 3 + i) * LANES + c];
            let bytes = |group: [i8; 4]| i32::from_le_bytes(group.map(|w| w as u8));
            for row in 0..3 {
                weights[2 * row] = bytes(group(row, 0));
                weights[2 * row + 1] = bytes(group(row, 1));
            }
            weights[GROUPS - 1] = bytes([group(0, 2)[0], group(1, 2)[0], group(2, 2)[0], 0]);
        }
        let gather = |first: usize, spread: usize| {
            let mut from = [0; 64];
            for (to, from) in from.iter_mut().enumerate() {
                *from = (to / 4 * step + first + to % 4 * spread) as i8;
            }
            load_i8x64(&from)
        };
        let requantizer = Requantizer::new(operands.epilogue.output);
        Self { weights, gather: [gather(0, 1), gather(4, 1), gather(8, 0)], requantizer }
    }

    /// The groups of sixteen pixels whose windows begin at `rows`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn windows(&self, values: &[i8], rows: [usize; 3]) -> [__m512i; GROUPS] {
        let flip = _mm512_set1_epi8(i8::MIN);
        let mut groups = [flip; GROUPS];
        let mut last = [flip; 3];
        for (row, at) in rows.into_iter().enumerate() {
            let (low, high) = span(values, at);
            let (low, high) = (_mm512_xor_si512(low, flip), _mm512_xor_si512(high, flip));
            groups[2 * row] = _mm512_permutex2var_epi8(low, self.gather[0], high);
            groups[2 * row + 1] = _mm512_permutex2var_epi8(low, self.gather[1], high);
            last[row] = _mm512_permutex2var_epi8(low, self.gather[2], high);
        }
        // One byte of each row; the fourth has weight zero.
        let two = _mm512_mask_blend_epi8(0x2222_2222_2222_2222, last[0], last[1]);
        groups[GROUPS - 1] = _mm512_mask_blend_epi8(0x4444_4444_4444_4444, two, last[2]);
        groups
    }

    /// Sixteen pixels of four channels: these side by side in four bytes of each pixel.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn four(
        &self,
        operands: &Operands<'_, Int8>,
        channel: usize,
        windows: &[__m512i; GROUPS],
    ) -> __m512i {
        let first = operands.channel + channel;
        let bias = &operands.epilogue.bias[first..][..4];
        let multiplier = &operands.epilogue.multiplier[first..][..4];
        let weights = &self.weights[channel..][..4];
        // Loops, because a closure for `map` is not inlined.
        let mut sums = [_mm512_setzero_si512(); 4];
        let mut multipliers = [_mm512_setzero_ps(); 4];
        for c in 0..4 {
            sums[c] = _mm512_set1_epi32(bias[c]);
            multipliers[c] = _mm512_set1_ps(multiplier[c]);
            for (window, &weight) in windows.iter().zip(&weights[c]) {
                sums[c] = _mm512_dpbusd_epi32(sums[c], *window, _mm512_set1_epi32(weight));
            }
        }
        let values = self.requantizer.apply_in_quarters(sums, multipliers);
        let by_pixel = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_shuffle_epi8(values, _mm512_broadcast_i32x4(by_pixel))
    }

    /// Sixteen pixels of eight channels.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn eight(
        &self,
        operands: &mut Operands<'_, Int8>,
        pixels: (usize, usize),
        windows: &[__m512i; GROUPS],
    ) {
        let (a, b) = (self.four(operands, 0, windows), self.four(operands, 4, windows));
        let (even, odd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        let high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        let values =
            [_mm512_permutex2var_epi64(even, low, odd), _mm512_permutex2var_epi64(even, high, odd)];
        let places = &operands.places[pixels.0..][..pixels.1];
        let together = pixels.1 == LANES && places[LANES - 1] - places[0] == (LANES - 1) * 8;
        let y = operands.y[places[0]..].as_chunks_mut().0;
        if let ([first, second, ..], true) = (y, together) {
            store_i8x64_all(first, values[0]);
            store_i8x64_all(second, values[1]);
        } else {
            store_apart(operands, pixels, &values);
        }
    }
}

/// The bytes under sixteen windows of a row; past the end of `values` they do not matter.
#[inline]
#[target_feature(enable = "avx512f")]
fn span(values: &[i8], at: usize) -> (__m512i, __m512i) {
    match values[at..].as_chunks().0 {
        [low, high, ..] => (load_i8x64(low), load_i8x64(high)),
        _ => span_at_end(&values[at..]),
    }
}

#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f")]
fn span_at_end(rest: &[i8]) -> (__m512i, __m512i) {
    let mut all = [0; SPAN];
    all[..rest.len()].copy_from_slice(rest);
    let (halves, _) = all.as_chunks();
    (load_i8x64(&halves[0]), load_i8x64(&halves[1]))
}

/// Stores the channels of each pixel to its own place.
#[inline(never)]
#[target_feature(enable = "avx512f")]
fn store_apart(
    operands: &mut Operands<'_, Int8>,
    (row, count): (usize, usize),
    values: &[__m512i; 2],
) {
    let mut all = [[0; 64]; 2];
    for (all, values) in all.iter_mut().zip(values) {
        store_i8x64_all(all, *values);
    }
    let (pixels, _) = all.as_flattened().as_chunks::<CHANNELS>();
    for (i, pixel) in pixels.iter().take(count).enumerate() {
        operands.y_row(row + i).copy_from_slice(pixel);
    }
}
