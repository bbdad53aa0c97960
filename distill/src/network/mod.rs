//! Networks as a recipe declares them, by name or layer by layer, and their initial weights.

mod builder;
mod ds_cnn;
mod init;
mod layers;
mod lenet;
mod mlp;
mod resnet;
mod syntax;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use hipflask_runtime::graph::Graph;
use serde::{Deserialize, Serialize};

use self::builder::Builder;
use crate::suggest::nearest;
use crate::{Error, ErrorKind, Result};

/// The networks known by name.
pub const NAMES: [&str; 4] = ["mlp", "lenet", "resnet8", "ds-cnn"];

/// Base channels that are accepted.
const WIDTHS: RangeInclusive<usize> = 1..=4096;
/// Sizes of linear layers, numbers of classes and sides of images that are accepted.
const SIZES: RangeInclusive<usize> = 1..=65_536;
/// Hidden layers of `mlp` without `hidden`.
const HIDDEN: [usize; 1] = [128];

/// A network as a recipe declares it: either `network` with its size, or `layers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// One of [`NAMES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Base channels, 1 to 4096: 6 without it in `lenet`, 16 in `resnet8`, 64 in `ds-cnn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Sizes of the hidden layers of `mlp`, each 1 to 65,536; `[128]` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// Instead of `network`: the layers, as `["conv 16 3x3 stride 2", "bn", "relu"]`
    /// (`docs/networks.md`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
}

/// What a checked [`NetworkSpec`] says.
enum Choice<'a> {
    Mlp(&'a [usize]),
    LeNet(usize),
    ResNet8(usize),
    DsCnn(usize),
    Layers(&'a [String]),
}

impl NetworkSpec {
    /// The network for an image `[c, h, w]` in PyTorch's layout; its output is logits `[1, classes]`.
    ///
    /// Each tensor depends on `seed`, its name and its shape alone. The error names the key, or
    /// the layer that does not fit the image; a network too large is refused before its weights
    /// are allocated.
    pub fn build(&self, image: [usize; 3], classes: usize, seed: u64) -> Result<Graph> {
        let choice = self.choice()?;
        if image.iter().any(|side| !SIZES.contains(side)) {
            let message = format!("{image:?} as [channels, height, width]: each is 1 to 65536");
            return Err(Error::new(ErrorKind::Shape, "image", message));
        }
        in_range("classes", classes, &SIZES)?;
        let (mut b, x) = Builder::new(image);
        let output = match choice {
            Choice::Mlp(hidden) => mlp::build(&mut b, x, hidden, classes),
            Choice::LeNet(width) => lenet::build(&mut b, x, width, classes),
            Choice::ResNet8(width) => resnet::build(&mut b, x, width, classes),
            Choice::DsCnn(width) => ds_cnn::build(&mut b, x, width, classes),
            Choice::Layers(lines) => layers::build(&mut b, x, lines, classes),
        };
        let Some(name) = self.network.as_deref() else { return b.finish("layers", output?, seed) };
        let output = output.map_err(|e| Error::new(e.kind(), name, e.to_string()))?;
        b.finish(name, output, seed)
    }

    /// A few words for reports: `resnet8, width 16`, `mlp, hidden [128]`, `4 layers`.
    pub fn describe(&self) -> String {
        match self.choice() {
            Ok(Choice::Mlp(hidden)) => format!("mlp, hidden {hidden:?}"),
            Ok(Choice::LeNet(width)) => format!("lenet, width {width}"),
            Ok(Choice::ResNet8(width)) => format!("resnet8, width {width}"),
            Ok(Choice::DsCnn(width)) => format!("ds-cnn, width {width}"),
            Ok(Choice::Layers([_])) => "1 layer".into(),
            Ok(Choice::Layers(lines)) => format!("{} layers", lines.len()),
            Err(_) => "no valid network".into(),
        }
    }

    /// Fails when keys contradict each other or are out of range; the error names the key.
    fn choice(&self) -> Result<Choice<'_>> {
        let refuse = |key: &str, message: String| Err(Error::new(ErrorKind::Config, key, message));
        let name = match (self.network.as_deref(), self.layers.as_deref()) {
            (Some(name), None) => name,
            (None, Some(lines)) => {
                for (key, there) in
                    [("width", self.width.is_some()), ("hidden", self.hidden.is_some())]
                {
                    if there {
                        let message = "belongs to a network by name; sizes stand in `layers`";
                        return refuse(key, message.into());
                    }
                }
                return Ok(Choice::Layers(lines));
            }
            (Some(_), Some(_)) => {
                return refuse("layers", "stands beside `network`: give one of the two".into());
            }
            (None, None) => {
                let message = format!("is missing: one of {}; or give `layers`", NAMES.join(", "));
                return refuse("network", message);
            }
        };
        if name == "mlp" {
            if self.width.is_some() {
                return refuse("width", "mlp has no channels: give `hidden`, as [128]".into());
            }
            let hidden = self.hidden.as_deref().unwrap_or(&HIDDEN);
            hidden.iter().try_for_each(|&size| in_range("hidden", size, &SIZES))?;
            return Ok(Choice::Mlp(hidden));
        }
        let (choice, width): (fn(usize) -> Choice<'static>, usize) = match name {
            "lenet" => (Choice::LeNet, 6),
            "resnet8" => (Choice::ResNet8, 16),
            "ds-cnn" => (Choice::DsCnn, 64),
            _ => {
                let hint = nearest(name, NAMES).map(|near| format!(", did you mean {near:?}?"));
                let message = format!(
                    "{name:?} is not known{} Valid are {}; or give `layers`",
                    hint.unwrap_or(".".into()),
                    NAMES.join(", ")
                );
                return refuse("network", message);
            }
        };
        if self.hidden.is_some() {
            return refuse("hidden", format!("is for mlp alone; the size of {name} is `width`"));
        }
        let width = self.width.unwrap_or(width);
        in_range("width", width, &WIDTHS)?;
        Ok(choice(width))
    }
}

fn in_range(key: &str, value: usize, range: &RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{value} is out of range: {} to {}", range.start(), range.end());
    Err(Error::new(ErrorKind::Config, key, message))
}
