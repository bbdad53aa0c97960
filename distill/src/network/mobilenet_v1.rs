//! `mobilenet-v1`: Howard et al. 2017, with the names of kuangliu/pytorch-cifar.

use hipflask_runtime::graph::ValueId;

use super::builder::{Builder, Conv};
use super::names::Size;
use crate::Result;

/// Multiples of `width` and strides of the depthwise-separable blocks.
const BLOCKS: [(usize, usize); 13] = [
    (2, 1),
    (4, 2),
    (4, 1),
    (8, 2),
    (8, 1),
    (16, 2),
    (16, 1),
    (16, 1),
    (16, 1),
    (16, 1),
    (16, 1),
    (32, 2),
    (32, 1),
];

/// A 3×3 convolution of `width` channels, thirteen blocks of a depthwise 3×3 and a pointwise
/// convolution, and a linear layer over the channels' means: 32 is the paper's multiplier 1.
pub(super) fn build(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, classes, .. } = size;
    let stride = if b.is_large(image) { 2 } else { 1 };
    let mut x = b.conv("conv1", image, &Conv::normed(width, 3).by(stride))?;
    x = b.batch_norm("bn1", x)?;
    x = b.relu("relu", x)?;
    for (i, (times, stride)) in BLOCKS.into_iter().enumerate() {
        let depthwise = Conv::depthwise(b.channels(x), 3).by(stride);
        for (part, conv) in [(1, depthwise), (2, Conv::normed(times * width, 1))] {
            x = b.conv(format!("layers.{i}.conv{part}"), x, &conv)?;
            x = b.batch_norm(format!("layers.{i}.bn{part}"), x)?;
            x = b.relu(format!("layers.{i}.relu{part}"), x)?;
        }
    }
    x = b.means(x)?;
    b.linear("linear", x, classes, true)
}
