//! `wrn-D-W`: wide residual networks (Zagoruyko & Komodakis 2016), batch norm and ReLU before each
//! convolution. Names of tensors are those of xternalz/WideResNet-pytorch, which Tian et al. 2020
//! (HobbitLong/RepDistiller) took over.

use hipflask_runtime::graph::{Op, ValueId};

use super::builder::{Builder, Conv};
use super::names::Size;
use crate::{Error, ErrorKind, Result};

/// Layers besides those of the blocks, and layers that a block more in each stage brings.
const OUTSIDE: usize = 4;
const PER_BLOCK: usize = 6;

/// A 3×3 convolution of `width` channels, three stages of 1, 2 and 4 times `factor · width`, whose
/// second and third halve the image, and a linear layer over the channels' means.
pub(super) fn build(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, depth, factor, classes, .. } = size;
    let blocks = depth.saturating_sub(OUTSIDE) / PER_BLOCK;
    if blocks == 0 || blocks * PER_BLOCK + OUTSIDE != depth {
        let message = format!("{depth} is none of a wide resnet's: 10, 16, 22, … (6 n + 4)");
        return Err(Error::new(ErrorKind::Config, "depth", message));
    }
    let mut x = b.conv("conv1", image, &Conv::normed(width, 3))?;
    for (stage, times) in [(1, 1), (2, 2), (3, 4)] {
        for i in 0..blocks {
            let stride = if stage > 1 && i == 0 { 2 } else { 1 };
            let conv = Conv::normed(times * factor * width, 3).by(stride);
            x = block(b, &format!("block{stage}.layer.{i}"), x, &conv)?;
        }
    }
    x = b.batch_norm("bn1", x)?;
    x = b.relu("relu", x)?;
    x = b.means(x)?;
    b.linear("fc", x, classes, true)
}

/// `conv2(relu(bn2(conv1(a)))) + shortcut` with `a = relu(bn1(x))`; the shortcut is `x`, or `a` by
/// a 1×1 convolution where the shape changes.
fn block(b: &mut Builder, name: &str, x: ValueId, first: &Conv) -> Result<ValueId> {
    let mut y = b.batch_norm(format!("{name}.bn1"), x)?;
    let a = b.relu(format!("{name}.relu1"), y)?;
    y = b.conv(format!("{name}.conv1"), a, first)?;
    y = b.batch_norm(format!("{name}.bn2"), y)?;
    y = b.relu(format!("{name}.relu2"), y)?;
    y = b.conv(format!("{name}.conv2"), y, &Conv::normed(first.out, 3))?;
    let shortcut = if b.channels(x) == first.out {
        x
    } else {
        let conv = Conv { stride: first.stride, ..Conv::normed(first.out, 1) };
        b.conv(format!("{name}.convShortcut"), a, &conv)?
    };
    b.op(format!("{name}.add"), Op::Add, &[y, shortcut])
}
