//! Depthwise sums: each channel by its own taps, channels side by side in vectors.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use core::ops::Range;

use super::Isa;
use super::aligned::Aligned;
use super::gemm::Arithmetic;
use super::gemm::float::Float;
use super::gemm::int8::Int8;

/// Channels in a block: packed weights and constants are padded to a multiple.
pub(crate) const BLOCK: usize = 16;

/// Computes runs of neighbouring output pixels for one instruction set.
pub(crate) struct Kernel<T: Arithmetic> {
    /// Neighbouring taps that lie together in the packed weights.
    pub(crate) tap_group: usize,
    /// Unsafe to call where the CPU lacks the instruction set of the kernel.
    pub(crate) run: unsafe fn(&mut Run<'_, T>),
}

/// Output pixels whose inputs lie `step` apart.
pub(crate) struct Run<'a, T: Arithmetic> {
    /// Input from the first pixel's first tap on; a block can be read at each tap of each pixel.
    pub(crate) x: &'a [T::Value],
    /// Where each tap lies from the pixel's first; as many as packed weights have taps.
    pub(crate) offsets: &'a [usize],
    /// Distance between the inputs of neighbouring pixels.
    pub(crate) step: usize,
    /// Channels, of input and output.
    pub(crate) channels: usize,
    /// `[blocks, taps / tap_group, BLOCK, tap_group]`.
    pub(crate) weight: &'a [T::Left],
    /// Constants of all channels, padded to blocks.
    pub(crate) epilogue: &'a T::Epilogue,
    /// Output, `[pixels, channels]`; the last pixel may end early.
    pub(crate) y: &'a mut [T::Value],
}

impl<T: Arithmetic> Kernel<T> {
    /// Taps of the packed weights.
    pub(crate) fn padded_taps(&self, taps: usize) -> usize {
        taps.next_multiple_of(self.tap_group)
    }

    /// Packs `weight` `[channels, taps]`, with zeros where padded.
    pub(crate) fn pack(&self, taps: usize, weight: &[T::Value]) -> Aligned<T::Left> {
        let group = self.tap_group;
        let channels = (weight.len() / taps).next_multiple_of(BLOCK);
        let padded = self.padded_taps(taps);
        let mut packed = Aligned::zeroed(channels * padded);
        let values = packed.as_mut_slice();
        for (channel, weights) in weight.chunks_exact(taps).enumerate() {
            let block = channel / BLOCK * BLOCK * padded;
            for (tap, &w) in weights.iter().enumerate() {
                let lane = (tap / group * BLOCK + channel % BLOCK) * group + tap % group;
                values[block + lane] = w.into();
            }
        }
        packed
    }

    /// Computes the run.
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
    /// Where each pixel of a block begins in the input, and which channels it stores where.
    #[inline(always)]
    pub(crate) fn pixels(
        &self,
        channel: usize,
    ) -> impl Iterator<Item = (usize, Range<usize>)> + use<T> {
        let (step, channels, len) = (self.step, self.channels, self.y.len());
        let cols = BLOCK.min(channels - channel);
        let starts = (channel..len).step_by(channels).enumerate();
        starts.map(move |(pixel, at)| (pixel * step + channel, at..len.min(at + cols)))
    }

    /// A block of inputs; lanes without a channel read what lies behind.
    #[inline(always)]
    pub(crate) fn load(&self, at: usize) -> &[T::Value; BLOCK] {
        let Some(block) = self.x[at..].first_chunk() else {
            panic!("depthwise: no {BLOCK} elements at {at} of {}", self.x.len());
        };
        block
    }
}

/// The int8 kernel for an instruction set; panics when this CPU lacks it.
pub(crate) fn int8(isa: Isa) -> Kernel<Int8> {
    isa.assert_available();
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::INT8,
        _ => portable::INT8,
    }
}

/// The f32 kernel for an instruction set; panics when this CPU lacks it.
pub(crate) fn float(isa: Isa) -> Kernel<Float> {
    isa.assert_available();
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::FLOAT,
        _ => portable::FLOAT,
    }
}
