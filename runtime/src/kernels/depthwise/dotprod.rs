//! Depthwise sums for AArch64 with `sdot`: four neighbouring taps of a channel side by side.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::aarch64::*;

use super::neon::{Sums, Taps};
use super::{Kernel, Run};
use crate::kernels::aarch64::dotprod::dot;
use crate::kernels::aarch64::neon::{Requantizer, load_i8x16, load_i32x4, store_i8};
use crate::kernels::gemm::int8::Int8;

/// Channels in a block.
const BLOCK: usize = 16;
/// Taps in a lane of 32 bits.
const GROUP: usize = 4;

pub(super) const INT8: Kernel<Int8> =
    Kernel { block: BLOCK, tap_group: GROUP, by_rows: true, lane: |channel| channel, run };

/// The inputs of a block's four neighbouring taps, four channels a vector.
type Quad = [int8x16_t; 4];
/// The weights for one [`Quad`].
type Weights = [[i8; BLOCK]; GROUP];

/// A block of channels with its constants.
struct Block<'a> {
    channel: usize,
    weight: &'a [Weights],
    bias: Sums,
    requantizer: Requantizer<4>,
}

#[target_feature(enable = "neon,dotprod")]
fn run(run: &mut Run<'_, Int8>) {
    let (weight, _) = run.weight.as_chunks::<BLOCK>();
    let (weight, _) = weight.as_chunks::<GROUP>();
    let (taps, _) = run.offsets.as_chunks::<GROUP>();
    for (i, weight) in weight.chunks_exact(taps.len()).enumerate() {
        let channel = i * BLOCK;
        let (bias, _) = run.epilogue.bias[channel..][..BLOCK].as_chunks();
        let block = Block {
            channel,
            weight,
            bias: [0, 1, 2, 3].map(|v| load_i32x4(&bias[v])),
            requantizer: Requantizer::new(run.epilogue, channel),
        };
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
    #[target_feature(enable = "neon,dotprod")]
    fn roll<const STRIDE: usize>(&self, run: &mut Run<'_, Int8>) {
        let Run { line, y_row, step, channels, x, .. } = *run;
        let (&[a, b, c], [w0, w1, w2]) = (run.offsets.as_chunks().0, self.weight) else {
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
                add_products(&mut sums, first, w0);
                add_products(&mut sums, second, w1);
                add_products(&mut sums, third, w2);
                let cols = BLOCK.min(channels - self.channel).min(y_row - at);
                store_i8(&mut run.y[y..y + cols], self.requantizer.apply(sums));
                (first, second) = if STRIDE == 1 { (second, third) } else { (third, third) };
                start += line;
            }
        }
    }

    /// Any kernel: all taps of each pixel.
    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn each(&self, run: &mut Run<'_, Int8>) {
        for row in 0..run.rows {
            for (start, stored) in run.pixels::<BLOCK>(row, self.channel) {
                let mut sums = self.bias;
                for (taps, weights) in run.offsets.as_chunks().0.iter().zip(self.weight) {
                    add_products(&mut sums, quad(run.x, start, &Taps::new(*taps)), weights);
                }
                store_i8(&mut run.y[stored], self.requantizer.apply(sums));
            }
        }
    }
}

/// Reads four taps of a block and brings those of a channel together.
#[inline]
#[target_feature(enable = "neon")]
fn quad(x: &[i8], start: usize, taps: &Taps<GROUP>) -> Quad {
    let [a, b, c, d] = taps.load(x, start);
    let pairs = |pairs: int8x16_t| vreinterpretq_s16_s8(pairs);
    let (ab_low, ab_high) = (pairs(vzip1q_s8(a, b)), pairs(vzip2q_s8(a, b)));
    let (cd_low, cd_high) = (pairs(vzip1q_s8(c, d)), pairs(vzip2q_s8(c, d)));
    [
        vzip1q_s16(ab_low, cd_low),
        vzip2q_s16(ab_low, cd_low),
        vzip1q_s16(ab_high, cd_high),
        vzip2q_s16(ab_high, cd_high),
    ]
    .map(|quads| vreinterpretq_s8_s16(quads))
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_products(sums: &mut Sums, x: Quad, weights: &Weights) {
    for v in 0..4 {
        sums[v] = dot(sums[v], load_i8x16(&weights[v]), x[v]);
    }
}
