//! Random changes to training samples: a pure function of seed, epoch and sample.

mod colour;
mod rand_augment;
mod spatial;
#[cfg(test)]
mod tests;

use std::fmt;

use hipflask_runtime::input::audio::AudioFrontEnd;
use serde::{Deserialize, Serialize};

use super::Samples;
use super::audio::{AudioAugment, Clip};
use crate::random::Stream;

/// One random change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Augment {
    /// `crop:N`: a border of N zero bytes, then a random crop of the original size (He et al. 2016).
    Crop(usize),
    /// `flip`: mirrored left to right, one time in two.
    Flip,
    /// `erase:P`: with a chance of P percent a random rectangle becomes noise (Zhong et al. 2020).
    Erase(usize),
    /// `jitter:P`: brightness, contrast and saturation change by up to P percent, in random order
    /// (Howard 2013).
    Jitter(usize),
    /// `rand-augment:N:M`: N of 14 changes, each of strength M (Cubuk et al. 2020).
    RandAugment {
        /// How many changes, one after another.
        count: usize,
        /// Their strength, from 0 to 30.
        strength: usize,
    },
    /// A change to a sound.
    Audio(AudioAugment),
}

/// Widest border of `crop:N`.
const MOST_BORDER: usize = 64;

/// The chance of `erase`, in percent, that its paper recommends.
const ERASE: usize = 50;

/// Most changes of `rand-augment`.
const MOST_CHANGES: usize = 8;

/// How `crop`, `flip` and so on are written.
const FORMS: &str = "\"crop:N\" (N from 1 to 64), \"flip\", \"erase:P\" (P from 1 to 100 percent), \
                     \"jitter:P\" (P from 1 to 100 percent), \"rand-augment:N:M\" (N from 1 to 8, M \
                     from 0 to 30)";

impl Augment {
    /// Changes one image `[c, h, w]` in place with random numbers from `stream`.
    pub fn apply(self, pixels: &mut [u8], shape: [usize; 3], stream: &mut Stream) {
        if pixels.is_empty() {
            return;
        }
        match self {
            Self::Crop(border) => spatial::crop(pixels, shape, border, stream),
            Self::Flip => {
                if stream.coin() {
                    spatial::mirror(pixels, shape);
                }
            }
            Self::Erase(percent) => {
                if stream.below(100) < percent {
                    spatial::erase(pixels, shape, stream);
                }
            }
            Self::Jitter(percent) => colour::jitter(pixels, shape, percent as f32 / 100.0, stream),
            Self::RandAugment { count, strength } => {
                (0..count).for_each(|_| rand_augment::apply(pixels, shape, strength, stream));
            }
            Self::Audio(_) => {}
        }
    }

    /// Changes one sound, which `front_end` will hear.
    pub fn apply_to_sound(self, clip: &mut Clip, front_end: &AudioFrontEnd, stream: &mut Stream) {
        if let Self::Audio(change) = self {
            change.apply(clip, front_end, stream);
        }
    }

    /// Whether it changes samples of this kind.
    pub fn suits(self, samples: &Samples) -> bool {
        match self {
            Self::Audio(_) => matches!(samples, Samples::Waves(_)),
            _ => samples.image_shape().is_some(),
        }
    }
}

impl TryFrom<String> for Augment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut words = text.split(':').map(str::trim);
        let name = words.next().unwrap_or_default();
        let numbers: Option<Vec<usize>> = words.map(|word| word.parse().ok()).collect();
        match (name, numbers.as_deref()) {
            ("crop", Some(&[border @ 1..=MOST_BORDER])) => Ok(Self::Crop(border)),
            ("flip", Some([])) => Ok(Self::Flip),
            ("erase", Some([])) => Ok(Self::Erase(ERASE)),
            ("erase", Some(&[percent @ 1..=100])) => Ok(Self::Erase(percent)),
            ("jitter", Some(&[percent @ 1..=100])) => Ok(Self::Jitter(percent)),
            (
                "rand-augment",
                Some(&[count @ 1..=MOST_CHANGES, strength @ 0..=rand_augment::STRONGEST]),
            ) => Ok(Self::RandAugment { count, strength }),
            _ => AudioAugment::parse(&text).map(Self::Audio).ok_or_else(|| {
                let sounds = AudioAugment::FORMS;
                format!(
                    "unknown augmentation {text:?}: use {FORMS} for images, {sounds} for sounds"
                )
            }),
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
            Self::Erase(percent) => write!(f, "erase:{percent}"),
            Self::Jitter(percent) => write!(f, "jitter:{percent}"),
            Self::RandAugment { count, strength } => write!(f, "rand-augment:{count}:{strength}"),
            Self::Audio(change) => change.fmt(f),
        }
    }
}
