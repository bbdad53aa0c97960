//! Mean and deviation of the training samples' features.

use hipflask_runtime::input::audio::{AudioFrontEnd, Extractor};
use rayon::prelude::*;

use super::{AudioSpec, Waves};
use crate::Result;

/// Sounds whose features are held at once.
const AT_ONCE: usize = 256;

/// Deviations below this are those of a band without sound; such features are not divided.
const LEAST_STD: f64 = 1e-3;

/// The front end of `spec`, standardised by the features of the training sounds `waves` where it does
/// not say how; one mean and deviation a feature.
pub(in super::super) fn standardised(spec: &AudioSpec, waves: &Waves) -> Result<AudioFrontEnd> {
    let declared = spec.front_end()?;
    if waves.clips.is_empty() || (spec.mean.is_some() && spec.std.is_some()) {
        return Ok(declared);
    }
    let plain = AudioFrontEnd { mean: vec![0.0], std: vec![1.0], ..declared.clone() };
    let extractor = Extractor::new(&plain)?;
    let [frames, width] = extractor.shape();
    let mut sums = vec![[0.0_f64; 2]; width];
    for clips in waves.clips.chunks(AT_ONCE) {
        let mut features = vec![0.0; clips.len() * frames * width];
        let rows = features.par_chunks_mut(frames * width).zip(clips);
        rows.for_each_init(
            || extractor.clone(),
            |extractor, (features, clip)| extractor.run(clip.samples(), features),
        );
        for frame in features.chunks_exact(width) {
            for ([sum, squares], &value) in sums.iter_mut().zip(frame) {
                let value = f64::from(value);
                *sum += value;
                *squares += value * value;
            }
        }
    }
    let n = (waves.clips.len() * frames) as f64;
    let moments = sums.iter().map(|[sum, squares]| {
        let mean = sum / n;
        let std = (squares / n - mean * mean).max(0.0).sqrt();
        (mean as f32, if std < LEAST_STD { 1.0 } else { std as f32 })
    });
    let (mean, std): (Vec<f32>, Vec<f32>) = moments.unzip();
    Ok(AudioFrontEnd {
        mean: spec.mean.clone().unwrap_or(mean),
        std: spec.std.clone().unwrap_or(std),
        ..declared
    })
}
