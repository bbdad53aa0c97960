//! `resnet8`: the residual network of He et al. 2016 for small images with one block a stage, as in
//! MLPerf Tiny (Banbury et al. 2021); shortcuts and tensor names are torchvision's.

use hipflask_runtime::graph::{Op, ValueId};

use super::builder::{Builder, Conv};
use crate::Result;

/// A 3×3 convolution of `width` channels, three stages of 1, 2 and 4 times `width` whose second
/// and third halve the image, and a linear layer over the channels' means.
pub(super) fn build(
    b: &mut Builder,
    image: ValueId,
    width: usize,
    classes: usize,
) -> Result<ValueId> {
    let mut x = b.conv("conv1", image, &Conv::normed(width, 3))?;
    x = b.batch_norm("bn1", x)?;
    x = b.relu("relu", x)?;
    for (stage, out, stride) in [(1, width, 1), (2, 2 * width, 2), (3, 4 * width, 2)] {
        x = block(b, &format!("layer{stage}.0"), x, out, stride)?;
    }
    x = b.op("avgpool", Op::GlobalAvgPool, &[x])?;
    x = b.op("flatten", Op::Flatten, &[x])?;
    b.linear("fc", x, classes, true)
}

/// `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`; the shortcut is `x` itself, or its 1×1
/// projection where the shape changes.
fn block(b: &mut Builder, name: &str, x: ValueId, out: usize, stride: usize) -> Result<ValueId> {
    let strided = |kernel| Conv { stride: [stride; 2], ..Conv::normed(out, kernel) };
    let mut y = b.conv(format!("{name}.conv1"), x, &strided(3))?;
    y = b.batch_norm(format!("{name}.bn1"), y)?;
    y = b.relu(format!("{name}.relu1"), y)?;
    y = b.conv(format!("{name}.conv2"), y, &Conv::normed(out, 3))?;
    y = b.batch_norm(format!("{name}.bn2"), y)?;
    let mut shortcut = x;
    if stride != 1 || b.channels(x) != out {
        shortcut = b.conv(format!("{name}.downsample.0"), x, &strided(1))?;
        shortcut = b.batch_norm(format!("{name}.downsample.1"), shortcut)?;
    }
    y = b.op(format!("{name}.add"), Op::Add, &[y, shortcut])?;
    b.relu(format!("{name}.relu2"), y)
}
