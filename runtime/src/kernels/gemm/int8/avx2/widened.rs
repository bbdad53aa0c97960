//! The tile for many channels: pixels are widened to i16 once for all of them, weights as they
//! are read.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "vectors through references of their size; weights checked once")]

use core::arch::x86_64::*;

use crate::kernels::gemm::int8::Int8;
use crate::kernels::gemm::int8::vectors256::{LANES, start, store};
use crate::kernels::gemm::{Operands, Tile};
use crate::kernels::x86::avx2::{Requantizer, load_i8x16_as_i16};

/// Products that `vpmaddwd` adds.
const PAIR: usize = 2;
/// Channels of a panel.
const NR: usize = 64;
/// Pixels of a tile, which with two vectors of channels are twelve sums of sixteen registers.
const MR: usize = 6;
/// Most pairs of a pixel that are widened at a time.
const DEPTH: usize = 256;

pub(super) const TILE: Tile<Int8> = Tile { nr: NR, lanes: LANES, k_group: PAIR, encode: None, run };

/// Pixels as pairs of i16.
type Wide = [[i32; DEPTH]; MR];

/// Sums of vectors of channels that wait for what is widened next.
type Partial<const R: usize> = [[__m256i; NR / LANES]; R];

/// Pairs of all segments that are widened: how many came before, and how many they are.
#[derive(Clone, Copy)]
struct Span {
    done: usize,
    pairs: usize,
}

#[target_feature(enable = "avx2")]
fn run(operands: &mut Operands<'_, Int8>) {
    let requantizer = Requantizer::new(operands.epilogue.output);
    let mut wide = [[0; DEPTH]; MR];
    let (sixes, rest) = operands.left.pixels.as_chunks();
    for (i, pixels) in sixes.iter().enumerate() {
        rows::<MR, 2>(operands, pixels, i * MR, &mut wide, &requantizer);
    }
    // With fewer pixels more channels share them.
    let row = sixes.len() * MR;
    let (twos, rest) = rest.as_chunks();
    for (i, pixels) in twos.iter().enumerate() {
        rows::<2, 4>(operands, pixels, row + 2 * i, &mut wide, &requantizer);
    }
    if let [pixel] = *rest {
        rows::<1, 4>(operands, &[pixel], row + 2 * twos.len(), &mut wide, &requantizer);
    }
}

/// `R` pixels by all channels of the panel, `V` vectors at a time.
#[inline]
#[target_feature(enable = "avx2")]
fn rows<const R: usize, const V: usize>(
    operands: &mut Operands<'_, Int8>,
    pixels: &[usize; R],
    row: usize,
    wide: &mut Wide,
    requantizer: &Requantizer,
) {
    let mut partial: Partial<R> = [[_mm256_setzero_si256(); NR / LANES]; R];
    let (segment, most) = (operands.segment, DEPTH * PAIR);
    let Operands { left, cols, .. } = *operands;
    let mut done = 0;
    for segments in left.segments.chunks((most / segment).max(1)) {
        for part in (0..segment).step_by(most) {
            let len = most.min(segment - part);
            for (wide, pixel) in wide.iter_mut().zip(pixels) {
                let wide = bytemuck::cast_slice_mut(wide);
                for (wide, start) in wide.chunks_exact_mut(len).zip(segments) {
                    widen(&left.values[pixel + start + part..][..len], wide);
                }
            }
            let span = Span { done, pairs: segments.len() * len / PAIR };
            let mut first = 0;
            while first + (V - 1) * LANES < cols {
                columns::<R, V>(operands, wide, span, (row, first), &mut partial, requantizer);
                first += V * LANES;
            }
            while first < cols {
                columns::<R, 1>(operands, wide, span, (row, first), &mut partial, requantizer);
                first += LANES;
            }
            done += span.pairs;
        }
    }
}

/// `R` pixels by `V` vectors of channels, from the panel's `first` on.
///
/// Not inlined: there are not enough registers for the code around it as well.
#[inline(never)]
#[target_feature(enable = "avx2")]
#[expect(clippy::needless_range_loop, reason = "one index into the rows of all pixels")]
fn columns<const R: usize, const V: usize>(
    operands: &mut Operands<'_, Int8>,
    wide: &Wide,
    Span { done, pairs }: Span,
    (row, first): (usize, usize),
    partial: &mut Partial<R>,
    requantizer: &Requantizer,
) {
    let mut acc = start::<R, V>(operands, first);
    let vector = first / LANES;
    if done > 0 {
        for r in 0..R {
            acc[r].copy_from_slice(&partial[r][vector..][..V]);
        }
    }
    let width = operands.cols.next_multiple_of(LANES) * PAIR;
    let right = &operands.right[done * width..][..pairs * width];
    assert!((first + V * LANES) * PAIR <= width, "columns: {V} vectors at {first} of {width}");
    let mut weights = right[first * PAIR..].as_ptr();
    // `pairs` is never more, which lets the compiler leave out checks.
    for pair in 0..pairs.min(DEPTH) {
        let mut w = [_mm256_setzero_si256(); V];
        for (v, w) in w.iter_mut().enumerate() {
            // SAFETY: of this row of `right`, the assertion has seen `V` vectors.
            let vector = unsafe { weights.add(v * LANES * PAIR) };
            // SAFETY: sixteen bytes of the vector, which need no alignment.
            *w = load_i8x16_as_i16(unsafe { &*vector.cast() });
        }
        weights = weights.wrapping_add(width);
        for r in 0..R {
            let x = _mm256_set1_epi32(wide[r][pair]);
            for v in 0..V {
                acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(x, w[v]));
            }
        }
    }
    if done + pairs == operands.left.groups.len() {
        store(operands, (row, first), acc, requantizer);
    } else {
        for r in 0..R {
            partial[r][vector..][..V].copy_from_slice(&acc[r]);
        }
    }
}

/// Widens a segment; its last vector overlaps the one before it.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(x: &[i8], wide: &mut [i16]) {
    if let (Some(x_last), Some(_)) = (x.last_chunk(), wide.last_chunk_mut::<16>()) {
        for (x, wide) in x.as_chunks().0.iter().zip(wide.as_chunks_mut().0) {
            store_i16x16(wide, load_i8x16_as_i16(x));
        }
        if let Some(wide) = wide.last_chunk_mut() {
            store_i16x16(wide, load_i8x16_as_i16(x_last));
        }
    } else {
        for (wide, x) in wide.iter_mut().zip(x) {
            *wide = i16::from(*x);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_i16x16(wide: &mut [i16; 16], values: __m256i) {
    // SAFETY: the reference covers exactly the 32 bytes written; no alignment is needed.
    unsafe { _mm256_storeu_si256(wide.as_mut_ptr().cast(), values) };
}
