//! `mobilenet-v3-small`: Howard et al. 2019, with torchvision's names.

use hipflask_runtime::graph::{Activation, Op, ValueId};

use super::builder::{Builder, Conv, Shift, scaled};
use super::names::Size;
use crate::Result;

/// Channels of the first convolution with the paper's multiplier 1.
const BASE: usize = 16;
/// Units of the hidden linear layer with that multiplier.
const HIDDEN: usize = 1024;
/// The last convolution has so many times the channels before it.
const LAST: usize = 6;
/// Squeeze-excite squeezes to this share.
const SQUEEZE: usize = 4;
/// Added to the variance by batch norm.
const EPS: f32 = 1e-3;

/// One inverted residual.
struct Block {
    kernel: usize,
    expanded: usize,
    out: usize,
    squeeze: bool,
    function: Activation,
    stride: usize,
}

const fn block(
    kernel: usize,
    [expanded, out]: [usize; 2],
    squeeze: bool,
    function: Activation,
    stride: usize,
) -> Block {
    Block { kernel, expanded, out, squeeze, function, stride }
}

const RE: Activation = Activation::Relu;
const HS: Activation = Activation::HardSwish;

/// Table 2 of the paper.
const BLOCKS: [Block; 11] = [
    block(3, [16, 16], true, RE, 2),
    block(3, [72, 24], false, RE, 2),
    block(3, [88, 24], false, RE, 1),
    block(5, [96, 40], true, HS, 2),
    block(5, [240, 40], true, HS, 1),
    block(5, [240, 40], true, HS, 1),
    block(5, [120, 48], true, HS, 1),
    block(5, [144, 48], true, HS, 1),
    block(5, [288, 96], true, HS, 2),
    block(5, [576, 96], true, HS, 1),
    block(5, [576, 96], true, HS, 1),
];

/// A 3×3 convolution of `width` channels, inverted residuals with squeeze-excite, a pointwise
/// convolution, and two linear layers over the channels' means. Channels go with `width`, rounded to
/// multiples of 8; of small images neither the first convolution nor the first block halves.
pub(super) fn build(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, classes, .. } = size;
    b.eps = EPS;
    let large = b.is_large(image);
    let stem = Conv::normed(scaled(BASE, width, BASE), 3).by(if large { 2 } else { 1 });
    let mut x = b.conv_norm("features.0", image, &stem, Some(HS))?;
    for (i, block) in (1..).zip(&BLOCKS) {
        let stride = if i == 1 && !large { 1 } else { block.stride };
        x = inverted(b, &format!("features.{i}.block"), x, block, (width, stride))?;
    }
    let last = Conv::normed(LAST * b.channels(x), 1);
    x = b.conv_norm(&format!("features.{}", BLOCKS.len() + 1), x, &last, Some(HS))?;
    x = b.means(x)?;
    x = b.linear("classifier.0", x, scaled(HIDDEN, width, BASE), true)?;
    x = b.activation("classifier.1", HS, x)?;
    b.linear("classifier.3", x, classes, true)
}

fn inverted(
    b: &mut Builder,
    name: &str,
    x: ValueId,
    block: &Block,
    (width, stride): (usize, usize),
) -> Result<ValueId> {
    let [wide, out] = [block.expanded, block.out].map(|channels| scaled(channels, width, BASE));
    let (inputs, function, mut y, mut part) = (b.channels(x), Some(block.function), x, 0);
    if wide != inputs {
        y = b.conv_norm(&format!("{name}.{part}"), y, &Conv::normed(wide, 1), function)?;
        part += 1;
    }
    let depthwise = Conv::depthwise(wide, block.kernel).by(stride);
    y = b.conv_norm(&format!("{name}.{part}"), y, &depthwise, function)?;
    part += 1;
    if block.squeeze {
        let squeezed = scaled(wide, 1, SQUEEZE);
        y = squeeze_excite(b, &format!("{name}.{part}"), ["fc1", "fc2"], y, squeezed)?;
        part += 1;
    }
    y = b.conv_norm(&format!("{name}.{part}"), y, &Conv::normed(out, 1), None)?;
    if stride == 1 && inputs == out {
        y = b.op(format!("{name}.add"), Op::Add, &[x, y])?;
    }
    Ok(y)
}

/// Each channel times a factor in [0, 1], a function of the means of all (Hu et al. 2018, with the
/// hard sigmoid of Howard et al. 2019): pointwise convolutions `names`, the first to `squeezed`
/// channels.
pub(super) fn squeeze_excite(
    b: &mut Builder,
    name: &str,
    names: [&str; 2],
    x: ValueId,
    squeezed: usize,
) -> Result<ValueId> {
    let pointwise = |out| Conv { shift: Shift::Bias, ..Conv::normed(out, 1) };
    let [first, second] = names.map(|part| format!("{name}.{part}"));
    let channels = b.channels(x);
    let mut factors = b.op(format!("{name}.avgpool"), Op::GlobalAvgPool, &[x])?;
    factors = b.conv(first, factors, &pointwise(squeezed))?;
    factors = b.relu(format!("{name}.relu"), factors)?;
    factors = b.conv(second, factors, &pointwise(channels))?;
    factors = b.activation(format!("{name}.gate"), Activation::HardSigmoid, factors)?;
    b.op(format!("{name}.mul"), Op::Mul, &[x, factors])
}
