//! `lenet`: LeNet-5 (LeCun et al. 1998) with ReLU and max-pooling, as it is taught today.

use hipflask_runtime::graph::{Op, ValueId};

use super::builder::{Builder, Conv, Shift};
use super::names::Size;
use crate::Result;

/// Images of this size need no padding in the first convolution: LeNet-5 sees 28×28 in 32×32.
const FULL_SIZE: usize = 32;

/// Images below this size are padded in the second convolution, so that pooling has 3 pixels left.
const LEAST_UNPADDED: usize = 10;

/// Two 5×5 convolutions of `width` and 8/3 `width` channels, each with ReLU and 2×2 max-pooling;
/// linear layers of 20 and 14 times `width`, and the logits: 6, 16, 120, 84 as in the paper at 6.
pub(super) fn build(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, classes, .. } = size;
    let mut x = image;
    let channels = [width, (8 * width + 1) / 3];
    for (i, out, unpadded_from) in [(1, channels[0], FULL_SIZE), (2, channels[1], LEAST_UNPADDED)] {
        let small = b.shape(x)[2..].iter().any(|&size| size < unpadded_from);
        let padding = [if small { 2 } else { 0 }; 4];
        let conv = Conv { padding, shift: Shift::Bias, ..Conv::normed(out, 5) };
        x = b.conv(format!("conv{i}"), x, &conv)?;
        x = b.relu(format!("relu{i}"), x)?;
        let pool = Op::MaxPool2d { kernel: [2; 2], stride: [2; 2], padding: [0; 4] };
        x = b.op(format!("pool{i}"), pool, &[x])?;
    }
    x = b.op("flatten", Op::Flatten, &[x])?;
    for (i, size) in [(1, 20 * width), (2, 14 * width)] {
        x = b.linear(format!("fc{i}"), x, size, true)?;
        x = b.relu(format!("relu{}", i + 2), x)?;
    }
    b.linear("fc3", x, classes, true)
}
