//! How a teacher wants its samples, and which of its answers are the logits: what files do not say.

use std::fmt;

use hipflask_runtime::input::Preprocess;
use serde::{Deserialize, Serialize};

/// What the recipe says of a teacher's ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// How it wants bytes; what its file says without it, else as the data set says.
    pub preprocess: Option<Preprocess>,
    /// In which order it wants the channels.
    pub channels: Channels,
    /// Where it wants the channels; `[n, c, h, w]` without it.
    pub layout: Option<Placement>,
    /// Name of the output with the logits, in a file with several.
    pub output: Option<String>,
    /// For each of its classes the data's, where it learnt them in another order.
    pub class_order: Option<Vec<usize>>,
}

/// The order of an image's channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// Red, green, blue: the data's own order.
    #[default]
    Rgb,
    /// Blue, green, red: the data's order reversed, as OpenCV and Caffe have it.
    Bgr,
}

/// Where an image's channels stand in a network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// `[n, c, h, w]`, as in PyTorch.
    Nchw,
    /// `[n, h, w, c]`, as in TensorFlow.
    Nhwc,
}

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
        })
    }
}
