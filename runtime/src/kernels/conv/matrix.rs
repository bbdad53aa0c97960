//! Convolution as a matrix product whose left side is read from bands of the input.
//!
//! A window is a few segments of neighbouring elements (one a kernel row, or one a tap), so that
//! there is no im2col; tiles run across image rows.

use alloc::vec::Vec;
use core::ops::Range;

use super::band::Bands;
use super::{ConvShape, PlacedConv};
use crate::kernels::gemm::{Arithmetic, Depth, Gemm, Left, Tile};
use crate::kernels::image::Image;

/// Bytes of a band: a fraction of a small board's second-level cache.
const BAND_BYTES: usize = 128 * 1024;

/// A convolution by matrix products.
pub(super) struct MatrixConv<T: Arithmetic> {
    shape: ConvShape,
    gemm: Gemm<T>,
    /// Stands for 0.0 in the input.
    zero: T::Value,
    bands: Bands,
    /// Whether bands are read from the image without a copy.
    in_place: bool,
    /// Elements of the input, with those behind it that are read.
    x_len: usize,
    y: Image,
    /// Where its channels begin in those of the output image.
    channel: usize,
    pixels: Vec<usize>,
    /// Where the band's output pixels lie from the first one on.
    places: Vec<usize>,
    segments: Vec<usize>,
    groups: Vec<usize>,
    encode: Option<fn(&mut [T::Value])>,
    /// Elements of a band, with what a tile reads past the last segment.
    band_len: usize,
}

impl<T: Arithmetic> MatrixConv<T> {
    /// Packs `weight` `[out_c, kh, kw, in_c / groups]`; the tile is one that this CPU can run.
    pub(super) fn new(
        conv: &PlacedConv,
        tile: Tile<T>,
        weight: &[T::Value],
        epilogue: T::Epilogue,
        zero: T::Value,
    ) -> Self {
        let (shape, y) = (conv.shape, conv.y_image());
        let budget = BAND_BYTES / size_of::<T::Value>();
        let [kernel_h, kernel_w] = shape.kernel;
        let width = shape.in_c / shape.groups;
        let rows_are_whole = shape.groups == 1 && (shape.dilation[1] == 1 || kernel_w == 1);
        let (taps, segment) =
            if rows_are_whole { (1, kernel_w * width) } else { (kernel_w, width) };
        let past = segment.next_multiple_of(tile.k_group) - segment;
        let readable = tile.encode.is_none() && (past == 0 || conv.overread);
        let in_image = Bands::of_image(conv, budget).filter(|_| readable);
        let in_place = in_image.is_some();
        let bands = in_image.unwrap_or_else(|| Bands::new(conv, 1, budget));
        let (y_line, columns) = (y.line(), y.w);
        let (channel, channels) = conv.channels;
        let places = (0..bands.rows())
            .flat_map(|row| (0..columns).map(move |column| row * y_line + column * channels));
        let segments = (0..kernel_h).flat_map(|ky| (0..taps).map(move |kx| (ky, kx)));
        let segments: Vec<usize> = segments.map(|(ky, kx)| bands.tap(ky, kx)).collect();
        let steps = segment.div_ceil(tile.k_group);
        let groups = |&start: &usize| (0..steps).map(move |step| start + step * tile.k_group);
        let depth = Depth { segments: kernel_h * taps, segment };
        Self {
            groups: segments.iter().flat_map(groups).collect(),
            segments,
            encode: tile.encode,
            pixels: bands.pixels(),
            places: places.collect(),
            x_len: conv.x_image().len() + if in_place { past } else { 0 },
            band_len: bands.len() + tile.k_group,
            gemm: Gemm::new(tile, shape.out_c / shape.groups, depth, weight, epilogue),
            shape,
            y,
            channel,
            zero,
            bands,
            in_place,
        }
    }

    /// Channels in a panel of the tile.
    pub(super) fn panel(&self) -> usize {
        self.gemm.panel()
    }

    /// Bytes of scratch.
    pub(super) fn scratch_len(&self) -> usize {
        if self.in_place { 0 } else { self.band_len * size_of::<T::Value>() }
    }

    /// Elements of the input that have to be readable.
    pub(super) fn x_len(&self) -> usize {
        self.x_len
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
        let ConvShape { groups, in_c, out_w, out_c, .. } = self.shape;
        let band: &mut [T::Value] = super::elements(scratch);
        for (first, rows) in self.bands.each(output_rows) {
            let band = if self.in_place {
                self.bands.view(first, x)
            } else {
                self.bands.fill((first, rows), self.zero, x, band);
                if let Some(encode) = self.encode {
                    encode(band);
                }
                &*band
            };
            for group in 0..groups {
                let left = Left {
                    values: &band[group * (in_c / groups)..],
                    pixels: &self.pixels[..rows * out_w],
                    segments: &self.segments,
                    groups: &self.groups,
                };
                let place = (first - start) * self.y.line() + self.channel;
                let place = place + group * (out_c / groups);
                let places = &self.places[..rows * out_w];
                self.gemm.run(group, left, (&mut y[place..], places));
            }
        }
    }
}
