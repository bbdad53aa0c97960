//! From sound to features `[frames, features]`: log-mel or MFCC, the same bits on every machine.
//!
//! Frames of a Hann window, their power spectra, triangular mel bands, the logarithm, and for MFCC
//! the DCT-II (Davis and Mermelstein 1980), in the order of [`Extractor`].

mod extract;
mod fft;
mod math;
mod mel;
#[cfg(test)]
mod tests;
mod wav;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

pub use extract::Extractor;
pub use wav::Wav;

use crate::{Error, ErrorKind, Result};

const RATES: RangeInclusive<usize> = 1000..=384_000;
/// Four minutes at 64 kHz; beyond it a file is hostile rather than long.
const LENGTHS: RangeInclusive<usize> = 1..=1 << 24;
const FFTS: RangeInclusive<usize> = 4..=1 << 15;
const BANDS: RangeInclusive<usize> = 1..=512;
/// Most features of a clip.
const MOST_FEATURES: usize = 1 << 24;

/// How a clip of 16-bit samples becomes features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioFrontEnd {
    /// Samples a second.
    pub rate: u32,
    /// Samples of a clip: longer ones are cropped, shorter ones padded with silence.
    pub length: usize,
    /// Which part of a longer clip is kept, and where a shorter one lies.
    pub align: Align,
    /// Samples under the Hann window.
    pub frame: usize,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Samples of the Fourier transform, a power of two; the frame is padded with zeros.
    pub fft: usize,
    /// Mel bands.
    pub bands: usize,
    /// Where the first band begins, in Hz.
    pub low_hz: f32,
    /// Where the last band ends, in Hz.
    pub high_hz: f32,
    /// Least energy of a band before the logarithm, for samples from -1 to 1.
    pub floor: f32,
    /// Coefficients kept of the bands' DCT-II; without it the features are the bands' logarithms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfcc: Option<usize>,
    /// Subtracted; one for all features or one each.
    pub mean: Vec<f32>,
    /// Divisor; one for all features or one each; positive.
    pub std: Vec<f32>,
}

/// Which part of a longer clip is kept, and where a shorter one lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// The middle.
    #[default]
    Centre,
    /// The beginning.
    Start,
}

impl Default for AudioFrontEnd {
    /// A second at 16 kHz, frames of 32 ms every 16 ms, 40 bands from 20 Hz up.
    fn default() -> Self {
        Self {
            rate: 16_000,
            length: 16_000,
            align: Align::Centre,
            frame: 512,
            hop: 256,
            fft: 512,
            bands: 40,
            low_hz: 20.0,
            high_hz: 8000.0,
            floor: 1e-6,
            mfcc: None,
            mean: vec![0.0],
            std: vec![1.0],
        }
    }
}

impl AudioFrontEnd {
    /// `[frames, features]` of a clip.
    pub fn shape(&self) -> [usize; 2] {
        let frames = self.length.saturating_sub(self.frame) / self.hop.max(1) + 1;
        [frames, self.mfcc.unwrap_or(self.bands)]
    }

    /// Where the front end's clip begins within one of `samples`; negative when that is shorter.
    pub fn start(&self, samples: usize) -> i64 {
        match self.align {
            Align::Start => 0,
            Align::Centre => (samples as i64 - self.length as i64).div_euclid(2),
        }
    }

    /// Checks the numbers; what fits no network's input must be found by the caller.
    pub fn check(&self) -> Result<()> {
        let &Self { length, frame, hop, fft, bands, low_hz, high_hz, floor, mfcc, .. } = self;
        let within = |name: &str, value: usize, range: RangeInclusive<usize>| {
            if range.contains(&value) {
                return Ok(());
            }
            let (low, high) = (range.start(), range.end());
            Err(refused(format!("{name} is {value}: it must be from {low} to {high}")))
        };
        within("rate", self.rate as usize, RATES)?;
        within("length", length, LENGTHS)?;
        within("fft", fft, FFTS)?;
        within("frame", frame, 2..=fft.min(length))?;
        within("hop", hop, 1..=length)?;
        within("bands", bands, BANDS)?;
        within("mfcc", mfcc.unwrap_or(1), 1..=bands)?;
        if !fft.is_power_of_two() {
            return Err(refused(format!("fft is {fft}: it must be a power of two")));
        }
        let nyquist = self.rate as f32 / 2.0;
        if !(0.0 <= low_hz && low_hz < high_hz && high_hz <= nyquist) {
            return Err(refused(format!(
                "the bands go from {low_hz} to {high_hz} Hz: they must rise, from 0 to {nyquist} Hz \
                 (half of the rate)"
            )));
        }
        if !(1e-30..=1e30).contains(&floor) {
            return Err(refused(format!("floor is {floor}: it must be from 1e-30 to 1e30")));
        }
        let [frames, features] = self.shape();
        if frames.saturating_mul(features) > MOST_FEATURES {
            let what = format!("{frames} frames of {features} features: at most {MOST_FEATURES}");
            return Err(refused(what + " in all"));
        }
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != 1 && values.len() != features {
                return Err(refused(format!(
                    "{name} has {} numbers for {features} features: give one, or one a feature",
                    values.len()
                )));
            }
        }
        let finite = self.mean.iter().chain(&self.std).all(|v| v.is_finite());
        if !finite || self.std.iter().any(|&s| s <= 0.0) {
            return Err(refused("mean and std must be finite, std above 0".into()));
        }
        Ok(())
    }

    /// The features of the sound in a WAV file, frame by frame; the error does not name the file.
    pub fn features(&self, file: &[u8]) -> Result<Vec<f32>> {
        let wav = Wav::parse(file)?;
        self.check_rate(&wav)?;
        let clip: Vec<i16> = wav.samples().collect();
        let mut extractor = Extractor::new(self)?;
        let mut features = vec![0.0; extractor.shape().iter().product()];
        extractor.run(&clip, &mut features);
        Ok(features)
    }

    /// An error unless `wav` has this rate: another one changes every feature.
    pub fn check_rate(&self, wav: &Wav<'_>) -> Result<()> {
        if wav.rate == self.rate {
            return Ok(());
        }
        let (found, rate) = (wav.rate, self.rate);
        Err(Error::new(
            ErrorKind::Input,
            "sound",
            format!(
                "has {found} samples a second, the model takes {rate}: convert it, as with \
                 `ffmpeg -i IN.wav -ar {rate} OUT.wav`"
            ),
        ))
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Input, "audio front end", message)
}
