//! Networks as a recipe declares them, by name or layer by layer, and their initial weights.

pub mod amount;
mod autoencoder;
mod budget;
mod builder;
mod ds_cnn;
mod fit;
mod init;
mod layers;
mod lenet;
mod mlp;
mod mobilenet_v1;
mod mobilenet_v2;
mod mobilenet_v3;
mod names;
mod resnet;
mod shufflenet;
mod syntax;
mod temporal;
#[cfg(test)]
mod tests;
mod transformer;
mod vgg;
mod wrn;

use std::ops::RangeInclusive;

use hipflask_runtime::graph::{Graph, ValueId};
use serde::{Deserialize, Serialize};

pub use self::budget::SizeBudget;
use self::builder::Builder;
pub use self::fit::{Described, Fit, Sizes, untrained_int8};
pub use self::names::NAMES;
use self::names::{Named, Size};
#[cfg(test)]
pub(crate) use self::tests::trained_a_little;
use crate::suggest::nearest;
use crate::{Error, ErrorKind, Result};

/// Base channels that are accepted.
const WIDTHS: RangeInclusive<usize> = 1..=4096;
/// Depths that are accepted, as each family counts them.
const DEPTHS: RangeInclusive<usize> = 1..=1001;
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
    /// Base channels, 1 to 4096; without it as `docs/networks.md` says, as 16 in `resnet8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Layers or blocks, in networks whose name does not say them (`docs/networks.md`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Sizes of the hidden layers of `mlp`, each 1 to 65,536; `[128]` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// Instead of `network`: the layers, as `["conv 16 3x3 stride 2", "bn", "relu"]`
    /// (`docs/networks.md`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// Ids that occur in the data, where its samples are text: the rows of `text-encoder`'s
    /// embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
}

/// What a checked [`NetworkSpec`] says.
enum Choice<'a> {
    Mlp(&'a [usize]),
    Named(Named),
    Layers(&'a [String]),
}

impl NetworkSpec {
    /// The network for inputs of shape `input`, in PyTorch's layout; its output is logits
    /// `[1, classes]`.
    ///
    /// An image is `[c, h, w]`, a row of a table `[features]`, a text `[tokens]`.
    ///
    /// Each tensor depends on `seed`, its name and its shape alone. The error names the key, or
    /// the layer that does not fit the image; a network too large is refused before its weights
    /// are allocated.
    pub fn build(&self, input: &[usize], classes: usize, seed: u64) -> Result<Graph> {
        let (b, output) = self.plan(input, classes)?;
        b.finish(self.network.as_deref().unwrap_or("layers"), output, seed)
    }

    /// The network without weights, and its logits.
    fn plan(&self, input: &[usize], classes: usize) -> Result<(Builder, ValueId)> {
        let choice = self.choice()?;
        if input.is_empty() || input.iter().any(|size| !SIZES.contains(size)) {
            let message = format!("has the shape {input:?}: each dimension is 1 to 65536");
            return Err(Error::new(ErrorKind::Shape, "input", message));
        }
        in_range("classes", classes, &SIZES)?;
        if matches!(choice, Choice::Named(Named { images: true, .. })) && input.len() != 3 {
            let message = format!(
                "reads images [channels, height, width], the data's samples are {input:?}: mlp \
                 reads any"
            );
            let name = self.network.as_deref().unwrap_or_default();
            return Err(Error::new(ErrorKind::Shape, name, message));
        }
        let (mut b, x) = Builder::new(input);
        let output = match choice {
            Choice::Mlp(hidden) => mlp::build(&mut b, x, hidden, classes),
            Choice::Named(Named { width, depth, factor, build, .. }) => {
                let vocabulary = self.vocabulary;
                build(&mut b, x, &Size { width, depth, factor, classes, vocabulary })
            }
            Choice::Layers(lines) => layers::build(&mut b, x, lines, classes),
        };
        let output = output.map_err(|e| match self.network.as_deref() {
            Some(name) => Error::new(e.kind(), name, e.to_string()),
            None => e,
        })?;
        Ok((b, output))
    }

    /// A few words for reports: `resnet8, width 16`, `mlp, hidden [128]`, `4 layers`.
    pub fn describe(&self) -> String {
        match self.choice() {
            Ok(Choice::Mlp(hidden)) => format!("mlp, hidden {hidden:?}"),
            Ok(Choice::Named(Named { width, depth, .. })) => {
                let name = self.network.as_deref().unwrap_or_default();
                match self.depth {
                    Some(_) => format!("{name}, width {width}, depth {depth}"),
                    None => format!("{name}, width {width}"),
                }
            }
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
                let keys = [
                    ("width", self.width),
                    ("depth", self.depth),
                    ("hidden", self.hidden_layers()),
                ];
                for (key, value) in keys {
                    if value.is_some() {
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
            if self.depth.is_some() {
                return refuse("depth", "mlp has a layer for each size in `hidden`".into());
            }
            let hidden = self.hidden.as_deref().unwrap_or(&HIDDEN);
            hidden.iter().try_for_each(|&size| in_range("hidden", size, &SIZES))?;
            return Ok(Choice::Mlp(hidden));
        }
        let Some(mut named) = Named::find(name) else {
            let hint = nearest(name, NAMES).map(|near| format!(", did you mean {near:?}?"));
            let message = format!(
                "{name:?} is not known{} Valid are {}; or give `layers`",
                hint.unwrap_or(".".into()),
                NAMES.join(", ")
            );
            return refuse("network", message);
        };
        if self.hidden.is_some() {
            return refuse("hidden", format!("is for mlp alone; the size of {name} is `width`"));
        }
        if self.depth.is_some() && !named.any_depth {
            return refuse("depth", format!("{name} has one depth: leave the key out"));
        }
        named.width = self.width.unwrap_or(named.width);
        named.depth = self.depth.unwrap_or(named.depth);
        in_range("width", named.width, &WIDTHS)?;
        if named.any_depth {
            in_range("depth", named.depth, &DEPTHS)?;
        }
        Ok(Choice::Named(named))
    }

    /// How many hidden layers `hidden` asks for.
    fn hidden_layers(&self) -> Option<usize> {
        self.hidden.as_ref().map(Vec::len)
    }
}

fn in_range(key: &str, value: usize, range: &RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{value} is out of range: {} to {}", range.start(), range.end());
    Err(Error::new(ErrorKind::Config, key, message))
}
