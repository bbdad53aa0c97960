//! Depthwise sums for AVX512-VNNI: four neighbouring taps of a channel side by side, `vpdpbusd`.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of taps, checked once for four")]

mod three;

use core::arch::x86_64::*;

use three::Grid;

use super::{Kernel, Run};
use crate::kernels::conv::ConvShape;
use crate::kernels::gemm::int8::Int8;
use crate::kernels::x86::avx512::{
    Requantizer, load_f32x16, load_i8x64, load_i32x16, store_i8x64, transpose,
};

/// Channels in a block.
const BLOCK: usize = 64;
/// Taps in a lane of 32 bits.
const GROUP: usize = 4;

pub(super) const INT8: Kernel<Int8> =
    Kernel { block: BLOCK, tap_group: GROUP, by_rows: true, lane, run };

/// Kernels of 3×3, whose strips have neighbouring pixels in a vector where channels are few.
pub(super) fn gathers(shape: &ConvShape) -> bool {
    let small = shape.kernel == [3, 3] && shape.dilation == [1, 1];
    small && (shape.stride == [1, 1] || shape.stride == [2, 2]) && shape.out_c >= 8
}

/// Unpacking keeps to quarters of vectors: vector `v` gets the channels `16 · q + 4 · v + 0..4`,
/// for `q` from 0 to 3.
fn lane(channel: usize) -> usize {
    channel / 4 % 4 * 16 + channel / 16 * 4 + channel % 4
}

/// The inputs of a block's four neighbouring taps, four channels of each quarter in a vector.
type Quad = [__m512i; 4];
/// The weights for one [`Quad`].
type Weights = [[i8; BLOCK]; GROUP];

/// A block of channels with its constants in the order of [`lane`].
struct Block<'a> {
    channel: usize,
    weight: &'a [Weights],
    bias: Quad,
    multiplier: [__m512; 4],
    requantizer: &'a Requantizer,
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
fn run(run: &mut Run<'_, Int8>) {
    let requantizer = Requantizer::new(run.epilogue.output);
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let (weight, _) = weight.as_chunks::<GROUP>();
    let grid = Grid::of(run);
    for (i, weight) in weight.chunks_exact(run.offsets.len() / GROUP).enumerate() {
        let channel = i * BLOCK;
        if let (Some(grid), Ok(weight)) = (grid, weight.try_into())
            && grid.run(run, channel, weight, &requantizer)
        {
            continue;
        }
        let (bias, _) = run.epilogue.bias[channel..][..BLOCK].as_chunks();
        let (multiplier, _) = run.epilogue.multiplier[channel..][..BLOCK].as_chunks();
        let multiplier = [0, 1, 2, 3].map(|v| _mm512_castps_si512(load_f32x16(&multiplier[v])));
        let block = Block {
            channel,
            weight,
            bias: transpose([0, 1, 2, 3].map(|v| load_i32x16(&bias[v]))),
            multiplier: transpose(multiplier).map(|m| _mm512_castsi512_ps(m)),
            requantizer: &requantizer,
        };
        block.each(run);
    }
}

impl Block<'_> {
    /// Any kernel: all taps of each pixel.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn each(&self, run: &mut Run<'_, Int8>) {
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, self.channel) {
                let mut sums = self.bias;
                for (taps, weights) in run.offsets.as_chunks().0.iter().zip(self.weight) {
                    add_products(&mut sums, quad(run.x, start, &Taps::new(*taps)), weights);
                }
                self.store(&mut run.y[stored], sums);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn store(&self, y: &mut [i8], sums: Quad) {
        store_i8x64(y, self.requantizer.apply_in_quarters(sums, self.multiplier));
    }
}

/// Where four taps lie from their window's beginning, and the last of these places.
#[derive(Clone, Copy)]
struct Taps {
    at: [usize; GROUP],
    last: usize,
}

impl Taps {
    fn new(at: [usize; GROUP]) -> Self {
        Self { at, last: at[0].max(at[1]).max(at[2]).max(at[3]) }
    }
}

/// Reads four taps of a block and brings those of a channel together.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn quad(x: &[i8], start: usize, taps: &Taps) -> Quad {
    let window = &x[start..][..taps.last + BLOCK];
    // SAFETY: the window has a block at the last tap, and so at each.
    let a = unsafe { tap(window, taps.at[0]) };
    // SAFETY: as above.
    let b = unsafe { tap(window, taps.at[1]) };
    // SAFETY: as above.
    let c = unsafe { tap(window, taps.at[2]) };
    // SAFETY: as above.
    let d = unsafe { tap(window, taps.at[3]) };
    interleave([a, b, c, d])
}

/// Brings the bytes of four vectors together, in the order of [`lane`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave([a, b, c, d]: Quad) -> Quad {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab_low, cd_low),
        _mm512_unpackhi_epi16(ab_low, cd_low),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ]
}

/// A block of inputs.
///
/// # Safety
///
/// It lies in `window`. With four checks [`quad`] was not inlined, and rows took 1.5 times as long
/// (benches/kernels.rs).
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn tap(window: &[i8], at: usize) -> __m512i {
    debug_assert!(at + BLOCK <= window.len(), "tap: a block at {at} of {}", window.len());
    // SAFETY: the caller's.
    let first = unsafe { window.as_ptr().add(at) };
    // SAFETY: 64 bytes lie in the window, and the load needs no alignment.
    let values = unsafe { _mm512_loadu_si512(first.cast()) };
    // As unsigned bytes, `x + 128`; the bias takes it back.
    _mm512_xor_si512(values, _mm512_set1_epi8(i8::MIN))
}

/// Pixels of `W` channels that lie `pixel` apart, one behind another in a vector.
///
/// # Safety
///
/// In `window` lies a whole vector for `DENSE` pixels, else `W` channels of each pixel.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn pixels<const W: usize, const DENSE: bool>(
    window: &[i8],
    at: usize,
    pixel: usize,
) -> __m512i {
    if DENSE {
        // SAFETY: the caller's.
        return unsafe { tap(window, at) };
    }
    debug_assert!(at + (64 / W - 1) * pixel + W <= window.len(), "pixels: {at} and on");
    // SAFETY: the caller's.
    let place = |i: usize| unsafe { window.as_ptr().add(at + i * pixel) };
    let values = if W == 32 {
        // SAFETY: 32 bytes of each pixel lie in the window, and the load needs no alignment.
        let half = |i: usize| unsafe { _mm256_loadu_si256(place(i).cast()) };
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half(0)), half(1))
    } else {
        // SAFETY: 16 bytes of each pixel lie in the window, and the load needs no alignment.
        let quarter = |i: usize| unsafe { _mm_loadu_si128(place(i).cast()) };
        let values = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(quarter(0)), quarter(1));
        _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(values, quarter(2)), quarter(3))
    };
    _mm512_xor_si512(values, _mm512_set1_epi8(i8::MIN))
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_products(sums: &mut Quad, x: Quad, weights: &Weights) {
    for v in 0..4 {
        sums[v] = _mm512_dpbusd_epi32(sums[v], x[v], load_i8x64(&weights[v]));
    }
}
