//! The networks by name: which builder makes them, of which size.

use hipflask_runtime::graph::ValueId;

use super::builder::Builder;
use super::{ds_cnn, lenet, resnet};
use crate::Result;

/// The networks known by name.
pub const NAMES: [&str; 12] = [
    "mlp",
    "lenet",
    "resnet8",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet",
    "resnet8x4",
    "resnet32x4",
    "ds-cnn",
];

/// How large a named network is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Base channels: what the `width` of a recipe says.
    pub(super) width: usize,
    /// Layers or blocks, as the family counts them; 0 where it has only one depth.
    pub(super) depth: usize,
    /// How much wider the stages are than the first convolution.
    pub(super) factor: usize,
    /// Logits.
    pub(super) classes: usize,
}

/// A network by name, with its default size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) width: usize,
    pub(super) depth: usize,
    /// Whether the recipe may give another depth.
    pub(super) any_depth: bool,
    pub(super) factor: usize,
    /// Adds all nodes after the input and gives the logits.
    pub(super) build: fn(&mut Builder, ValueId, &Size) -> Result<ValueId>,
}

impl Named {
    /// The network that `name` means, of which `mlp` is none: its size is `hidden`.
    pub(super) fn find(name: &str) -> Option<Self> {
        let one = |build, width| Self { width, depth: 0, any_depth: false, factor: 1, build };
        let wide = |width, depth| Self { depth, factor: 2, ..one(resnet::projected, width) };
        Some(match name {
            "lenet" => one(lenet::build, 6),
            "ds-cnn" => Self { depth: 4, any_depth: true, ..one(ds_cnn::build, 64) },
            "resnet8" => Self { depth: 8, ..one(resnet::projected, 16) },
            "resnet8x4" => wide(32, 8),
            "resnet32x4" => wide(32, 32),
            "resnet" => Self { depth: 20, any_depth: true, ..one(resnet::padded, 16) },
            _ => {
                let depth = name.strip_prefix("resnet")?.parse().ok()?;
                NAMES.contains(&name).then_some(Self { depth, ..one(resnet::padded, 16) })?
            }
        })
    }
}
