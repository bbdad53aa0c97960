//! From raw samples to the network's input: the same code in training, on the desk and on the board.

pub mod audio;
pub mod csv;
mod file;
pub mod image;
pub mod npy;
#[cfg(feature = "pictures")]
pub mod picture;
mod pixels;
#[cfg(feature = "std")]
mod stream;
pub mod table;
pub mod text;
mod values;

use alloc::format;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::graph::Layout;
use crate::{Error, ErrorKind, Result};

use audio::AudioFrontEnd;
pub use file::Input;
pub use npy::{Array, Element};
pub use pixels::ImagePreprocess;
#[cfg(feature = "std")]
pub use stream::{Frame, Frames};
pub use table::{Column, ColumnRule, Missing, TablePreprocess};
pub use text::TextPreprocess;
pub use values::ValuesPreprocess;

/// How a raw sample becomes the network's input, by the kind of sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Preprocess {
    /// Bytes of an image.
    Image(ImagePreprocess),
    /// Real numbers of any shape.
    Values(ValuesPreprocess),
    /// The fields of a table's row.
    Table(TablePreprocess),
    /// The samples of a sound.
    Audio(AudioFrontEnd),
    /// Text.
    Text(TextPreprocess),
}

impl Default for Preprocess {
    /// Bytes become 0 to 1.
    fn default() -> Self {
        Self::Image(ImagePreprocess::default())
    }
}

impl Preprocess {
    /// What it starts from, for messages: `images`, `values`, `rows of a table`, `sounds`, `text`.
    pub const fn reads(&self) -> &'static str {
        match self {
            Self::Image(_) => "images",
            Self::Values(_) => "values",
            Self::Table(_) => "rows of a table",
            Self::Audio(_) => "sounds",
            Self::Text(_) => "text",
        }
    }

    /// Checks the numbers against the network's input `shape`, which includes the batch.
    pub fn check(&self, layout: Layout, shape: &[usize]) -> Result<()> {
        let elements = shape.iter().skip(1).fold(1_usize, |n, &d| n.saturating_mul(d));
        let image = layout.image(shape);
        match self {
            Self::Image(image_rule) => image_rule.check(image.map_or(1, |[_, _, c]| c)),
            Self::Values(rule) => rule.check(image.map_or(elements, |[_, _, c]| c)),
            Self::Table(rule) => rule.check(elements),
            Self::Audio(rule) => {
                rule.check()?;
                let [frames, features] = rule.shape();
                if image == Some([frames, features, 1]) {
                    return Ok(());
                }
                Err(refused(format!(
                    "the front end gives {frames} frames of {features} features, the network takes \
                     another shape"
                )))
            }
            Self::Text(rule) => rule.check(elements),
        }
    }

    /// The rule for images; an error says what the model in `file` reads instead.
    pub fn image(&self, file: &str) -> Result<&ImagePreprocess> {
        match self {
            Self::Image(rule) => Ok(rule),
            other => {
                let what = format!("reads {}, not images", other.reads());
                Err(Error::new(ErrorKind::Input, file, what))
            }
        }
    }
}

/// Refuses numbers of a standardisation that do not fit `channels` or divide by nothing.
fn check_standard(channels: usize, mean: &[f32], std: &[f32]) -> Result<()> {
    for (name, values) in [("mean", mean), ("std", std)] {
        if values.len() != 1 && values.len() != channels {
            return Err(refused(format!(
                "{name} has {} numbers for {channels} channels: give one, or one a channel",
                values.len()
            )));
        }
    }
    let finite = mean.iter().chain(std).all(|v| v.is_finite());
    if !finite || std.iter().any(|&s| s <= 0.0) {
        return Err(refused("range, mean and std must be finite, std above 0".into()));
    }
    Ok(())
}

/// Number `channel` of a list that has one for all, or one each.
fn pick(values: &[f32], channel: usize) -> Option<f32> {
    values.get(channel).or(values.first()).copied()
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Input, "preprocess", message)
}
