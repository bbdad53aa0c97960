//! RandAugment (Cubuk et al. 2020): a change drawn from fourteen, all of one strength. Their strengths
//! are torchvision's, on a scale of 30.

use super::{colour, spatial};
use crate::random::Stream;

/// The end of the scale of strengths.
pub(super) const STRONGEST: usize = 30;

/// Farthest shift as a share of the image: 150 of 331 pixels.
const SHIFT: f64 = 150.0 / 331.0;

/// Strongest shear, as pixels sideways a pixel.
const SHEAR: f64 = 0.3;

/// Widest rotation, in degrees.
const ROTATION: f64 = 30.0;

/// Farthest factor of a colour from 1.
const FACTOR: f32 = 0.9;

/// One of fourteen changes, each equally likely, with `strength` from 0 to [`STRONGEST`].
pub(super) fn apply(
    pixels: &mut [u8],
    shape @ [_, h, w]: [usize; 3],
    strength: usize,
    stream: &mut Stream,
) {
    let share = strength as f64 / STRONGEST as f64;
    let change = stream.below(14);
    let signed = if stream.coin() { -share } else { share };
    let factor = 1.0 + FACTOR * signed as f32;
    match change {
        0 => {}
        1 => colour::autocontrast(pixels, shape),
        2 => colour::equalize(pixels, shape),
        3 => spatial::affine(pixels, shape, rotation(signed * ROTATION, h, w)),
        4 => colour::solarize(pixels, 255.0 * (1.0 - share as f32)),
        // At most four of the eight bits are lost.
        5 => colour::posterize(pixels, 8 - (4.0 * share).round() as usize),
        6 => colour::saturation(pixels, shape, factor),
        7 => colour::contrast(pixels, shape, factor),
        8 => colour::brightness(pixels, factor),
        9 => colour::sharpness(pixels, shape, factor),
        10 => spatial::affine(pixels, shape, [1.0, SHEAR * signed, 0.0, 0.0, 1.0, 0.0]),
        11 => spatial::affine(pixels, shape, [1.0, 0.0, 0.0, SHEAR * signed, 1.0, 0.0]),
        12 => {
            let shift = (SHIFT * signed * w as f64).trunc();
            spatial::affine(pixels, shape, [1.0, 0.0, shift, 0.0, 1.0, 0.0]);
        }
        _ => {
            let shift = (SHIFT * signed * h as f64).trunc();
            spatial::affine(pixels, shape, [1.0, 0.0, 0.0, 0.0, 1.0, shift]);
        }
    }
}

/// By `degrees` about the centre.
pub(super) fn rotation(degrees: f64, h: usize, w: usize) -> [f64; 6] {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (x, y) = (w as f64 / 2.0, h as f64 / 2.0);
    [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]
}
