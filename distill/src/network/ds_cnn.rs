//! `ds-cnn`: the depthwise-separable network of Zhang et al. 2017 ("Hello Edge"), for images.

use hipflask_runtime::graph::ValueId;

use super::builder::{Builder, Conv};
use super::names::Size;
use crate::Result;

/// Images with a side below this keep their size in the first convolution; others are halved.
const LEAST_HALVED: usize = 16;

/// A 3×3 convolution, `depth` blocks of a depthwise 3×3 and a pointwise convolution, all of `width`
/// channels with batch norm and ReLU, and a linear layer over the channels' means.
pub(super) fn build(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, depth, classes, .. } = size;
    let small = b.shape(image)[2..].iter().any(|&size| size < LEAST_HALVED);
    let stride = if small { 1 } else { 2 };
    let mut x = b.conv("conv1", image, &Conv::normed(width, 3).by(stride))?;
    x = b.batch_norm("bn1", x)?;
    x = b.relu("relu1", x)?;
    let depthwise = Conv::depthwise(width, 3);
    let pointwise = Conv::normed(width, 1);
    for block in 1..=depth {
        for (i, kind, conv) in [(1, "depthwise", &depthwise), (2, "pointwise", &pointwise)] {
            x = b.conv(format!("block{block}.{kind}"), x, conv)?;
            x = b.batch_norm(format!("block{block}.bn{i}"), x)?;
            x = b.relu(format!("block{block}.relu{i}"), x)?;
        }
    }
    x = b.means(x)?;
    b.linear("fc", x, classes, true)
}
