//! Depthwise sums: each channel by its own taps, channels side by side in vectors.

#[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
mod armv7;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod dotprod;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;

use alloc::vec::Vec;
use core::ops::Range;

use super::Isa;
use super::aligned::Aligned;
use super::conv::ConvShape;
use super::gemm::Arithmetic;
use super::gemm::float::Float;
use super::gemm::int8::Int8;

/// Computes bands of output rows for one instruction set.
pub(crate) struct Kernel<T: Arithmetic> {
    /// Channels in a block: packed weights and constants are padded to a multiple.
    pub(crate) block: usize,
    /// Neighbouring taps that lie together in the packed weights.
    pub(crate) tap_group: usize,
    /// Whether each kernel row has groups of its own, or groups run on into the next row.
    pub(crate) by_rows: bool,
    /// Where a channel's weights lie in its block.
    pub(crate) lane: fn(usize) -> usize,
    /// Unsafe to call where the CPU lacks the instruction set of the kernel.
    pub(crate) run: unsafe fn(&mut Run<'_, T>),
}

/// Rows of output pixels; the inputs of neighbours in a row lie `step` apart.
pub(crate) struct Run<'a, T: Arithmetic> {
    /// Input from the first pixel's first tap on; a block can be read at each tap of each pixel.
    pub(crate) x: &'a [T::Value],
    /// Where each tap lies from the pixel's first; as many as packed weights have taps.
    pub(crate) offsets: &'a [usize],
    /// Distance between the inputs of neighbouring pixels.
    pub(crate) step: usize,
    /// Distance between the inputs of output rows.
    pub(crate) line: usize,
    /// Channels, of input and output.
    pub(crate) channels: usize,
    /// `[blocks, taps / tap_group, block, tap_group]`.
    pub(crate) weight: &'a [T::Value],
    /// Constants of all channels, padded to blocks.
    pub(crate) epilogue: &'a T::Epilogue,
    /// Output, rows of `[pixels, channels]`; the last pixel of a row may end early.
    pub(crate) y: &'a mut [T::Value],
    /// Output rows.
    pub(crate) rows: usize,
    /// Elements of an output row.
    pub(crate) y_row: usize,
    /// Distance between output rows.
    pub(crate) y_line: usize,
}

impl<T: Arithmetic> Kernel<T> {
    /// The taps of the packed weights, as kernel row and column; none where padded.
    pub(crate) fn taps(&self, [h, w]: [usize; 2]) -> Vec<Option<[usize; 2]>> {
        let columns = |row| (0..w).map(move |column| Some([row, column]));
        let group = self.tap_group;
        let padded = |taps: Vec<_>| {
            let padding = taps.len().next_multiple_of(group) - taps.len();
            taps.into_iter().chain(core::iter::repeat_n(None, padding))
        };
        if self.by_rows {
            (0..h).flat_map(|row| padded(columns(row).collect())).collect()
        } else {
            padded((0..h).flat_map(columns).collect()).collect()
        }
    }

    /// Packs `weight` `[channels, kh, kw]`, with zeros where padded.
    pub(crate) fn pack(&self, kernel: [usize; 2], weight: &[T::Value]) -> Aligned<T::Value> {
        let (block, group, taps) = (self.block, self.tap_group, self.taps(kernel));
        let area = kernel[0] * kernel[1];
        let channels = (weight.len() / area).next_multiple_of(block);
        let mut packed = Aligned::zeroed(channels * taps.len());
        let values = packed.as_mut_slice();
        for (channel, weights) in weight.chunks_exact(area).enumerate() {
            let first = channel / block * block * taps.len();
            for (i, tap) in taps.iter().enumerate() {
                let Some([ky, kx]) = tap else { continue };
                let lane = i / group * block + (self.lane)(channel % block);
                values[first + lane * group + i % group] = weights[ky * kernel[1] + kx];
            }
        }
        packed
    }

    /// Computes the rows.
    pub(crate) fn run(&self, run: &mut Run<'_, T>) {
        #[expect(unsafe_code, reason = "the one call through the table of depthwise kernels")]
        // SAFETY: `int8` and `float` hand out a kernel only after `Isa::assert_available` has
        // seen its instruction set on this CPU.
        unsafe {
            (self.run)(run);
        }
    }
}

impl<T: Arithmetic> Run<'_, T> {
    /// Where a column of output pixels lies that begins at `at`.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline(always)]
    pub(crate) fn column(&self, at: usize) -> impl Iterator<Item = usize> + use<T> {
        let line = self.y_line;
        (0..self.rows).map(move |row| at + row * line)
    }

    /// Where each pixel of a row's block begins in the input, and which channels it stores where.
    #[inline(always)]
    pub(crate) fn pixels<const BLOCK: usize>(
        &self,
        row: usize,
        channel: usize,
    ) -> impl Iterator<Item = (usize, Range<usize>)> + use<T, BLOCK> {
        let Self { step, channels, y_row, .. } = *self;
        let (x, y) = (row * self.line + channel, row * self.y_line);
        let cols = BLOCK.min(channels - channel);
        let starts = (channel..y_row).step_by(channels).enumerate();
        starts.map(move |(pixel, at)| (x + pixel * step, y + at..y + y_row.min(at + cols)))
    }

    /// A block of inputs; lanes without a channel read what lies behind.
    #[inline(always)]
    pub(crate) fn load<const BLOCK: usize>(&self, at: usize) -> &[T::Value; BLOCK] {
        let Some(block) = self.x[at..].first_chunk() else {
            panic!("depthwise: no {BLOCK} elements at {at} of {}", self.x.len());
        };
        block
    }
}

/// Whether the int8 kernel for an instruction set fills blocks with neighbouring pixels itself, so
/// that nothing is gained by folding them.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "none does"))]
pub(crate) fn gathers(isa: Isa, shape: &ConvShape) -> bool {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512vnni::gathers(shape),
        _ => false,
    }
}

/// The int8 kernel for an instruction set; panics when this CPU lacks it.
pub(crate) fn int8(isa: Isa) -> Kernel<Int8> {
    isa.assert_available();
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::INT8,
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => avxvnni::int8(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512vnni::INT8,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::INT8,
        #[cfg(target_arch = "aarch64")]
        Isa::Dotprod | Isa::I8mm => dotprod::INT8,
        #[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
        Isa::Armv7Neon => armv7::INT8,
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Isa::Simd128 => simd128::INT8,
        _ => portable::INT8,
    }
}

/// The f32 kernel for an instruction set; panics when this CPU lacks it.
pub(crate) fn float(isa: Isa) -> Kernel<Float> {
    isa.assert_available();
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => avx2::FLOAT,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512::FLOAT,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::Dotprod | Isa::I8mm => neon::FLOAT,
        _ => portable::FLOAT,
    }
}
