//! One picture as bytes, decoded from JPEG or PNG.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use hipflask_runtime::input::image::grey;
use hipflask_runtime::input::picture;

use super::resize;

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

/// The picture in a JPEG or PNG file as the runtime decodes it.
///
/// The error says what is wrong with the file.
fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let found = picture::decode(bytes).map_err(|error| error.message().to_string())?;
    let ([h, w, c], interleaved) = (found.shape, found.pixels);
    if c == 1 {
        return Ok(Picture { shape: [1, h, w], pixels: interleaved });
    }
    let plane = |channel: usize| interleaved.iter().skip(channel).step_by(c).copied();
    Ok(Picture { shape: [c, h, w], pixels: (0..c).flat_map(plane).collect() })
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat, RgbaImage};

    use super::*;

    /// Against the `image` crate, which uses the same two decoders in its own way.
    #[test]
    fn pixels_are_those_of_the_image_crate() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/pictures");
        let names = ["colour.png", "444.jpg", "420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"];
        let mut files: Vec<_> =
            names.iter().map(|name| std::fs::read(format!("{folder}/{name}")).unwrap()).collect();
        let pixels: Vec<u8> = (0..9 * 7 * 4).map(|i| (i * i % 251) as u8).collect();
        let rgba = DynamicImage::from(RgbaImage::from_vec(9, 7, pixels).unwrap());
        let images: [DynamicImage; 7] = [
            rgba.to_luma_alpha8().into(),
            rgba.to_luma_alpha16().into(),
            rgba.to_luma16().into(),
            rgba.to_rgb16().into(),
            rgba.to_rgba16().into(),
            rgba.to_rgb8().into(),
            rgba,
        ];
        for image in images {
            let mut file = Cursor::new(Vec::new());
            image.write_to(&mut file, ImageFormat::Png).unwrap();
            files.push(file.into_inner());
        }
        for (number, file) in files.iter().enumerate() {
            let theirs = image::load_from_memory(file).unwrap();
            let (h, w) = (theirs.height() as usize, theirs.width() as usize);
            let ours = picture::decode(file).unwrap();
            let (channels, theirs) = if theirs.color().has_color() {
                (3, theirs.into_rgb8().into_raw())
            } else {
                (1, theirs.into_luma8().into_raw())
            };
            assert_eq!(ours.shape, [h, w, channels], "file {number}");
            assert!(ours.pixels == theirs, "file {number}");
            let planar = read(file, None).unwrap();
            assert_eq!(planar.shape, [channels, h, w], "file {number}");
            let last = [planar.pixels[h * w - 1], *planar.pixels.last().unwrap()];
            assert_eq!(last, [theirs[(h * w - 1) * channels], *theirs.last().unwrap()]);
        }
    }
}
