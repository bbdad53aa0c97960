//! Random changes to sounds: of the wave (shift, gain, noise) and, as masks, of the features
//! (SpecAugment, Park et al. 2019, without its time warping).

use std::fmt;
use std::ops::RangeInclusive;

use hipflask_runtime::input::audio::AudioFrontEnd;

use super::{Axis, Clip, Mask};
use crate::random::Stream;

/// One random change to a sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioAugment {
    /// `shift:MS`: up to so many milliseconds earlier or later.
    Shift(u16),
    /// `gain:DB`: up to so many decibels softer or louder.
    Gain(u16),
    /// `noise:LOW-HIGH:P`: with a chance of P percent, white noise so many decibels below the sound.
    Noise {
        /// Fewest decibels: the loudest noise.
        low: u16,
        /// Most decibels.
        high: u16,
        /// How often, from 1 to 100: what is left alone keeps its silence.
        percent: u16,
    },
    /// `time-mask:N`: up to N frames are hidden.
    TimeMask(u16),
    /// `feature-mask:N`: up to N bands or coefficients are hidden.
    FeatureMask(u16),
}

const SHIFTS: RangeInclusive<u16> = 1..=10_000;
const DECIBELS: RangeInclusive<u16> = 0..=100;
const PERCENTS: RangeInclusive<u16> = 1..=100;
const WIDTHS: RangeInclusive<u16> = 1..=1000;

/// The chance of noise, in percent, where none is given.
const NOISY: &str = "50";

impl AudioAugment {
    /// How it is written in a recipe.
    pub const FORMS: &str = "\"shift:MS\", \"gain:DB\", \"noise:LOW-HIGH:P\" (P from 1 to 100 percent, 50 without it), \
         \"time-mask:N\", \"feature-mask:N\"";

    /// The change that `text` means, if it is one of these.
    pub(in super::super) fn parse(text: &str) -> Option<Self> {
        let (name, argument) = text.split_once(':')?;
        let within = |text: &str, range: RangeInclusive<u16>| {
            text.trim().parse().ok().filter(|number| range.contains(number))
        };
        Some(match name {
            "shift" => Self::Shift(within(argument, SHIFTS)?),
            "gain" => Self::Gain(within(argument, DECIBELS)?),
            "noise" => {
                let (range, percent) = argument.split_once(':').unwrap_or((argument, NOISY));
                let (low, high) = range.split_once('-').unwrap_or((range, range));
                let (low, high) = (within(low, DECIBELS)?, within(high, DECIBELS)?);
                let percent = within(percent, PERCENTS)?;
                (low <= high).then_some(Self::Noise { low, high, percent })?
            }
            "time-mask" => Self::TimeMask(within(argument, WIDTHS)?),
            "feature-mask" => Self::FeatureMask(within(argument, WIDTHS)?),
            _ => return None,
        })
    }

    /// Changes `clip`, which `front_end` will hear, with random numbers from `stream`.
    pub fn apply(self, clip: &mut Clip, front_end: &AudioFrontEnd, stream: &mut Stream) {
        let [frames, features] = front_end.shape();
        match self {
            Self::Shift(ms) => {
                let most = usize::from(ms) * front_end.rate as usize / 1000;
                let shift = stream.below(2 * most + 1) as i64 - most as i64;
                clip.shift_by(shift as i32);
            }
            Self::Gain(most) => {
                let most = f32::from(most);
                let factor = amplitude(between(-most, most, stream));
                let louder = clip.samples().iter().map(|&s| to_sample(f32::from(s) * factor));
                clip.replace(louder.collect(), clip.shift());
            }
            Self::Noise { low, high, percent } => {
                if stream.below(100) < usize::from(percent) {
                    let below = between(f32::from(low), f32::from(high), stream);
                    add_noise(clip, front_end, amplitude(-below), stream);
                }
            }
            Self::TimeMask(widest) => clip.mask(mask(Axis::Time, widest, frames, stream)),
            Self::FeatureMask(widest) => clip.mask(mask(Axis::Feature, widest, features, stream)),
        }
    }
}

/// A mask of `0..=widest` of `size`, each width and each place equally likely.
fn mask(axis: Axis, widest: u16, size: usize, stream: &mut Stream) -> Mask {
    let width = stream.below(usize::from(widest).min(size) + 1);
    let from = stream.below(size - width + 1);
    Mask { axis, span: [from, from + width].map(|at| at as f32 / size as f32) }
}

/// Fills the front end's length with white noise whose root mean square is `ratio` of the sound's.
///
/// Evenly distributed numbers, whose deviation is 1/√3 of their bound: as white as Gaussian ones, and
/// the same on every machine.
fn add_noise(clip: &mut Clip, front_end: &AudioFrontEnd, ratio: f32, stream: &mut Stream) {
    let samples = clip.samples();
    let squares: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    let rms = (squares / samples.len().max(1) as f64).sqrt() as f32;
    let bound = rms * ratio * 3.0_f32.sqrt();
    let start = front_end.start(samples.len()) - i64::from(clip.shift());
    let noisy = (0..front_end.length as i64).map(|i| {
        let sample = usize::try_from(start + i).ok().and_then(|i| samples.get(i));
        to_sample(f32::from(sample.copied().unwrap_or(0)) + between(-bound, bound, stream))
    });
    clip.replace(noisy.collect(), 0);
}

fn amplitude(decibels: f32) -> f32 {
    10.0_f32.powf(decibels / 20.0)
}

fn between(low: f32, high: f32, stream: &mut Stream) -> f32 {
    low + (high - low) * stream.unit()
}

/// The nearest 16-bit sample.
fn to_sample(value: f32) -> i16 {
    value.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
}

impl fmt::Display for AudioAugment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shift(ms) => write!(f, "shift:{ms}"),
            Self::Gain(decibels) => write!(f, "gain:{decibels}"),
            Self::Noise { low, high, percent } => write!(f, "noise:{low}-{high}:{percent}"),
            Self::TimeMask(widest) => write!(f, "time-mask:{widest}"),
            Self::FeatureMask(widest) => write!(f, "feature-mask:{widest}"),
        }
    }
}
