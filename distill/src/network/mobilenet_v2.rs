//! `mobilenet-v2`: Sandler et al. 2018, with torchvision's names.

use hipflask_runtime::graph::{Activation, Op, ValueId};

use super::builder::{Builder, Conv, scaled};
use super::names::Size;
use crate::Result;

/// Channels of the first convolution with the paper's multiplier 1.
const BASE: usize = 32;
/// Channels of the last convolution with that multiplier.
const LAST: usize = 1280;

/// Expansion, channels, blocks and first stride of each stage.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Of small images the first stage that should halve does not, as in chenyaofo/pytorch-cifar-models.
const FIRST_HALVING: usize = 1;

/// A 3×3 convolution of `width` channels, inverted residuals, a pointwise convolution and a linear
/// layer over the channels' means. Channels go with `width`, rounded to multiples of 8; those of
/// the last convolution too, which the paper keeps at 1280 below 32.
pub(super) fn build(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, classes, .. } = size;
    let large = b.is_large(image);
    let relu6 = Some(Activation::Relu6);
    let stem = Conv::normed(scaled(BASE, width, BASE), 3).by(if large { 2 } else { 1 });
    let mut x = b.conv_norm("features.0", image, &stem, relu6)?;
    let mut block = 0;
    for (stage, (expansion, channels, blocks, stride)) in STAGES.into_iter().enumerate() {
        let kept = stage == FIRST_HALVING && !large;
        for i in 0..blocks {
            block += 1;
            let stride = if i > 0 || kept { 1 } else { stride };
            let out = scaled(channels, width, BASE);
            x = inverted(b, &format!("features.{block}"), x, (expansion, out, stride))?;
        }
    }
    let last = Conv::normed(scaled(LAST, width, BASE), 1);
    x = b.conv_norm(&format!("features.{}", block + 1), x, &last, relu6)?;
    x = b.means(x)?;
    b.linear("classifier.1", x, classes, true)
}

/// A pointwise convolution to `expansion` times the channels, a depthwise 3×3, a pointwise one to
/// `out`; added to `x` where the shapes are the same.
fn inverted(
    b: &mut Builder,
    name: &str,
    x: ValueId,
    (expansion, out, stride): (usize, usize, usize),
) -> Result<ValueId> {
    let relu6 = Some(Activation::Relu6);
    let (inputs, mut y, mut part) = (b.channels(x), x, 0);
    let wide = inputs * expansion;
    if expansion > 1 {
        y = b.conv_norm(&format!("{name}.conv.0"), y, &Conv::normed(wide, 1), relu6)?;
        part = 1;
    }
    let depthwise = Conv::depthwise(wide, 3).by(stride);
    y = b.conv_norm(&format!("{name}.conv.{part}"), y, &depthwise, relu6)?;
    y = b.conv(format!("{name}.conv.{}", part + 1), y, &Conv::normed(out, 1))?;
    y = b.batch_norm(format!("{name}.conv.{}", part + 2), y)?;
    if stride == 1 && inputs == out {
        y = b.op(format!("{name}.add"), Op::Add, &[x, y])?;
    }
    Ok(y)
}
