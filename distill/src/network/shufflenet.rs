//! `shufflenet-v2`: Ma et al. 2018, with torchvision's names.

use hipflask_runtime::graph::{Activation, Op, ValueId};

use super::builder::{Builder, Conv};
use super::names::Size;
use crate::Result;

/// Most channels of the first and the last convolution, the paper's.
const FIRST: usize = 24;
const LAST: usize = 1024;

/// Units of each stage, and multiples of `width` that are its channels.
const STAGES: [(usize, usize); 3] = [(4, 1), (8, 2), (4, 4)];

const RELU: Option<Activation> = Some(Activation::Relu);

/// A 3×3 convolution, three stages of units that halve the image first, a pointwise convolution and a
/// linear layer over the channels' means. The stages have 1, 2 and 4 times `width` channels (116 in
/// the paper's 1×); first and last convolution have its 24 and 1024, or less below a width of 48.
/// Small images are neither halved by the first convolution nor max-pooled.
pub(super) fn build(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, classes, .. } = size;
    // Both halves of a unit have this many channels or a multiple of it.
    let half = width.div_ceil(2);
    let large = b.is_large(image);
    let stem = Conv::normed(half.min(FIRST), 3).by(if large { 2 } else { 1 });
    let mut x = b.conv_norm("conv1", image, &stem, RELU)?;
    if large {
        let pool = Op::MaxPool2d { kernel: [3; 2], stride: [2; 2], padding: [1; 4] };
        x = b.op("maxpool", pool, &[x])?;
    }
    for (stage, (units, times)) in (2..).zip(STAGES) {
        for i in 0..units {
            let name = format!("stage{stage}.{i}");
            let halves = if i == 0 {
                [left(b, &name, x, times * half)?, right(b, &name, x, times * half, 2)?]
            } else {
                let cut = |start| Op::Slice { axis: 1, start, end: start + times * half };
                let first = b.op(format!("{name}.left"), cut(0), &[x])?;
                let second = b.op(format!("{name}.right"), cut(times * half), &[x])?;
                [first, right(b, &name, second, times * half, 1)?]
            };
            x = b.op(format!("{name}.concat"), Op::Concat { axis: 1 }, &halves)?;
            x = b.op(format!("{name}.shuffle"), Op::ChannelShuffle { groups: 2 }, &[x])?;
        }
    }
    let last = Conv::normed(LAST.min(LAST * half / FIRST), 1);
    x = b.conv_norm("conv5", x, &last, RELU)?;
    x = b.means(x)?;
    b.linear("fc", x, classes, true)
}

/// The branch beside the main one where the image is halved.
fn left(b: &mut Builder, name: &str, x: ValueId, out: usize) -> Result<ValueId> {
    let name = |part: usize| format!("{name}.branch1.{part}");
    let mut y = b.conv(name(0), x, &Conv::depthwise(b.channels(x), 3).by(2))?;
    y = b.batch_norm(name(1), y)?;
    y = b.conv(name(2), y, &Conv::normed(out, 1))?;
    y = b.batch_norm(name(3), y)?;
    b.relu(name(4), y)
}

/// The main branch: pointwise, depthwise, pointwise.
fn right(b: &mut Builder, name: &str, x: ValueId, out: usize, stride: usize) -> Result<ValueId> {
    let name = |part: usize| format!("{name}.branch2.{part}");
    let mut y = b.conv(name(0), x, &Conv::normed(out, 1))?;
    y = b.batch_norm(name(1), y)?;
    y = b.relu(name(2), y)?;
    y = b.conv(name(3), y, &Conv::depthwise(out, 3).by(stride))?;
    y = b.batch_norm(name(4), y)?;
    y = b.conv(name(5), y, &Conv::normed(out, 1))?;
    y = b.batch_norm(name(6), y)?;
    b.relu(name(7), y)
}
