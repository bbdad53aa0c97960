//! Random changes to training images: a pure function of seed, epoch and sample.
//!
//! Crop and flip are those of He et al. 2016 (CIFAR-10): pad with zeros, crop at random, mirror.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::random::Stream;

/// One random change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Augment {
    /// `crop:N`: a border of N zero bytes, then a random crop of the original size.
    Crop(usize),
    /// `flip`: mirrored left to right, one time in two.
    Flip,
}

/// Widest border of `crop:N`.
const MOST_BORDER: usize = 64;

impl Augment {
    /// Changes one image `[c, h, w]` in place with random numbers from `stream`.
    pub fn apply(self, pixels: &mut [u8], [_, h, w]: [usize; 3], stream: &mut Stream) {
        match self {
            Self::Crop(border) => {
                let (top, left) = (stream.below(2 * border + 1), stream.below(2 * border + 1));
                let source = pixels.to_vec();
                let planes = pixels.chunks_exact_mut((h * w).max(1));
                for (plane, from) in planes.zip(source.chunks_exact((h * w).max(1))) {
                    for (y, row) in plane.chunks_exact_mut(w.max(1)).enumerate() {
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
            Self::Flip => {
                if stream.coin() {
                    pixels.chunks_exact_mut(w.max(1)).for_each(<[u8]>::reverse);
                }
            }
        }
    }
}

impl TryFrom<String> for Augment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "unknown augmentation {text:?}: use \"crop:N\" (N from 1 to {MOST_BORDER}) or \"flip\""
            )
        };
        match text.split_once(':') {
            None if text == "flip" => Ok(Self::Flip),
            Some(("crop", border)) => match border.trim().parse() {
                Ok(border @ 1..=MOST_BORDER) => Ok(Self::Crop(border)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

impl From<Augment> for String {
    fn from(augment: Augment) -> Self {
        augment.to_string()
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crop(border) => write!(f, "crop:{border}"),
            Self::Flip => f.write_str("flip"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 3, 3];

    fn image() -> Vec<u8> {
        (1..=18).collect()
    }

    #[test]
    fn every_crop_is_a_shifted_window_of_the_padded_image() {
        let mut seen = std::collections::BTreeSet::new();
        for sample in 0..200 {
            let mut pixels = image();
            Augment::Crop(1).apply(&mut pixels, SHAPE, &mut Stream::new(1, "crop", &[sample]));
            // The channels hold 1..=9 and 10..=18: where one is inside, so is the other.
            for (first, second) in pixels[..9].iter().zip(&pixels[9..]) {
                assert!((*first == 0 && *second == 0) || first + 9 == *second, "{pixels:?}");
            }
            seen.insert(pixels);
        }
        // Shifts of -1, 0, 1 in both directions.
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&image()));
        let up_left = [0, 0, 0, 0, 1, 2, 0, 4, 5, 0, 0, 0, 0, 10, 11, 0, 13, 14].to_vec();
        assert!(seen.contains(&up_left), "{seen:?}");
    }

    #[test]
    fn flip_mirrors_about_half_of_the_images() {
        let mirrored = [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10, 15, 14, 13, 18, 17, 16];
        let mut flips = 0;
        for sample in 0..1000 {
            let mut pixels = image();
            Augment::Flip.apply(&mut pixels, SHAPE, &mut Stream::new(1, "flip", &[sample]));
            if pixels == mirrored {
                flips += 1;
            } else {
                assert_eq!(pixels, image());
            }
        }
        // Binomial: standard deviation 16.
        assert!((420..580).contains(&flips), "{flips}");
    }

    #[test]
    fn texts_are_parsed_and_errors_name_the_valid_forms() {
        let parse = |text: &str| Augment::try_from(text.to_string());
        assert_eq!(parse("crop:2"), Ok(Augment::Crop(2)));
        assert_eq!(parse("flip"), Ok(Augment::Flip));
        for bad in ["crop", "crop:0", "crop:65", "crop:x", "flip:1", "mixup", ""] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains("crop:N") && error.contains("flip"), "{error}");
        }
        assert_eq!(String::from(Augment::Crop(4)), "crop:4");
    }
}
