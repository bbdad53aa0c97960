//! Real numbers that are standardised and nothing else.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{check_standard, pick};
use crate::Result;

/// `(x - mean) / std`, in f32; channels are those of an image, or the elements of a vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValuesPreprocess {
    /// Subtracted; one for all channels or one each.
    pub mean: Vec<f32>,
    /// Divisor; one for all channels or one each; positive.
    pub std: Vec<f32>,
    /// Whether files have the channels of a pixel side by side.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub channels_last: bool,
}

impl Default for ValuesPreprocess {
    /// Values stay as they are.
    fn default() -> Self {
        Self { mean: [0.0].into(), std: [1.0].into(), channels_last: false }
    }
}

impl ValuesPreprocess {
    /// Checks the numbers against the number of channels.
    pub fn check(&self, channels: usize) -> Result<()> {
        check_standard(channels, &self.mean, &self.std)
    }

    /// `value` of channel `channel`, standardised.
    pub fn apply(&self, value: f32, channel: usize) -> f32 {
        let mean = pick(&self.mean, channel).unwrap_or(0.0);
        (value - mean) / pick(&self.std, channel).unwrap_or(1.0)
    }
}
