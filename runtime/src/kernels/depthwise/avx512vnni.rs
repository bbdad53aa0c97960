//! Depthwise sums for AVX512-VNNI: four neighbouring taps of a channel side by side, `vpdpbusd`.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of taps, checked once for four")]

use core::arch::x86_64::*;

use super::{Kernel, Run};
use crate::kernels::gemm::int8::Int8;
use crate::kernels::x86::avx512::{Requantizer, load_f32x16, load_i8x64, load_i32x16, store_i8x64};

/// Channels in a block.
const BLOCK: usize = 64;
/// Taps in a lane of 32 bits.
const GROUP: usize = 4;

pub(super) const INT8: Kernel<Int8> =
    Kernel { block: BLOCK, tap_group: GROUP, by_rows: true, lane, run };

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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn run(run: &mut Run<'_, Int8>) {
    let requantizer = Requantizer::new(run.epilogue.output);
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let (weight, _) = weight.as_chunks::<GROUP>();
    let groups = run.offsets.len() / GROUP;
    for (i, weight) in weight.chunks_exact(groups).enumerate() {
        let channel = i * BLOCK;
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
        let (taps, _) = run.offsets.as_chunks::<GROUP>();
        match *taps {
            [a, b, c] if b[0] - a[0] == run.line && c[0] - b[0] == run.line => block.roll::<1>(run),
            [a, _, c] if c[0] - a[0] == run.line => block.roll::<2>(run),
            _ => block.each(run),
        }
    }
}

impl Block<'_> {
    /// Three kernel rows of up to four taps, going down columns with the rows that were read.
    ///
    /// The inputs of output rows lie `STRIDE` kernel rows apart.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn roll<const STRIDE: usize>(&self, run: &mut Run<'_, Int8>) {
        let Run { line, y_row, step, channels, x, .. } = *run;
        let (&[a, b, c], &[w0, w1, w2]) = (run.offsets.as_chunks().0, self.weight) else {
            return;
        };
        let (a, b, c) = (Taps::new(a), Taps::new(b), Taps::new(c));
        for (pixel, at) in (self.channel..y_row).step_by(channels).enumerate() {
            let mut start = pixel * step + self.channel;
            let mut first = quad(x, start, &a);
            let mut second = if STRIDE == 1 { quad(x, start, &b) } else { first };
            for y in run.column(at) {
                if STRIDE == 2 {
                    second = quad(x, start, &b);
                }
                let third = quad(x, start, &c);
                let mut sums = self.bias;
                add_products(&mut sums, first, &w0);
                add_products(&mut sums, second, &w1);
                add_products(&mut sums, third, &w2);
                let cols = BLOCK.min(channels - self.channel).min(y_row - at);
                self.store(&mut run.y[y..y + cols], sums);
                (first, second) = if STRIDE == 1 { (second, third) } else { (third, third) };
                start += line;
            }
        }
    }

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

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_products(sums: &mut Quad, x: Quad, weights: &Weights) {
    for v in 0..4 {
        sums[v] = _mm512_dpbusd_epi32(sums[v], x[v], load_i8x64(&weights[v]));
    }
}

/// Quarter `q` of vector `v` becomes quarter `v` of vector `q`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d]: Quad) -> Quad {
    let (ab_low, ab_high) =
        (_mm512_shuffle_i32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b));
    let (cd_low, cd_high) =
        (_mm512_shuffle_i32x4::<0b01_00_01_00>(c, d), _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d));
    [
        _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_high, cd_high),
    ]
}
