//! The networks by name: which builder makes them, of which size.

use hipflask_runtime::graph::ValueId;

use super::builder::Builder;
use super::{
    autoencoder, ds_cnn, lenet, mobilenet_v1, mobilenet_v2, mobilenet_v3, resnet, shufflenet,
    temporal, transformer, vgg, wrn,
};
use crate::Result;

/// The networks known by name; `wrn40-2` stands for other depths and factors too.
pub const NAMES: [&str; 25] = [
    "mlp",
    "autoencoder",
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
    "wrn16-2",
    "wrn40-2",
    "vgg8",
    "vgg13",
    "mobilenet-v1",
    "mobilenet-v2",
    "mobilenet-v3-small",
    "shufflenet-v2",
    "ds-cnn",
    "tcn",
    "tc-resnet8",
    "vit-tiny",
    "text-encoder",
];

/// Largest factor of a wide network.
const MOST_TIMES: usize = 64;

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
    /// Rows of an embedding, where the samples are ids of text.
    pub(super) vocabulary: Option<usize>,
}

/// A network by name, with its default size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) width: usize,
    pub(super) depth: usize,
    /// Whether the recipe may give another depth.
    pub(super) any_depth: bool,
    pub(super) factor: usize,
    /// Whether it reads images alone.
    pub(super) images: bool,
    /// Adds all nodes after the input and gives the logits.
    pub(super) build: fn(&mut Builder, ValueId, &Size) -> Result<ValueId>,
}

impl Named {
    /// The network that `name` means, of which `mlp` is none: its size is `hidden`.
    pub(super) fn find(name: &str) -> Option<Self> {
        let one = |build, width| Self {
            width,
            depth: 0,
            any_depth: false,
            factor: 1,
            images: true,
            build,
        };
        let deep = |build, width, depth| Self { depth, any_depth: true, ..one(build, width) };
        let fixed = |build, width, depth| Self { depth, ..one(build, width) };
        Some(match name {
            "autoencoder" => Self { images: false, ..deep(autoencoder::build, 128, 4) },
            "lenet" => one(lenet::build, 6),
            "resnet" => deep(resnet::padded, 16, 20),
            "resnet8" => fixed(resnet::projected, 16, 8),
            "resnet20" => fixed(resnet::padded, 16, 20),
            "resnet32" => fixed(resnet::padded, 16, 32),
            "resnet44" => fixed(resnet::padded, 16, 44),
            "resnet56" => fixed(resnet::padded, 16, 56),
            "resnet110" => fixed(resnet::padded, 16, 110),
            "resnet8x4" => Self { factor: 2, ..fixed(resnet::projected, 32, 8) },
            "resnet32x4" => Self { factor: 2, ..fixed(resnet::projected, 32, 32) },
            "vgg8" => fixed(vgg::build, 64, 8),
            "vgg13" => fixed(vgg::build, 64, 13),
            "mobilenet-v1" => one(mobilenet_v1::build, 32),
            "mobilenet-v2" => one(mobilenet_v2::build, 32),
            "mobilenet-v3-small" => one(mobilenet_v3::build, 16),
            "shufflenet-v2" => one(shufflenet::build, 116),
            "ds-cnn" => deep(ds_cnn::build, 64, 4),
            "tcn" => deep(temporal::tcn, 32, 4),
            "tc-resnet8" => one(temporal::tc_resnet, 16),
            "vit-tiny" => deep(transformer::vision, 64, 4),
            "text-encoder" => Self { images: false, ..deep(transformer::text, 64, 2) },
            _ => {
                let (depth, factor) = name.strip_prefix("wrn")?.split_once('-')?;
                let (depth, factor) = (depth.parse().ok()?, factor.parse().ok()?);
                let sensible = (1..=MOST_TIMES).contains(&factor);
                sensible.then_some(Self { factor, ..fixed(wrn::build, 16, depth) })?
            }
        })
    }
}
