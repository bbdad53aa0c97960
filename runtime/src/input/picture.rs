//! Pictures in files, decoded from JPEG or PNG: the same code in training, on the desk and on the board.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::Cursor;

use png::{BitDepth, ColorType, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::{Error, ErrorKind, Result};

/// Longest side of a picture.
const MOST_SIDE: usize = 1 << 15;

/// Most memory that decoding one picture may take: a small file may promise a huge picture.
const MOST_BYTES: usize = 1 << 29;

/// A picture of 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `[h, w, c]`: 1 channel (grey) or 3 (red, green, blue).
    pub shape: [usize; 3],
    /// The channels of a pixel side by side, rows from the top.
    pub pixels: Vec<u8>,
}

/// The picture in a JPEG or PNG file: without transparency, not turned, 16 bits rounded to 8.
///
/// Fails with what is wrong with the file; a picture that is cut short is none.
pub fn decode(file: &[u8]) -> Result<Picture> {
    if file.starts_with(super::image::PNG) {
        return png(file);
    }
    if file.starts_with(super::image::JPEG) {
        return if is_whole_jpeg(file) {
            jpeg(file)
        } else {
            Err(refused("is a JPEG that is cut short"))
        };
    }
    Err(refused("is neither JPEG nor PNG"))
}

fn png(file: &[u8]) -> Result<Picture> {
    let limits = png::Limits { bytes: MOST_BYTES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), limits);
    decoder.set_ignore_text_chunk(true);
    let info = decoder.read_header_info().map_err(|e| undecodable(&e))?;
    let size = [info.height as usize, info.width as usize];
    // Palettes and fewer bits become 8, 16 stay.
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|e| undecodable(&e))?;
    let (colour, depth) = reader.output_color_type();
    let wide = depth == BitDepth::Sixteen;
    let samples = colour.samples();
    let count = check(size, if wide { samples.saturating_mul(2) } else { samples })?;
    let mut bytes = vec![0; count];
    reader.next_frame(&mut bytes).map_err(|e| undecodable(&e))?;
    if wide {
        bytes = bytes.as_chunks().0.iter().map(|&value| narrowed(value)).collect();
    }
    let kept = match colour {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => 1,
        _ => 3,
    };
    if kept != samples {
        let pixels = bytes.chunks_exact(samples);
        bytes = pixels.flat_map(|pixel| pixel.iter().take(kept)).copied().collect();
    }
    let [h, w] = size;
    Ok(Picture { shape: [h, w, kept], pixels: bytes })
}

/// `round(v · 255 / 65535)` of a big-endian value.
fn narrowed(value: [u8; 2]) -> u8 {
    (u32::from(u16::from_be_bytes(value)).saturating_add(128) / 257) as u8
}

fn jpeg(file: &[u8]) -> Result<Picture> {
    // Not strict, as most programs: what stands between segments is passed over.
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(MOST_SIDE)
        .set_max_height(MOST_SIDE);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(|e| undecodable(&e))?;
    let (w, h) = decoder.dimensions().unwrap_or_default();
    let (space, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, 1),
        // From YCbCr, CMYK and YCCK.
        _ => (ColorSpace::RGB, 3),
    };
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(space));
    let mut pixels = vec![0; check([h, w], channels)?];
    decoder.decode_into(&mut pixels).map_err(|e| undecodable(&e))?;
    Ok(Picture { shape: [h, w, channels], pixels })
}

/// How many bytes a picture of `[h, w]` takes, which must be some and not too many.
fn check([h, w]: [usize; 2], bytes: usize) -> Result<usize> {
    if h == 0 || w == 0 {
        return Err(refused("has no pixels"));
    }
    let count = h.checked_mul(w).and_then(|pixels| pixels.checked_mul(bytes));
    match count {
        Some(count) if h.max(w) <= MOST_SIDE && count <= MOST_BYTES => Ok(count),
        _ => Err(refused(format!(
            "cannot be decoded: {w}×{h} pixels are beyond the limit of {MOST_SIDE} a side and {} MiB",
            MOST_BYTES >> 20
        ))),
    }
}

/// Whether a JPEG goes on to its end marker. Decoders show what is there of a picture that is cut
/// short and fill the rest with grey.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    // Past the start marker, which the format was guessed by.
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        // Within data of a scan any byte may come before the next marker.
        let Some(at) = rest.iter().position(|&b| b == 0xff) else { return false };
        rest = rest.get(at..).unwrap_or_default();
        match rest {
            [_, 0xd9, ..] => return true,
            // Fill bytes, escaped data and markers that stand alone.
            [_, 0xff, ..] => rest = rest.get(1..).unwrap_or_default(),
            [_, 0x00 | 0x01 | 0xd0..=0xd8, ..] => rest = rest.get(2..).unwrap_or_default(),
            [_, _, high, low, ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(len.saturating_add(2)..).unwrap_or_default();
            }
            _ => return false,
        }
    }
}

fn undecodable(error: &dyn core::fmt::Display) -> Error {
    refused(format!("cannot be decoded: {error}"))
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Input, "picture", message)
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
