//! Depthwise sums for 256-bit VNNI: four neighbouring taps of a channel side by side, `vpdpbusd`.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]
#![expect(unsafe_code, reason = "reads of taps, checked once for four")]

use core::arch::x86_64::*;

use super::{Kernel, Run};
use crate::kernels::gemm::int8::Int8;
use crate::kernels::isa::has_vex_vnni;
use crate::kernels::x86::avx2::{Requantizer, load_i8x32, store_i8x32};

/// Channels in a block.
const BLOCK: usize = 32;
/// Taps in a lane of 32 bits.
const GROUP: usize = 4;

pub(super) fn int8() -> Kernel<Int8> {
    let run: unsafe fn(&mut Run<'_, Int8>) = if has_vex_vnni() { vex::run } else { evex::run };
    Kernel { block: BLOCK, tap_group: GROUP, by_rows: true, lane, run }
}

/// Unpacking keeps to halves of vectors: vector `v` gets the channels `16 · h + 4 · v + 0..4`, for
/// `h` of 0 and 1.
fn lane(channel: usize) -> usize {
    channel % 16 / 4 * 8 + channel / 16 * 4 + channel % 4
}

/// The inputs of a block's four neighbouring taps, four channels of each half in a vector.
type Quad = [__m256i; 4];
/// The weights for one [`Quad`].
type Weights = [[i8; BLOCK]; GROUP];

/// A block of channels with its constants in the order of [`lane`].
struct Block<'a> {
    channel: usize,
    weight: &'a [Weights],
    bias: Quad,
    multiplier: [__m256; 4],
    requantizer: &'a Requantizer,
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
#[target_feature(enable = "avx2")]
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
    let (ab_low, ab_high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
    [
        _mm256_unpacklo_epi16(ab_low, cd_low),
        _mm256_unpackhi_epi16(ab_low, cd_low),
        _mm256_unpacklo_epi16(ab_high, cd_high),
        _mm256_unpackhi_epi16(ab_high, cd_high),
    ]
}

/// A block of inputs.
///
/// # Safety
///
/// It lies in `window`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn tap(window: &[i8], at: usize) -> __m256i {
    debug_assert!(at + BLOCK <= window.len(), "tap: a block at {at} of {}", window.len());
    // SAFETY: the caller's.
    let first = unsafe { window.as_ptr().add(at) };
    // SAFETY: 32 bytes lie in the window, and the load needs no alignment.
    let values = unsafe { _mm256_loadu_si256(first.cast()) };
    // As unsigned bytes, `x + 128`; the bias takes it back.
    _mm256_xor_si256(values, _mm256_set1_epi8(i8::MIN))
}

/// The constants of a block's channels in the order of [`lane`].
#[inline]
#[target_feature(enable = "avx2")]
fn in_lanes<V: bytemuck::Pod>(values: &[V]) -> [V; BLOCK] {
    let mut lanes = [V::zeroed(); BLOCK];
    for (channel, &value) in values[..BLOCK].iter().enumerate() {
        lanes[lane(channel)] = value;
    }
    lanes
}

/// The kernel with one encoding of `vpdpbusd`.
macro_rules! kernel {
    ($features:literal, $dpbusd:ident) => {
        use super::*;
        use crate::kernels::x86::avx2::{load_f32x8, load_i32x8};

        #[target_feature(enable = $features)]
        pub(super) fn run(run: &mut Run<'_, Int8>) {
            let requantizer = Requantizer::new(run.epilogue.output);
            let (weight, _) = run.weight.as_chunks::<BLOCK>();
            let (weight, _) = weight.as_chunks::<GROUP>();
            let groups = run.offsets.len() / GROUP;
            for (i, weight) in weight.chunks_exact(groups).enumerate() {
                let channel = i * BLOCK;
                let bias = in_lanes(&run.epilogue.bias[channel..]);
                let multiplier = in_lanes(&run.epilogue.multiplier[channel..]);
                let ((bias, _), (multiplier, _)) = (bias.as_chunks(), multiplier.as_chunks());
                let block = Block {
                    channel,
                    weight,
                    bias: [0, 1, 2, 3].map(|v| load_i32x8(&bias[v])),
                    multiplier: [0, 1, 2, 3].map(|v| load_f32x8(&multiplier[v])),
                    requantizer: &requantizer,
                };
                let (taps, _) = run.offsets.as_chunks::<GROUP>();
                match *taps {
                    [a, b, c] if b[0] - a[0] == run.line && c[0] - b[0] == run.line => {
                        roll::<1>(&block, run);
                    }
                    [a, _, c] if c[0] - a[0] == run.line => roll::<2>(&block, run),
                    _ => each(&block, run),
                }
            }
        }

        /// Three kernel rows of up to four taps, going down columns with the sums begun.
        ///
        /// The inputs of output rows lie `STRIDE` kernel rows apart.
        #[inline]
        #[target_feature(enable = $features)]
        fn roll<const STRIDE: usize>(block: &Block<'_>, run: &mut Run<'_, Int8>) {
            let Run { line, y_row, step, channels, x, .. } = *run;
            let (&[a, b, c], &[w0, w1, w2]) = (run.offsets.as_chunks().0, block.weight) else {
                return;
            };
            let (a, b, c) = (Taps::new(a), Taps::new(b), Taps::new(c));
            for (pixel, at) in (block.channel..y_row).step_by(channels).enumerate() {
                let mut start = pixel * step + block.channel;
                let cols = BLOCK.min(channels - block.channel).min(y_row - at);
                let mut sums = add_products(block.bias, quad(x, start, &a), &w0);
                let mut begun = block.bias;
                if STRIDE == 1 {
                    let second = quad(x, start, &b);
                    sums = add_products(sums, second, &w1);
                    begun = add_products(begun, second, &w0);
                }
                for y in run.column(at) {
                    if STRIDE == 2 {
                        sums = add_products(sums, quad(x, start, &b), &w1);
                    }
                    let last = quad(x, start, &c);
                    let done = add_products(sums, last, &w2);
                    if STRIDE == 1 {
                        sums = add_products(begun, last, &w1);
                    }
                    begun = add_products(block.bias, last, &w0);
                    if STRIDE == 2 {
                        sums = begun;
                    }
                    block.store(&mut run.y[y..y + cols], done);
                    start += line;
                }
            }
        }

        /// Any kernel: all taps of each pixel.
        #[inline]
        #[target_feature(enable = $features)]
        fn each(block: &Block<'_>, run: &mut Run<'_, Int8>) {
            for row in 0..run.rows {
                for (start, stored) in run.pixels::<BLOCK>(row, block.channel) {
                    let mut sums = block.bias;
                    for (taps, weights) in run.offsets.as_chunks().0.iter().zip(block.weight) {
                        sums = add_products(sums, quad(run.x, start, &Taps::new(*taps)), weights);
                    }
                    block.store(&mut run.y[stored], sums);
                }
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn add_products(sums: Quad, x: Quad, weights: &Weights) -> Quad {
            let mut all = sums;
            for v in 0..4 {
                all[v] = $dpbusd(all[v], x[v], load_i8x32(&weights[v]));
            }
            all
        }
    };
}

mod vex {
    kernel!("avx2,avxvnni", _mm256_dpbusd_avx_epi32);
}

mod evex {
    kernel!("avx2,avx512vl,avx512vnni", _mm256_dpbusd_epi32);
}

impl Block<'_> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(&self, y: &mut [i8], sums: Quad) {
        store_i8x32(y, self.requantizer.apply_in_halves(sums, self.multiplier));
    }
}
