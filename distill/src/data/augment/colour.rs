//! Changes of what pixels are: those of Pillow's `ImageEnhance` and `ImageOps`.

use super::super::picture;
use crate::random::{self, Stream};

/// Brightness, contrast and saturation, each by a random factor of `1 ± most`, in random order.
pub(super) fn jitter(pixels: &mut [u8], shape: [usize; 3], most: f32, stream: &mut Stream) {
    for change in random::permutation(3, stream) {
        let factor = 1.0 + most * (2.0 * stream.unit() - 1.0);
        match change {
            0 => brightness(pixels, factor),
            1 => contrast(pixels, shape, factor),
            _ => saturation(pixels, shape, factor),
        }
    }
}

/// Black at 0, unchanged at 1.
pub(super) fn brightness(pixels: &mut [u8], factor: f32) {
    for v in pixels {
        *v = blend(0.0, *v, factor);
    }
}

/// At 0 the mean grey, unchanged at 1.
pub(super) fn contrast(pixels: &mut [u8], shape: [usize; 3], factor: f32) {
    let grey = greys(pixels, shape);
    let sum: u64 = grey.iter().map(|&v| u64::from(v)).sum();
    let mean = (sum as f64 / grey.len().max(1) as f64 + 0.5).floor() as f32;
    for v in pixels {
        *v = blend(mean, *v, factor);
    }
}

/// Grey at 0, unchanged at 1; an image without colours stays as it is.
pub(super) fn saturation(pixels: &mut [u8], shape @ [c, h, w]: [usize; 3], factor: f32) {
    if c != 3 {
        return;
    }
    let grey = greys(pixels, shape);
    for plane in pixels.chunks_exact_mut(h * w) {
        for (v, &grey) in plane.iter_mut().zip(&grey) {
            *v = blend(f32::from(grey), *v, factor);
        }
    }
}

/// Smooth at 0 (each pixel five times as heavy as its eight neighbours), unchanged at 1; the border
/// stays.
pub(super) fn sharpness(pixels: &mut [u8], [_, h, w]: [usize; 3], factor: f32) {
    for plane in pixels.chunks_exact_mut(h * w) {
        let from = plane.to_vec();
        for y in 1..h.saturating_sub(1) {
            for x in 1..w.saturating_sub(1) {
                let rows = [y - 1, y, y + 1].map(|y| &from[y * w + x - 1..y * w + x + 2]);
                let sum: u32 = rows.iter().flat_map(|row| row.iter()).map(|&v| u32::from(v)).sum();
                let own = from[y * w + x];
                let smooth = ((sum + 4 * u32::from(own)) as f32 / 13.0 + 0.5).floor();
                plane[y * w + x] = blend(smooth, own, factor);
            }
        }
    }
}

/// The lowest byte of each channel becomes 0, the highest 255.
pub(super) fn autocontrast(pixels: &mut [u8], [_, h, w]: [usize; 3]) {
    for plane in pixels.chunks_exact_mut(h * w) {
        let (low, high) = plane.iter().fold((255, 0), |(l, h), &v| (v.min(l), v.max(h)));
        if low < high {
            let scale = 255.0 / f32::from(high - low);
            for v in plane {
                *v = (f32::from(*v - low) * scale) as u8;
            }
        }
    }
}

/// Each channel's bytes become equally frequent, as far as that goes.
pub(super) fn equalize(pixels: &mut [u8], [_, h, w]: [usize; 3]) {
    for plane in pixels.chunks_exact_mut(h * w) {
        let mut histogram = [0_usize; 256];
        for &v in plane.iter() {
            histogram[usize::from(v)] += 1;
        }
        let highest = plane.iter().max().map_or(0, |&v| histogram[usize::from(v)]);
        let step = (plane.len() - highest) / 255;
        if step == 0 {
            continue;
        }
        let mut below = step / 2;
        let table = histogram.map(|count| {
            let value = (below / step).min(255) as u8;
            below += count;
            value
        });
        for v in plane {
            *v = table[usize::from(*v)];
        }
    }
}

/// Bytes from `threshold` on are inverted.
pub(super) fn solarize(pixels: &mut [u8], threshold: f32) {
    for v in pixels.iter_mut().filter(|v| f32::from(**v) >= threshold) {
        *v = 255 - *v;
    }
}

/// The highest `bits` bits of each byte are kept.
pub(super) fn posterize(pixels: &mut [u8], bits: usize) {
    let mask = (0xff00_u16 >> bits.min(8)) as u8;
    for v in pixels {
        *v &= mask;
    }
}

/// One byte a pixel.
fn greys(pixels: &[u8], shape @ [_, h, w]: [usize; 3]) -> Vec<u8> {
    picture::with_channels(pixels, shape, 1).unwrap_or_else(|| pixels[..h * w].to_vec())
}

/// From `other` at 0 to `own` at 1, and on.
fn blend(other: f32, own: u8, factor: f32) -> u8 {
    (other + (f32::from(own) - other) * factor).clamp(0.0, 255.0) as u8
}
