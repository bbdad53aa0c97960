//! Depthwise convolution: channels side by side, rows of the output from bands of the input.

use alloc::vec::Vec;

use super::ConvShape;
use super::band::Bands;
use crate::kernels::Isa;
use crate::kernels::aligned::Aligned;
use crate::kernels::depthwise::{BLOCK, Kernel, Run};
use crate::kernels::gemm::Arithmetic;

/// Bytes of a band: half of a small first-level cache.
const BAND_BYTES: usize = 16 * 1024;
/// Most channels that are worth folding.
const FOLDED: usize = 128;

/// Neighbouring pixels taken as one with that many times the channels, so that blocks are full.
///
/// Neighbours in a row with stride 1 are neighbours in memory, tap by tap.
pub(super) fn fold(shape: &ConvShape) -> usize {
    let pixels = (1..=BLOCK).find(|n| (n * shape.out_c).is_multiple_of(BLOCK)).unwrap_or(1);
    let worth = pixels * shape.out_c <= FOLDED && pixels <= shape.out_w;
    if worth && shape.stride[1] == 1 { pixels } else { 1 }
}

/// A convolution whose groups are single channels.
pub(super) struct DepthwiseConv<T: Arithmetic> {
    isa: Isa,
    shape: ConvShape,
    kernel: Kernel<T>,
    /// Weights of `fold · out_c` channels, as the epilogue's constants.
    weight: Aligned<T::Left>,
    epilogue: T::Epilogue,
    /// Stands for 0.0 in the input.
    zero: T::Value,
    fold: usize,
    bands: Bands,
    offsets: Vec<usize>,
}

impl<T: Arithmetic> DepthwiseConv<T> {
    /// Packs `weight` `[out_c, taps]`; the kernel is one that this CPU can run.
    ///
    /// `epilogue` has the constants of all channels [`fold`] times.
    pub(super) fn new(
        isa: Isa,
        shape: ConvShape,
        kernel: Kernel<T>,
        weight: &[T::Value],
        epilogue: T::Epilogue,
        zero: T::Value,
    ) -> Self {
        let fold = fold(&shape);
        let budget = BAND_BYTES / size_of::<T::Value>();
        let bands = Bands::new(shape, shape.out_c / shape.in_c, budget);
        // A padded tap has weight zero and may read where the last one does.
        let taps = (0..kernel.padded_taps(shape.taps())).map(|tap| tap.min(shape.taps() - 1));
        let place = |tap| bands.tap(tap / shape.kernel[1], tap % shape.kernel[1]);
        Self {
            weight: kernel.pack(shape.taps(), &weight.repeat(fold)),
            offsets: taps.map(place).collect(),
            isa,
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
        self.bands.len() + self.fold * self.shape.out_c + BLOCK
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
            self.isa.vectorized(|| self.bands.fill(band_rows, self.zero, x, band));
            for (row, y) in y.chunks_exact_mut(out_w * out_c).enumerate() {
                self.kernel.run(&mut Run {
                    x: &band[row * stride[0] * self.bands.line()..],
                    offsets: &self.offsets,
                    step: stride[1] * self.fold * out_c,
                    channels: self.fold * out_c,
                    weight: &self.weight,
                    epilogue: &self.epilogue,
                    y,
                });
            }
        }
    }
}
