//! `resnet…`: the residual networks of He et al. 2016 for small images.
//!
//! `resnet8`, as in MLPerf Tiny (Banbury et al. 2021), `resnet8x4` and `resnet32x4`, as in Tian et
//! al. 2020 ("Contrastive Representation Distillation"), have shortcuts by projection; the others
//! the paper's own, of zeros. Names of tensors are those of the best known PyTorch checkpoints.

use hipflask_runtime::graph::{Op, ValueId};

use super::builder::{Builder, Conv};
use super::names::Size;
use crate::{Error, ErrorKind, Result};

/// Layers besides those of the blocks, and layers that a block more in each stage brings.
const OUTSIDE: usize = 2;
const PER_BLOCK: usize = 6;

/// How a shortcut follows a block that changes the shape.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shortcut {
    /// A 1×1 convolution with batch norm, torchvision's.
    Projected,
    /// Every second pixel, and channels of zeros before and after: option A of the paper.
    Padded,
}

/// With projections and the head `fc`: torchvision's names.
pub(super) fn projected(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let x = stages(b, image, size, Shortcut::Projected)?;
    b.linear("fc", x, size.classes, true)
}

/// With shortcuts of zeros and the head `linear`: the names of akamaster/pytorch_resnet_cifar10.
pub(super) fn padded(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let x = stages(b, image, size, Shortcut::Padded)?;
    b.linear("linear", x, size.classes, true)
}

/// A 3×3 convolution of `width` channels, three stages of 1, 2 and 4 times `factor · width`, whose
/// second and third halve the image, and the channels' means.
fn stages(b: &mut Builder, image: ValueId, size: &Size, shortcut: Shortcut) -> Result<ValueId> {
    let &Size { width, depth, factor, .. } = size;
    let blocks = depth.saturating_sub(OUTSIDE) / PER_BLOCK;
    if blocks == 0 || blocks * PER_BLOCK + OUTSIDE != depth {
        let message = format!("{depth} is none of a resnet's: 8, 14, 20, … (6 n + 2)");
        return Err(Error::new(ErrorKind::Config, "depth", message));
    }
    let mut x = b.conv("conv1", image, &Conv::normed(width, 3))?;
    x = b.batch_norm("bn1", x)?;
    x = b.relu("relu", x)?;
    for (stage, times) in [(1, 1), (2, 2), (3, 4)] {
        for i in 0..blocks {
            let stride = if stage > 1 && i == 0 { 2 } else { 1 };
            let conv = Conv::normed(times * factor * width, 3).by(stride);
            x = block(b, &format!("layer{stage}.{i}"), x, &conv, shortcut)?;
        }
    }
    b.means(x)
}

/// `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`; `first` is `conv1`.
fn block(
    b: &mut Builder,
    name: &str,
    x: ValueId,
    first: &Conv,
    shortcut: Shortcut,
) -> Result<ValueId> {
    let mut y = b.conv(format!("{name}.conv1"), x, first)?;
    y = b.batch_norm(format!("{name}.bn1"), y)?;
    y = b.relu(format!("{name}.relu1"), y)?;
    y = b.conv(format!("{name}.conv2"), y, &Conv::normed(first.out, 3))?;
    y = b.batch_norm(format!("{name}.bn2"), y)?;
    let x = if first.stride == [1; 2] && b.channels(x) == first.out {
        x
    } else if shortcut == Shortcut::Projected {
        let conv = Conv { stride: first.stride, ..Conv::normed(first.out, 1) };
        let x = b.conv(format!("{name}.downsample.0"), x, &conv)?;
        b.batch_norm(format!("{name}.downsample.1"), x)?
    } else {
        padded_shortcut(b, name, x, first)?
    };
    y = b.op(format!("{name}.add"), Op::Add, &[y, x])?;
    b.relu(format!("{name}.relu2"), y)
}

/// Windows of one pixel pick every second; half of the zeros come before the channels.
fn padded_shortcut(b: &mut Builder, name: &str, x: ValueId, conv: &Conv) -> Result<ValueId> {
    let pick = Op::MaxPool2d { kernel: [1; 2], stride: conv.stride, padding: [0; 4] };
    let x = b.op(format!("{name}.shortcut.pick"), pick, &[x])?;
    let zeros = conv.out.saturating_sub(b.channels(x));
    let pad = Op::PadChannels { before: zeros / 2, after: zeros - zeros / 2 };
    b.op(format!("{name}.shortcut.pad"), pad, &[x])
}
