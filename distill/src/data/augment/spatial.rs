//! Changes of where pixels stand.

use crate::random::Stream;

/// A border of `border` zero bytes, then a random crop of the original size.
pub(super) fn crop(pixels: &mut [u8], [_, h, w]: [usize; 3], border: usize, stream: &mut Stream) {
    let (top, left) = (stream.below(2 * border + 1), stream.below(2 * border + 1));
    let source = pixels.to_vec();
    for (plane, from) in pixels.chunks_exact_mut(h * w).zip(source.chunks_exact(h * w)) {
        for (y, row) in plane.chunks_exact_mut(w).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                let at = |i: usize, shift: usize, size: usize| {
                    (i + shift).checked_sub(border).filter(|&i| i < size)
                };
                let inside = at(y, top, h).zip(at(x, left, w));
                *pixel = inside.map_or(0, |(y, x)| from[y * w + x]);
            }
        }
    }
}

/// Left becomes right.
pub(super) fn mirror(pixels: &mut [u8], [_, _, w]: [usize; 3]) {
    pixels.chunks_exact_mut(w).for_each(<[u8]>::reverse);
}

/// Share of the image that is erased, and its least and greatest height by width: the values of Zhong
/// et al. 2020 ("Random Erasing Data Augmentation", section 4.1).
const ERASED: [f32; 2] = [0.02, 0.4];
const ASPECT: [f32; 2] = [0.3, 1.0 / 0.3];

/// Tries to find a rectangle that fits.
const TRIES: usize = 20;

/// A random rectangle becomes random bytes: algorithm 1 of the paper.
pub(super) fn erase(pixels: &mut [u8], [_, h, w]: [usize; 3], stream: &mut Stream) {
    for _ in 0..TRIES {
        let mut within = |[low, high]: [f32; 2]| low + (high - low) * stream.unit();
        let (area, aspect) = (within(ERASED) * (h * w) as f32, within(ASPECT));
        let (tall, wide) = ((area * aspect).sqrt() as usize, (area / aspect).sqrt() as usize);
        if tall == 0 || wide == 0 || tall > h || wide > w {
            continue;
        }
        let (top, left) = (stream.below(h - tall + 1), stream.below(w - wide + 1));
        for plane in pixels.chunks_exact_mut(h * w) {
            for row in plane.chunks_exact_mut(w).skip(top).take(tall) {
                row[left..left + wide].iter_mut().for_each(|v| *v = stream.below(256) as u8);
            }
        }
        return;
    }
}

/// Every pixel becomes the one of `matrix` times its centre: `x' = m₀ x + m₁ y + m₂`,
/// `y' = m₃ x + m₄ y + m₅`, nearest; zero where that is outside. As Pillow's `Image.transform`.
pub(super) fn affine(pixels: &mut [u8], [_, h, w]: [usize; 3], matrix: [f64; 6]) {
    let [xx, xy, x0, yx, yy, y0] = matrix;
    let sources: Vec<Option<usize>> = (0..h * w)
        .map(|i| {
            let (x, y) = ((i % w) as f64 + 0.5, (i / w) as f64 + 0.5);
            let inside =
                |v: f64, size: usize| (v >= 0.0).then_some(v as usize).filter(|&v| v < size);
            let (x, y) = (xx * x + xy * y + x0, yx * x + yy * y + y0);
            inside(y, h).zip(inside(x, w)).map(|(y, x)| y * w + x)
        })
        .collect();
    for plane in pixels.chunks_exact_mut(h * w) {
        let from = plane.to_vec();
        for (pixel, source) in plane.iter_mut().zip(&sources) {
            *pixel = source.map_or(0, |i| from[i]);
        }
    }
}
