//! The `[data.audio]` table of a recipe.

use hipflask_runtime::input::audio::{Align, AudioFrontEnd};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// How sounds become features, and where their classes are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioSpec {
    /// What the features are.
    pub kind: FeatureKind,
    /// Samples a second of every file.
    pub rate: u32,
    /// Length of a sound: longer ones are cropped, shorter ones padded with silence.
    pub seconds: f32,
    /// Which part of a longer sound is kept, and where a shorter one lies.
    pub align: Align,
    /// Milliseconds under the window.
    pub window_ms: f32,
    /// Milliseconds from one window to the next.
    pub hop_ms: f32,
    /// Mel bands.
    pub bands: usize,
    /// Where the first band begins.
    pub low_hz: f32,
    /// Where the last band ends; half of the rate without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_hz: Option<f32>,
    /// Coefficients that are kept of `mfcc`; 10 without it (Zhang et al. 2017).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coefficients: Option<usize>,
    /// Least energy of a band before the logarithm.
    pub floor: f32,
    /// Subtracted from the features; one for all or one each; the training samples' without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Divisor after that; one for all or one each; the training samples' without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// Where the class of a file is written.
    pub label_from: LabelFrom,
    /// What ends the class in a file's name.
    pub separator: String,
}

/// What the features of a sound are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureKind {
    /// Logarithms of the energies in mel bands.
    #[default]
    LogMel,
    /// The first coefficients of their cosine transform.
    Mfcc,
}

/// Where the class of a file is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelFrom {
    /// In the name of its folder: `yes/0a7c2a8d.wav`.
    #[default]
    Folder,
    /// In its own name, before the separator: `yes_0a7c2a8d.wav`.
    Name,
}

/// Coefficients of `mfcc` where the recipe does not say: those of "Hello Edge" (Zhang et al. 2017).
const COEFFICIENTS: usize = 10;

impl Default for AudioSpec {
    /// The runtime's front end: a second at 16 kHz, windows of 32 ms every 16 ms, 40 bands.
    fn default() -> Self {
        let AudioFrontEnd { rate, align, bands, low_hz, floor, .. } = AudioFrontEnd::default();
        Self {
            kind: FeatureKind::default(),
            rate,
            seconds: 1.0,
            align,
            window_ms: 32.0,
            hop_ms: 16.0,
            bands,
            low_hz,
            high_hz: None,
            coefficients: None,
            floor,
            mean: None,
            std: None,
            label_from: LabelFrom::default(),
            separator: "_".into(),
        }
    }
}

impl AudioSpec {
    /// The front end that this declares, checked; features are not standardised where that is left
    /// to the training samples.
    pub fn front_end(&self) -> Result<AudioFrontEnd> {
        let wrong = |message: String| Error::new(ErrorKind::Data, "data.audio", message);
        let samples = |key: &str, seconds: f64| {
            let samples = (seconds * f64::from(self.rate)).round();
            if seconds.is_finite() && samples >= 1.0 {
                return Ok(samples as usize);
            }
            Err(wrong(format!("{key} is below one sample at {} Hz", self.rate)))
        };
        let frame = samples("window_ms", f64::from(self.window_ms) / 1000.0)?;
        let mfcc = match (self.kind, self.coefficients) {
            (FeatureKind::LogMel, None) => None,
            (FeatureKind::LogMel, Some(_)) => {
                let what = "coefficients are those of kind = \"mfcc\", this is \"log-mel\"";
                return Err(wrong(what.into()));
            }
            (FeatureKind::Mfcc, wish) => Some(wish.unwrap_or(COEFFICIENTS)),
        };
        if self.separator.is_empty() {
            return Err(wrong("separator is empty: name what ends the class, as \"_\"".into()));
        }
        let front_end = AudioFrontEnd {
            rate: self.rate,
            length: samples("seconds", f64::from(self.seconds))?,
            align: self.align,
            frame,
            hop: samples("hop_ms", f64::from(self.hop_ms) / 1000.0)?,
            fft: frame.checked_next_power_of_two().unwrap_or(frame).max(4),
            bands: self.bands,
            low_hz: self.low_hz,
            high_hz: self.high_hz.unwrap_or(self.rate as f32 / 2.0),
            floor: self.floor,
            mfcc,
            mean: self.mean.clone().unwrap_or_else(|| vec![0.0]),
            std: self.std.clone().unwrap_or_else(|| vec![1.0]),
        };
        front_end.check().map_err(|error| wrong(error.message().into()))?;
        Ok(front_end)
    }
}
