//! Depthwise convolution: channels side by side, rows of the output from bands of the input.

use alloc::vec::Vec;

use super::ConvShape;
use super::band::Bands;
use crate::kernels::aligned::Aligned;
use crate::kernels::depthwise::{Kernel, Run};
use crate::kernels::gemm::Arithmetic;

/// Bytes of a band: a fraction of a small board's second-level cache.
const BAND_BYTES: usize = 64 * 1024;
/// Most blocks of channels that are worth folding.
const FOLDED: usize = 8;

/// Neighbouring pixels taken as one with that many times the channels, so that blocks are full.
///
/// Neighbours in a row are neighbours in memory, tap by tap: with stride 1 as they are, else in
/// bands that hold columns by their remainder.
pub(super) fn fold(shape: &ConvShape, block: usize) -> usize {
    let full = (1..=block).find(|n| (n * shape.out_c).is_multiple_of(block)).unwrap_or(1);
    let worth = |pixels: usize| pixels * shape.out_c <= FOLDED * block;
    let narrow = shape.out_c < block || shape.stride[1] == 1;
    match full {
        _ if !narrow => 1,
        pixels if worth(pixels) && pixels <= shape.out_w => pixels,
        2.. if worth(shape.out_w) => shape.out_w,
        _ => 1,
    }
}

/// A convolution whose groups are single channels.
pub(super) struct DepthwiseConv<T: Arithmetic> {
    shape: ConvShape,
    kernel: Kernel<T>,
    /// Weights of `fold · out_c` channels, as the epilogue's constants.
    weight: Aligned<T::Value>,
    epilogue: T::Epilogue,
    /// Stands for 0.0 in the input.
    zero: T::Value,
    fold: usize,
    bands: Bands,
    offsets: Vec<usize>,
}

impl<T: Arithmetic> DepthwiseConv<T> {
    /// Packs `weight` `[fold · out_c, taps]`; the kernel is one that this CPU can run.
    ///
    /// Weights and the constants in `epilogue` are those of all channels [`fold`] times.
    pub(super) fn new(
        shape: ConvShape,
        kernel: Kernel<T>,
        weight: &[T::Value],
        epilogue: T::Epilogue,
        zero: T::Value,
    ) -> Self {
        let fold = fold(&shape, kernel.block);
        let budget = BAND_BYTES / size_of::<T::Value>();
        let bands = Bands::new(shape, shape.out_c / shape.in_c, budget);
        let bands = if fold > 1 { bands.with_columns_by_remainder() } else { bands };
        // A padded tap has weight zero and may read where the one before does.
        let offsets = kernel.taps(shape.kernel).into_iter().scan(0, |last, tap| {
            *last = tap.map_or(*last, |[ky, kx]| bands.tap(ky, kx));
            Some(*last)
        });
        Self {
            weight: kernel.pack(shape.kernel, weight),
            offsets: offsets.collect(),
            shape,
            kernel,
            epilogue,
            zero,
            fold,
            bands,
        }
    }

    /// Elements of scratch: a band, and what the last block of the last pixel reads past it.
    fn band_len(&self) -> usize {
        self.bands.len() + self.fold * self.shape.out_c + self.kernel.block
    }

    /// Bytes of scratch.
    pub(super) fn scratch_len(&self) -> usize {
        self.band_len() * size_of::<T::Value>()
    }

    pub(super) fn run(&self, x: &[T::Value], y: &mut [T::Value], scratch: &mut [u8]) {
        let ConvShape { out_w, out_c, stride, .. } = self.shape;
        let band: &mut [T::Value] = super::elements(scratch);
        let bands = self.bands.each();
        for (band_rows, y) in bands.zip(y.chunks_mut(self.bands.rows() * out_w * out_c)) {
            self.bands.fill(band_rows, self.zero, x, band);
            self.kernel.run(&mut Run {
                x: band,
                offsets: &self.offsets,
                step: self.fold * self.bands.step(),
                line: stride[0] * self.bands.line(),
                channels: self.fold * out_c,
                weight: &self.weight,
                epilogue: &self.epilogue,
                y,
                y_row: out_w * out_c,
            });
        }
    }
}
