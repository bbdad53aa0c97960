//! From bytes of an image to real numbers.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{check_standard, pick, refused};
use crate::Result;

/// How a byte becomes a real number: first into `range`, then standardised a channel.
///
/// Byte `b` of channel `c` becomes
/// `((range[0] + b / 255 · (range[1] - range[0])) - mean[c]) / std[c]`, in f32, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePreprocess {
    /// What bytes 0 and 255 become.
    pub range: [f32; 2],
    /// Subtracted; one for all channels or one each.
    pub mean: Vec<f32>,
    /// Divisor; one for all channels or one each; positive.
    pub std: Vec<f32>,
}

impl Default for ImagePreprocess {
    fn default() -> Self {
        Self { range: [0.0, 1.0], mean: [0.0].into(), std: [1.0].into() }
    }
}

impl ImagePreprocess {
    /// Checks the numbers against the number of channels.
    pub fn check(&self, channels: usize) -> Result<()> {
        check_standard(channels, &self.mean, &self.std)?;
        if self.range.iter().all(|v| v.is_finite()) {
            return Ok(());
        }
        Err(refused("range, mean and std must be finite, std above 0".into()))
    }

    /// The 256 values of channel `channel`; the numbers must have passed
    /// [`ImagePreprocess::check`].
    pub fn table(&self, channel: usize) -> [f32; 256] {
        let mean = pick(&self.mean, channel).unwrap_or(0.0);
        let std = pick(&self.std, channel).unwrap_or(1.0);
        let [low, high] = self.range;
        core::array::from_fn(|byte| ((low + byte as f32 / 255.0 * (high - low)) - mean) / std)
    }

    /// [`ImagePreprocess::table`] of each of `channels`.
    pub fn tables(&self, channels: usize) -> Vec<[f32; 256]> {
        (0..channels).map(|channel| self.table(channel)).collect()
    }

    /// Bytes in `[h, w, c]` order to the network's input in the same order.
    pub fn apply_nhwc(&self, bytes: &[u8], channels: usize, output: &mut Vec<f32>) {
        apply(&self.tables(channels), bytes, output);
    }
}

/// As [`ImagePreprocess::apply_nhwc`] by the tables of all channels; allocates nothing where `output`
/// has room.
pub(super) fn apply(tables: &[[f32; 256]], bytes: &[u8], output: &mut Vec<f32>) {
    output.clear();
    let pixels = bytes.chunks_exact(tables.len().max(1));
    output.extend(pixels.flat_map(|p| p.iter().zip(tables).map(|(&b, t)| t[usize::from(b)])));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn bytes_are_ranged_then_standardised_by_channel() {
        let preprocess =
            ImagePreprocess { range: [0.0, 1.0], mean: [0.5, 0.0].into(), std: [0.5, 2.0].into() };
        preprocess.check(2).unwrap();
        let mut output = Vec::new();
        preprocess.apply_nhwc(&[0, 0, 255, 255], 2, &mut output);
        assert_eq!(output, [-1.0, 0.0, 1.0, 0.5]);
    }

    #[test]
    fn a_wrong_count_and_a_zero_std_are_refused() {
        let two = ImagePreprocess { mean: [0.0, 0.0].into(), ..ImagePreprocess::default() };
        assert!(two.check(3).unwrap_err().message().contains("2 numbers for 3 channels"));
        let zero = ImagePreprocess { std: [0.0].into(), ..ImagePreprocess::default() };
        assert!(zero.check(1).is_err());
        let endless = ImagePreprocess { range: [0.0, f32::INFINITY], ..ImagePreprocess::default() };
        assert!(endless.check(1).is_err());
    }
}
