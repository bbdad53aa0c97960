//! Sounds in memory, and their features, which are computed once for as long as nothing changes.

use std::sync::{Arc, OnceLock};

use hipflask_runtime::input::audio::{AudioFrontEnd, Extractor};

use crate::fingerprint::Fingerprint;

/// Sounds of one sample rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Waves {
    /// Samples a second.
    pub rate: u32,
    /// One a sample, of any length.
    pub clips: Vec<Clip>,
}

/// A sound: recorded samples, and what a random view makes of them.
#[derive(Clone, Debug)]
pub struct Clip {
    recording: Arc<Recording>,
    shift: i32,
    masks: Vec<Mask>,
}

#[derive(Debug)]
struct Recording {
    samples: Vec<i16>,
    /// The features of the sound where it lies, by the front end that was asked first.
    features: OnceLock<(AudioFrontEnd, Vec<f32>)>,
}

/// A dimension of the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Frames.
    Time,
    /// Bands or coefficients.
    Feature,
}

/// A stretch of features that is hidden: shares of its axis, so that it means the same to every
/// front end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mask {
    /// Along which it lies; it spans the other.
    pub axis: Axis,
    /// Where it begins and ends, from 0 to 1.
    pub span: [f32; 2],
}

impl Clip {
    /// The sound of `samples`.
    pub fn new(samples: Vec<i16>) -> Self {
        let recording = Arc::new(Recording { samples, features: OnceLock::new() });
        Self { recording, shift: 0, masks: Vec::new() }
    }

    /// The samples, without the shift.
    pub fn samples(&self) -> &[i16] {
        &self.recording.samples
    }

    /// How many samples later than it is aligned the sound lies.
    pub fn shift(&self) -> i32 {
        self.shift
    }

    /// Moves the sound to `samples` later.
    pub fn shift_by(&mut self, samples: i32) {
        self.shift = self.shift.saturating_add(samples);
    }

    /// Hides features.
    pub fn mask(&mut self, mask: Mask) {
        self.masks.push(mask);
    }

    /// Puts other samples in place of the recorded ones, `shift` later than they are aligned.
    pub fn replace(&mut self, samples: Vec<i16>, shift: i32) {
        self.recording = Self::new(samples).recording;
        self.shift = shift;
    }

    /// Writes the features, standardised, as `[frames, features]`; masked ones are 0, the mean.
    ///
    /// # Panics
    ///
    /// When `features` is not of the size of `extractor`'s.
    pub fn features(&self, extractor: &mut Extractor, features: &mut [f32]) {
        self.unmasked(extractor, features);
        let [frames, width] = extractor.shape();
        for Mask { axis, span } in &self.masks {
            let size = match axis {
                Axis::Time => frames,
                Axis::Feature => width,
            };
            let [from, to] = span.map(|share| (share * size as f32).round() as usize);
            match axis {
                Axis::Time => features[from * width..to * width].fill(0.0),
                Axis::Feature => {
                    features.chunks_exact_mut(width).for_each(|frame| frame[from..to].fill(0.0));
                }
            }
        }
    }

    fn unmasked(&self, extractor: &mut Extractor, features: &mut [f32]) {
        if self.shift == 0 {
            let (front_end, kept) = self.recording.features.get_or_init(|| {
                extractor.run(self.samples(), features);
                (extractor.front_end().clone(), features.to_vec())
            });
            if front_end == extractor.front_end() {
                features.copy_from_slice(kept);
                return;
            }
        }
        extractor.run_shifted(self.samples(), self.shift, features);
    }
}

impl PartialEq for Clip {
    fn eq(&self, other: &Self) -> bool {
        self.samples() == other.samples() && self.shift == other.shift && self.masks == other.masks
    }
}

impl Waves {
    /// The sounds `indices`, in that order; samples and features are shared.
    ///
    /// # Panics
    ///
    /// When there is no such sound.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self { rate: self.rate, clips: indices.iter().map(|&i| self.clips[i].clone()).collect() }
    }

    pub(in super::super) fn fingerprint(&self, fingerprint: &mut Fingerprint) {
        fingerprint.numbers([u64::from(self.rate)].into_iter());
        for clip in &self.clips {
            let bytes: Vec<u8> = clip.samples().iter().flat_map(|s| s.to_le_bytes()).collect();
            fingerprint.bytes(&bytes);
        }
    }
}
