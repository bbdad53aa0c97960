//! 3×3 kernels of neighbouring taps, strides 1 and 2.
//!
//! A window of four pixels in each lane of 32 bits serves two output pixels of stride 1, by weights
//! shifted by a pixel; three rows of windows roll down a strip of the image.
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their prefix")]

use core::arch::x86_64::*;

use super::{Quad, Weights, interleave, pixels, tap};
use crate::kernels::depthwise::Run;
use crate::kernels::gemm::int8::Int8;
use crate::kernels::x86::avx512::{
    LANES, Requantizer, in_memory, load_f32x16, load_i8x64, load_i32x16, store_i8x16, store_i8x32,
    store_i8x64, store_i8x64_all, transpose,
};

/// How the taps of a run lie.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// Distance between neighbouring pixels.
    pixel: usize,
    /// Distance between rows of the kernel.
    row: usize,
    /// Distance between output rows in rows of the kernel: 1 or 2.
    stride: usize,
    /// Whether the input of the next output pixel lies as many pixels on; else pixels are folded.
    square: bool,
}

impl Grid {
    /// The grid of a run, if it has one.
    pub(super) fn of(run: &Run<'_, Int8>) -> Option<Self> {
        let &[[a, a1, a2, _], [b, b1, b2, _], [c, c1, c2, _]] = run.offsets.as_chunks().0 else {
            return None;
        };
        // Columns that are sorted by their remainder may lie before those to their left.
        let (pixel, row) = (a1.checked_sub(a)?, b.checked_sub(a)?);
        let even = [(a1, a2), (b, b1), (b1, b2), (c, c1), (c1, c2)];
        let even = even.iter().all(|&(left, right)| left + pixel == right);
        let stride = run.line.checked_div(row)?;
        let rows = b + row == c && stride * row == run.line && (1..=2).contains(&stride);
        let square = pixel == run.channels && run.step == stride * pixel;
        let folded = pixel < run.channels && stride == 1;
        (even && rows && (square || folded)).then_some(Self { pixel, row, stride, square })
    }

    /// Computes a packed block of channels; false where rows are too short for it.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
    pub(super) fn run(
        self,
        run: &mut Run<'_, Int8>,
        channel: usize,
        weights: &[Weights; 3],
        requantizer: &Requantizer,
    ) -> bool {
        let left = run.channels - channel;
        let block = Block { grid: self, channel, weights, requantizer };
        if !self.square || left > 48 {
            match (self.stride, self.square) {
                (1, true) => Strip::<64>::new::<1>(&block, run, 0).pairs(run),
                (1, false) => Strip::<64>::new::<1>(&block, run, 0).all::<1, false>(run),
                _ => Strip::<64>::new::<2>(&block, run, 0).all::<2, false>(run),
            }
            return true;
        }
        let (width, rest) = match left {
            _ if run.channels == 8 => (8, 0),
            0..=16 => (16, 0),
            17..=32 => (32, 0),
            _ => (32, 16),
        };
        if run.y_row / run.channels < 64 / if rest > 0 { rest } else { width } {
            return false;
        }
        block.part(run, width, 0);
        if rest > 0 {
            block.part(run, rest, width);
        }
        true
    }
}

/// A packed block of channels.
struct Block<'a> {
    grid: Grid,
    channel: usize,
    weights: &'a [Weights; 3],
    requantizer: &'a Requantizer,
}

impl Block<'_> {
    /// The channels from `first` on, at most `width`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
    fn part(&self, run: &mut Run<'_, Int8>, width: usize, first: usize) {
        match (width, self.grid.stride, run.channels == width) {
            (8, 1, _) => Strip::<8>::new::<1>(self, run, first).all::<1, true>(run),
            (8, ..) => Strip::<8>::new::<2>(self, run, first).all::<2, true>(run),
            (16, 1, true) => Strip::<16>::new::<1>(self, run, first).all::<1, true>(run),
            (16, 1, _) => Strip::<16>::new::<1>(self, run, first).all::<1, false>(run),
            (16, _, true) => Strip::<16>::new::<2>(self, run, first).all::<2, true>(run),
            (16, ..) => Strip::<16>::new::<2>(self, run, first).all::<2, false>(run),
            (_, 1, true) => Strip::<32>::new::<1>(self, run, first).all::<1, true>(run),
            (_, 1, _) => Strip::<32>::new::<1>(self, run, first).all::<1, false>(run),
            (_, _, true) => Strip::<32>::new::<2>(self, run, first).all::<2, true>(run),
            _ => Strip::<32>::new::<2>(self, run, first).all::<2, false>(run),
        }
    }
}

/// `W` channels of the image, with the constants of four vectors of sums.
///
/// These are, for 64 channels, a pixel in the order of [`super::lane`]; for 32 two pixels, for 16
/// four, and for 8 eight: for stride 1 each vector has every other of four.
struct Strip<'a, const W: usize> {
    grid: Grid,
    channel: usize,
    /// Rows of the kernel; the second for the neighbour of the first output pixel.
    weights: [[Quad; 3]; 2],
    bias: Quad,
    multiplier: [__m512; 4],
    /// Brings four pixels of a channel together.
    gather: [__m512i; 2],
    /// Undoes what packing does to the order.
    order: __m512i,
    requantizer: &'a Requantizer,
}

impl<'a, const W: usize> Strip<'a, W> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
    fn new<const S: usize>(block: &Block<'a>, run: &Run<'_, Int8>, first: usize) -> Self {
        // Which sixteen channels each vector has, and whether its window begins a pixel early.
        let (chunks, late) = match (W, S) {
            (64, _) => ([0, 1, 2, 3], [0; 4]),
            (32, 1) => ([0, 1, 0, 1], [0, 0, 1, 1]),
            (32, _) => ([0, 1, 0, 1], [0; 4]),
            (_, 1) => ([0; 4], [0, 1, 0, 1]),
            _ => ([0; 4], [0; 4]),
        };
        let chunks = chunks.map(|chunk| first / LANES + chunk);
        let place = |natural: Quad| {
            let all = chunks.map(|chunk| natural[chunk]);
            if W == 8 { all.map(|v| _mm512_shuffle_i32x4::<0b01_00_01_00>(v, v)) } else { all }
        };
        let (bias, _) = run.epilogue.bias[block.channel..][..64].as_chunks();
        let (multiplier, _) = run.epilogue.multiplier[block.channel..][..64].as_chunks();
        let bias = [0, 1, 2, 3].map(|v| load_i32x16(&bias[v]));
        let multiplier = [0, 1, 2, 3].map(|v| _mm512_castps_si512(load_f32x16(&multiplier[v])));
        let (bias, multiplier) = match W {
            64 => (transpose(bias), transpose(multiplier)),
            _ => (place(bias), place(multiplier)),
        };
        let early = block.weights.map(|row| {
            let packed = row.map(|weights| load_i8x64(&weights));
            if W == 64 { packed } else { place(transpose(packed)) }
        });
        let shifted = |row: Quad| row.map(|weights| _mm512_slli_epi32::<8>(weights));
        let mut own = early;
        for (own, early) in own.iter_mut().zip(early) {
            let neighbour = shifted(early);
            for v in 0..4 {
                own[v] = if late[v] > 0 { neighbour[v] } else { early[v] };
            }
        }
        Self {
            grid: block.grid,
            channel: block.channel + first,
            weights: [own, early.map(shifted)],
            bias,
            multiplier: multiplier.map(|m| _mm512_castsi512_ps(m)),
            gather: [load_i8x64(const { &gather::<W>(0) }), load_i8x64(const { &gather::<W>(16) })],
            order: load_i32x16(const { &order::<W, S>() }),
            requantizer: block.requantizer,
        }
    }

    /// Pixels in a row: the last of folded ones may end before these channels.
    fn pixels(&self, run: &Run<'_, Int8>) -> usize {
        run.y_row.saturating_sub(self.channel).div_ceil(run.channels)
    }

    /// The whole image, a unit of pixels after another; the last may overlap the one before.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
    fn all<const S: usize, const DENSE: bool>(&self, run: &mut Run<'_, Int8>) {
        let (columns, unit) = (self.pixels(run), 64 / W);
        for first in (0..columns).step_by(unit) {
            self.column::<S, DENSE, 1>(run, first.min(columns - unit));
        }
    }

    /// The whole image in pairs of pixels.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
    fn pairs(&self, run: &mut Run<'_, Int8>) {
        let columns = self.pixels(run);
        for first in (0..columns - columns % 2).step_by(2) {
            self.column::<1, false, 2>(run, first);
        }
        if !columns.is_multiple_of(2) {
            self.column::<1, false, 1>(run, columns - 1);
        }
    }

    /// All rows of a unit of pixels that begins with `first`; of `N` units for 64 channels.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
    fn column<const S: usize, const DENSE: bool, const N: usize>(
        &self,
        run: &mut Run<'_, Int8>,
        first: usize,
    ) {
        let Run { line, step, channels, x, .. } = *run;
        let row = self.grid.row;
        let mut at = first * step + self.channel;
        let begin = first * channels + self.channel;
        let mut upper = self.window::<S, DENSE, N>(x, at);
        let mut middle = if S == 1 { self.window::<S, DENSE, N>(x, at + row) } else { upper };
        for y in run.column(begin) {
            if S == 2 {
                middle = self.window::<S, DENSE, N>(x, at + row);
            }
            let lower = self.window::<S, DENSE, N>(x, at + 2 * row);
            let weights = in_memory(&self.weights);
            for (n, [a, b, c]) in weights[..N].iter().enumerate() {
                let mut sums = self.bias;
                for v in 0..4 {
                    sums[v] = _mm512_dpbusd_epi32(sums[v], upper[v], a[v]);
                    sums[v] = _mm512_dpbusd_epi32(sums[v], middle[v], b[v]);
                    sums[v] = _mm512_dpbusd_epi32(sums[v], lower[v], c[v]);
                }
                self.store::<DENSE>(run, (y + n * channels, begin + n * channels), sums);
            }
            (upper, middle) = if S == 1 { (middle, lower) } else { (lower, lower) };
            at += line;
        }
    }

    /// Four pixels of each channel side by side, for each vector of sums.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    fn window<const S: usize, const DENSE: bool, const N: usize>(
        &self,
        x: &[i8],
        at: usize,
    ) -> Quad {
        let pixel = self.grid.pixel;
        // The last pixel that is read, and from there on as much as a load takes.
        let (last, load) = match (W, S, DENSE) {
            (64, ..) => (1 + N, 64),
            (32 | 16, 1, true) => (2, 64),
            (32, _, true) => (4, 64),
            (32, 1, _) => (3, 32),
            (32, ..) => (4, 32),
            (16, _, true) => (6, 64),
            (16, 1, _) => (5, 16),
            (16, ..) => (9, 16),
            (_, 1, _) => (4, 64),
            _ => (12, 64),
        };
        let window = &x[at..][..last * pixel + load];
        // SAFETY: the window has what is read at its last pixel, and so at each before it.
        let tap = |i: usize| unsafe { tap(window, i * pixel) };
        // SAFETY: as above.
        let some = |i: usize| unsafe { pixels::<W, DENSE>(window, i * pixel, pixel) };
        let [g, h] = self.gather;
        match (W, S) {
            (64, _) => interleave([tap(0), tap(1), tap(2), tap(last)]),
            (32, 1) => {
                let (a, b) = (some(0), some(2));
                let (low, high) =
                    (_mm512_permutex2var_epi8(a, g, b), _mm512_permutex2var_epi8(a, h, b));
                [low, high, low, high]
            }
            (32, _) => {
                let (a, b) = (some(0), some(2));
                let c = if DENSE {
                    some(4)
                } else {
                    // SAFETY: as above; the second of these pixels has weight zero.
                    unsafe { pixels::<W, DENSE>(window, 4 * pixel, 0) }
                };
                [
                    _mm512_permutex2var_epi8(a, g, b),
                    _mm512_permutex2var_epi8(a, h, b),
                    _mm512_permutex2var_epi8(b, g, c),
                    _mm512_permutex2var_epi8(b, h, c),
                ]
            }
            (_, 1) => {
                let next = if W == 8 { 4 } else { 2 };
                let (a, b) =
                    (_mm512_permutexvar_epi8(g, some(0)), _mm512_permutexvar_epi8(g, some(next)));
                [a, a, b, b]
            }
            _ => {
                let next = if W == 8 { 4 } else { 2 };
                [0, 1, 2, 3].map(|v| _mm512_permutexvar_epi8(g, some(v * next)))
            }
        }
    }

    /// Stores a unit of pixels at `y`, which is `column` in its row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn store<const DENSE: bool>(
        &self,
        run: &mut Run<'_, Int8>,
        (y, column): (usize, usize),
        sums: Quad,
    ) {
        let values = self.requantizer.apply_in_quarters(sums, self.multiplier);
        let cols = W.min(run.channels - self.channel);
        if W == 64 {
            return store_i8x64(&mut run.y[y..][..cols.min(run.y_row - column)], values);
        }
        let values = _mm512_permutexvar_epi32(self.order, values);
        if DENSE {
            if let Some(y) = run.y[y..].first_chunk_mut() {
                store_i8x64_all(y, values);
            }
        } else if W == 32 {
            store_i8x32(&mut run.y[y..][..cols], _mm512_castsi512_si256(values));
            let second = _mm512_extracti64x4_epi64::<1>(values);
            store_i8x32(&mut run.y[y + run.channels..][..cols], second);
        } else {
            let parts = [
                _mm512_castsi512_si128(values),
                _mm512_extracti32x4_epi32::<1>(values),
                _mm512_extracti32x4_epi32::<2>(values),
                _mm512_extracti32x4_epi32::<3>(values),
            ];
            for (i, part) in parts.into_iter().enumerate() {
                store_i8x16(&mut run.y[y + i * run.channels..][..cols], part);
            }
        }
    }
}

/// Where byte `i` of lane `l` lies in pixels of `W` channels that follow one another.
const fn gather<const W: usize>(first: usize) -> [i8; 64] {
    let mut from = [0; 64];
    let mut to = 0;
    while to < 64 {
        let (lane, i) = (to / 4, to % 4);
        from[to] = match W {
            8 => (lane / 8 * 2 + i) * 8 + lane % 8,
            16 => i * 16 + lane,
            _ => (i * 32 + first + lane) % 128,
        } as i8;
        to += 1;
    }
    from
}

/// Which four bytes of packed sums, by quarters of the four vectors, come in which place.
const fn order<const W: usize, const S: usize>() -> [i32; 16] {
    let mut from = [0; 16];
    let mut to = 0;
    while to < 16 {
        let (vector, quarter) = if W == 8 && S == 1 {
            let pixel = to / 2;
            (pixel / 4 * 2 + pixel % 2, pixel % 4 / 2 * 2 + to % 2)
        } else {
            (to / 4, to % 4)
        };
        from[to] = (4 * quarter + vector) as i32;
        to += 1;
    }
    from
}
