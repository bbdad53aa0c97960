//! `vgg8` and `vgg13`: Simonyan & Zisserman 2015 with batch norm for small images, with the names of
//! Tian et al. 2020 (HobbitLong/RepDistiller).

use hipflask_runtime::graph::{Op, ValueId};

use super::builder::{Builder, Conv, Shift};
use super::names::Size;
use crate::Result;

/// Multiples of `width` in the five stages.
const STAGES: [usize; 5] = [1, 2, 4, 8, 8];

/// Stages after which an image is halved, and the one after which it is where it has this many rows.
const HALVED: usize = 3;
const HALVED_IF: (usize, usize) = (3, 64);

/// Five stages of 3×3 convolutions, one each at depth 8 and two at 13, with batch norm and ReLU, 2×2
/// max-pooling between them, and a linear layer over the channels' means.
pub(super) fn build(b: &mut Builder, image: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, depth, classes, .. } = size;
    let convolutions = if depth == 8 { 1 } else { 2 };
    let rows = b.shape(image)[2];
    let mut x = image;
    for (stage, times) in STAGES.into_iter().enumerate() {
        for i in 0..convolutions {
            let name = |part: usize| format!("block{stage}.{}", 3 * i + part);
            let conv = Conv { shift: Shift::Cancelled, ..Conv::normed(times * width, 3) };
            x = b.conv(name(0), x, &conv)?;
            x = b.batch_norm(name(1), x)?;
            x = b.relu(name(2), x)?;
        }
        let halved = stage < HALVED || (stage == HALVED_IF.0 && rows >= HALVED_IF.1);
        // A side of one pixel cannot be halved.
        if halved && b.shape(x)[2..].iter().all(|&side| side > 1) {
            let pool = Op::MaxPool2d { kernel: [2; 2], stride: [2; 2], padding: [0; 4] };
            x = b.op(format!("pool{stage}"), pool, &[x])?;
        }
    }
    x = b.means(x)?;
    b.linear("classifier", x, classes, true)
}
