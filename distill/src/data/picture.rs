//! One picture as bytes, decoded from JPEG or PNG.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::resize;

/// Longest side of a picture.
const MOST_SIDE: u32 = 1 << 15;

/// Most memory that decoding one picture may take: a small file may promise a huge picture.
const MOST_BYTES: u64 = 1 << 29;

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// `[c, h, w]`: 1 channel (grey) or 3 (red, green, blue).
    pub(super) shape: [usize; 3],
    /// One plane a channel, rows from the top.
    pub(super) pixels: Vec<u8>,
}

/// Whether the name of a file says that it is a picture that is read here.
pub(super) fn is_picture(name: &str) -> bool {
    ending(name, &["jpg", "jpeg", "png"])
}

/// Whether the name of a file says that it is a picture that is not read here.
pub(super) fn is_other_picture(name: &str) -> bool {
    ending(name, &["bmp", "gif", "heic", "ppm", "pgm", "tif", "tiff", "webp", "avif"])
}

fn ending(name: &str, among: &[&str]) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| among.contains(&ending.as_str()))
}

/// The picture in a JPEG or PNG file as [`decode`] finds it, scaled to `size` (`[h, w]`).
pub(super) fn read(bytes: &[u8], size: Option<[usize; 2]>) -> Result<Picture, String> {
    let Picture { shape: shape @ [c, h, w], pixels } = decode(bytes)?;
    Ok(match size {
        Some(size @ [to_h, to_w]) if size != [h, w] => {
            Picture { shape: [c, to_h, to_w], pixels: resize::resize(&pixels, shape, size) }
        }
        _ => Picture { shape, pixels },
    })
}

/// The picture in a JPEG or PNG file: 8 bits a channel, without transparency and not turned.
///
/// The error says what is wrong with the file.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let guessed = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = guessed.map_err(|e| format!("cannot be read: {e}"))?;
    match reader.format() {
        Some(ImageFormat::Jpeg) if !is_whole_jpeg(bytes) => {
            return Err("is a JPEG that is cut short".into());
        }
        Some(ImageFormat::Jpeg | ImageFormat::Png) => {}
        _ => return Err("is neither JPEG nor PNG".into()),
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| format!("cannot be decoded: {e}"))?;
    let (w, h) = (image.width() as usize, image.height() as usize);
    if w == 0 || h == 0 {
        return Err("has no pixels".into());
    }
    Ok(if image.color().has_color() {
        let interleaved = image.into_rgb8().into_raw();
        let plane = |c: usize| interleaved.iter().skip(c).step_by(3).copied();
        Picture { shape: [3, h, w], pixels: (0..3).flat_map(plane).collect() }
    } else {
        // Never through a mixture of colours: there are none.
        Picture { shape: [1, h, w], pixels: DynamicImage::into_luma8(image).into_raw() }
    })
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

/// Images `[c, h, w]` that lie one after another with `channels` instead of `c` channels: grey is
/// repeated; colours are mixed by ITU-R BT.601 (0.299, 0.587, 0.114), as Pillow does.
///
/// `None` where there is no such mixture.
pub(super) fn with_channels(
    pixels: &[u8],
    [c, h, w]: [usize; 3],
    channels: usize,
) -> Option<Vec<u8>> {
    let plane = h.saturating_mul(w).max(1);
    match (c, channels) {
        (1, _) => {
            let repeated = pixels.chunks_exact(plane).flat_map(|grey| vec![grey; channels]);
            Some(repeated.flatten().copied().collect())
        }
        (3, 1) => {
            let images = pixels.chunks_exact(plane.saturating_mul(3)).flat_map(|image| {
                let (r, rest) = image.split_at(plane);
                let (g, b) = rest.split_at(plane);
                r.iter().zip(g).zip(b).map(|((&r, &g), &b)| grey([r, g, b]))
            });
            Some(images.collect())
        }
        _ => (c == channels).then(|| pixels.to_vec()),
    }
}

/// In 16 bits behind the point, rounded.
fn grey(rgb: [u8; 3]) -> u8 {
    let weighted =
        rgb.iter().zip([19595_u32, 38470, 7471]).map(|(&v, k)| u32::from(v).wrapping_mul(k));
    (weighted.sum::<u32>().saturating_add(0x8000) >> 16) as u8
}
