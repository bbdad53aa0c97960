//! Features of clips, one after another: tables are made once, and running allocates nothing.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::fft::PowerSpectrum;
use super::mel::MelBank;
use super::{AudioFrontEnd, math, refused};
use crate::Result;

/// Tables and buffers of an [`AudioFrontEnd`].
#[derive(Clone)]
pub struct Extractor {
    front_end: AudioFrontEnd,
    /// The Hann window over 32768, so that samples come out from -1 to 1.
    window: Vec<f32>,
    spectrum: PowerSpectrum,
    bank: MelBank,
    /// `[coefficients, bands]`; empty for log-mel.
    dct: Vec<f32>,
    /// The windowed frame, padded with zeros.
    frame: Vec<f32>,
    power: Vec<f32>,
    bands: Vec<f32>,
}

impl Extractor {
    /// Checks `front_end` and makes its tables.
    pub fn new(front_end: &AudioFrontEnd) -> Result<Self> {
        front_end.check()?;
        let &AudioFrontEnd { rate, frame, fft, bands, low_hz, high_hz, mfcc, .. } = front_end;
        let edges = [low_hz, high_hz].map(f64::from);
        let bank = MelBank::new(edges, bands, rate, fft).map_err(|band| {
            refused(format!(
                "band {} of {bands} lies between two bins of the spectrum: take fewer bands or a \
                 larger fft than {fft}",
                band + 1
            ))
        })?;
        let hann = |i| (0.5 - 0.5 * math::turn(i, frame).0) / 32768.0;
        Ok(Self {
            front_end: front_end.clone(),
            window: (0..frame).map(|i| hann(i) as f32).collect(),
            spectrum: PowerSpectrum::new(fft),
            bank,
            dct: mfcc.map_or_else(Vec::new, |coefficients| dct(coefficients, bands)),
            frame: vec![0.0; fft],
            power: vec![0.0; fft / 2 + 1],
            bands: vec![0.0; bands],
        })
    }

    /// What it computes.
    pub fn front_end(&self) -> &AudioFrontEnd {
        &self.front_end
    }

    /// `[frames, features]` of a clip.
    pub fn shape(&self) -> [usize; 2] {
        self.front_end.shape()
    }

    /// The features of `clip`, standardised, frame by frame.
    ///
    /// # Panics
    ///
    /// When `features` has no room for exactly `frames · features`.
    pub fn run(&mut self, clip: &[i16], features: &mut [f32]) {
        self.run_shifted(clip, 0, features);
    }

    /// As [`Extractor::run`], with `clip` moved to `shift` samples later than it is aligned.
    pub fn run_shifted(&mut self, clip: &[i16], shift: i32, features: &mut [f32]) {
        let [frames, width] = self.shape();
        assert_eq!(features.len(), frames * width, "room for {frames} frames of {width} features");
        let start = self.front_end.start(clip.len()) - i64::from(shift);
        for (index, row) in features.chunks_exact_mut(width).enumerate() {
            self.window(clip, start + (index * self.front_end.hop) as i64);
            self.spectrum.run(&self.frame, &mut self.power);
            self.bank.run(&self.power, &mut self.bands);
            self.write(row);
        }
    }

    /// Puts the frame that begins at sample `start` of `clip` under the window.
    fn window(&mut self, clip: &[i16], start: i64) {
        let frame = &mut self.frame[..self.window.len()];
        frame.fill(0.0);
        let silent = (start.min(0).unsigned_abs() as usize).min(frame.len());
        let from = (start.max(0) as usize).min(clip.len());
        let windowed = frame[silent..].iter_mut().zip(&self.window[silent..]);
        for ((value, weight), &sample) in windowed.zip(&clip[from..]) {
            *value = f32::from(sample) * weight;
        }
    }

    /// From the bands' energies to one frame of features.
    fn write(&mut self, row: &mut [f32]) {
        let AudioFrontEnd { floor, ref mean, ref std, .. } = self.front_end;
        for band in &mut self.bands {
            let energy = if *band > floor { *band } else { floor };
            *band = math::ln(f64::from(energy)) as f32;
        }
        if self.dct.is_empty() {
            row.copy_from_slice(&self.bands);
        } else {
            for (value, cosines) in row.iter_mut().zip(self.dct.chunks_exact(self.bands.len())) {
                let terms = self.bands.iter().zip(cosines);
                *value = terms.fold(0.0, |sum, (band, cosine)| sum + band * cosine);
            }
        }
        let standard = mean.iter().cycle().zip(std.iter().cycle());
        for (value, (mean, std)) in row.iter_mut().zip(standard) {
            *value = (*value - mean) / std;
        }
    }
}

/// The first rows of the orthonormal DCT-II of `bands` values (Ahmed, Natarajan, Rao 1974).
fn dct(coefficients: usize, bands: usize) -> Vec<f32> {
    // √(2 / bands), and √(1 / bands) for the first row.
    let root = |x: f64| math::exp(0.5 * math::ln(x));
    let scale = 1.0 / root(bands as f64);
    let row = |k: usize| {
        let scale = if k == 0 { scale } else { scale * core::f64::consts::SQRT_2 };
        (0..bands).map(move |i| {
            let (cos, _) = math::turn((2 * i + 1) * k % (4 * bands), 4 * bands);
            (scale * cos) as f32
        })
    };
    (0..coefficients).flat_map(row).collect()
}
