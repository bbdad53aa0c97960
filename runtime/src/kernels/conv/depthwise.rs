//! Depthwise convolution: channels side by side, rows of the output from bands of the input.

use alloc::vec::Vec;
use core::ops::Range;

use super::band::Bands;
use super::{ConvShape, PlacedConv};
use crate::kernels::aligned::Aligned;
use crate::kernels::depthwise::{Kernel, Run};
use crate::kernels::gemm::Arithmetic;
use crate::kernels::image::Image;

/// Bytes of a band: a fraction of a small board's second-level cache.
const BAND_BYTES: usize = 64 * 1024;
/// How much larger bands are that are not copied: more rows share what they read.
const IN_PLACE: usize = 16;
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
    /// Whether bands are read from the image without a copy.
    in_place: bool,
    x: Image,
    y: Image,
    offsets: Vec<usize>,
}

/// Whether the input can be read in place, once its margin holds the padding.
pub(super) fn reads_images(shape: &ConvShape, fold: usize) -> bool {
    shape.out_c == shape.in_c && (shape.stride[1] == 1 || fold == 1)
}

impl<T: Arithmetic> DepthwiseConv<T> {
    /// Packs `weight` `[fold · out_c, taps]`; the kernel is one that this CPU can run.
    ///
    /// Weights and the constants in `epilogue` are those of all channels `fold` times.
    pub(super) fn new(
        conv: &PlacedConv,
        kernel: Kernel<T>,
        (fold, weight): (usize, &[T::Value]),
        epilogue: T::Epilogue,
        zero: T::Value,
    ) -> Self {
        let shape = conv.shape;
        assert_eq!(conv.channels, (0, shape.out_c), "depthwise: part of the output's channels");
        let budget = BAND_BYTES / size_of::<T::Value>();
        let readable = conv.overread && reads_images(&shape, fold);
        let in_image = Bands::of_image(conv, IN_PLACE * budget).filter(|_| readable);
        let in_place = in_image.is_some();
        let bands = in_image.unwrap_or_else(|| {
            let bands = Bands::new(conv, shape.out_c / shape.in_c, budget);
            if fold > 1 { bands.with_columns_by_remainder() } else { bands }
        });
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
            in_place,
            x: conv.x_image(),
            y: conv.y_image(),
        }
    }

    /// Whether neighbouring pixels fill a block together.
    pub(super) fn is_folded(&self) -> bool {
        self.fold > 1
    }

    /// What the last block of the last pixel reads past a band.
    fn past(&self) -> usize {
        self.fold * self.shape.out_c + self.kernel.block
    }

    /// Elements of the input that have to be readable.
    pub(super) fn x_len(&self) -> usize {
        self.x.len() + if self.in_place { self.past() } else { 0 }
    }

    /// Bytes of scratch.
    pub(super) fn scratch_len(&self) -> usize {
        if self.in_place { 0 } else { (self.bands.len() + self.past()) * size_of::<T::Value>() }
    }

    /// Computes output rows; `y` begins at the first pixel of the first one.
    pub(super) fn run(
        &self,
        output_rows: Range<usize>,
        x: &[T::Value],
        y: &mut [T::Value],
        scratch: &mut [u8],
    ) {
        let start = output_rows.start;
        let ConvShape { out_c, stride, .. } = self.shape;
        let band: &mut [T::Value] = super::elements(scratch);
        for (first, rows) in self.bands.each(output_rows) {
            let x = if self.in_place {
                self.bands.view(first, x)
            } else {
                self.bands.fill((first, rows), self.zero, x, band);
                &*band
            };
            self.kernel.run(&mut Run {
                x,
                offsets: &self.offsets,
                step: self.fold * self.bands.step(),
                line: stride[0] * self.bands.line(),
                channels: self.fold * out_c,
                weight: &self.weight,
                epilogue: &self.epilogue,
                y: &mut y[(first - start) * self.y.line()..],
                rows,
                y_row: self.y.row(),
                y_line: self.y.line(),
            });
        }
    }
}
