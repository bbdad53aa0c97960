//! From bytes to the network's input: the same code in training, on the desk and on the board.

pub mod audio;
pub mod image;

use alloc::format;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// How a byte becomes a real number: first into `range`, then standardised a channel.
///
/// Byte `b` of channel `c` becomes
/// `((range[0] + b / 255 · (range[1] - range[0])) - mean[c]) / std[c]`, in f32, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// What bytes 0 and 255 become.
    pub range: [f32; 2],
    /// Subtracted; one for all channels or one each.
    pub mean: Vec<f32>,
    /// Divisor; one for all channels or one each; positive.
    pub std: Vec<f32>,
}

impl Default for Preprocess {
    fn default() -> Self {
        Self { range: [0.0, 1.0], mean: [0.0].into(), std: [1.0].into() }
    }
}

impl Preprocess {
    /// Checks the numbers against the number of channels.
    pub fn check(&self, channels: usize) -> Result<()> {
        let wrong = |what| Err(Error::new(ErrorKind::Input, "preprocess", what));
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != 1 && values.len() != channels {
                return wrong(format!(
                    "{name} has {} numbers for {channels} channels: give one, or one a channel",
                    values.len()
                ));
            }
        }
        let finite = self.range.iter().chain(&self.mean).chain(&self.std).all(|v| v.is_finite());
        if !finite || self.std.iter().any(|&s| s <= 0.0) {
            return wrong("range, mean and std must be finite, std above 0".into());
        }
        Ok(())
    }

    /// The 256 values of channel `channel`; the numbers must have passed [`Preprocess::check`].
    pub fn table(&self, channel: usize) -> [f32; 256] {
        let pick = |values: &[f32]| values.get(channel).or(values.first()).copied();
        let (mean, std) = (pick(&self.mean).unwrap_or(0.0), pick(&self.std).unwrap_or(1.0));
        let [low, high] = self.range;
        core::array::from_fn(|byte| ((low + byte as f32 / 255.0 * (high - low)) - mean) / std)
    }

    /// Bytes in `[h, w, c]` order to the network's input in the same order.
    pub fn apply_nhwc(&self, bytes: &[u8], channels: usize, output: &mut Vec<f32>) {
        let tables: Vec<[f32; 256]> = (0..channels).map(|c| self.table(c)).collect();
        output.clear();
        let pixels = bytes.chunks_exact(channels.max(1));
        output.extend(pixels.flat_map(|p| p.iter().zip(&tables).map(|(&b, t)| t[usize::from(b)])));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn bytes_are_ranged_then_standardised_by_channel() {
        let preprocess =
            Preprocess { range: [0.0, 1.0], mean: [0.5, 0.0].into(), std: [0.5, 2.0].into() };
        preprocess.check(2).unwrap();
        let mut output = Vec::new();
        preprocess.apply_nhwc(&[0, 0, 255, 255], 2, &mut output);
        assert_eq!(output, [-1.0, 0.0, 1.0, 0.5]);
    }

    #[test]
    fn a_wrong_count_and_a_zero_std_are_refused() {
        let two = Preprocess { mean: [0.0, 0.0].into(), ..Preprocess::default() };
        assert!(two.check(3).unwrap_err().message().contains("2 numbers for 3 channels"));
        let zero = Preprocess { std: [0.0].into(), ..Preprocess::default() };
        assert!(zero.check(1).is_err());
    }
}
