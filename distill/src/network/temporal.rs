//! `tcn` and `tc-resnet8`: convolutions along time alone, for signals and spectrograms.
//!
//! `[channels, 1, time]` is a signal of that many channels. In any other `[channels, time, bands]` the
//! bands are channels too: the first convolution spans them all.

use hipflask_runtime::graph::{Op, ValueId};

use super::builder::{Builder, Conv};
use super::names::Size;
use crate::Result;

/// Taps of a temporal convolutional network.
const TCN_KERNEL: usize = 3;
/// Taps of TC-ResNet, and of its first convolution.
const TC_KERNEL: usize = 9;
const TC_FIRST: usize = 3;
/// TC-ResNet's channels are these shares of its first convolution's: 24, 32 and 48 of 16.
const TC_STAGES: [(usize, usize); 3] = [(3, 2), (2, 1), (3, 1)];

/// Which dimension of an image time is.
#[derive(Clone, Copy)]
enum Time {
    Rows,
    Columns,
}

impl Time {
    fn of(b: &Builder, x: ValueId) -> Self {
        if b.shape(x)[2] == 1 { Self::Columns } else { Self::Rows }
    }

    /// A convolution of `x` over `taps` moments `dilation` apart, `before` and `after` zeros.
    fn conv(self, b: &Builder, x: ValueId, along: Along) -> Conv {
        let Along { out, taps, stride, dilation, zeros: [before, after] } = along;
        let bands = b.shape(x)[3];
        let base = Conv::normed(out, 1);
        match self {
            Self::Rows => Conv {
                kernel: [taps, bands],
                stride: [stride, 1],
                dilation: [dilation, 1],
                padding: [before, 0, after, 0],
                ..base
            },
            Self::Columns => Conv {
                kernel: [1, taps],
                stride: [1, stride],
                dilation: [1, dilation],
                padding: [0, before, 0, after],
                ..base
            },
        }
    }
}

/// A convolution along time.
#[derive(Clone, Copy)]
struct Along {
    out: usize,
    taps: usize,
    stride: usize,
    dilation: usize,
    zeros: [usize; 2],
}

impl Along {
    /// What came before and now, so that nothing reads the future.
    fn causal(out: usize, taps: usize, dilation: usize) -> Self {
        Self { out, taps, stride: 1, dilation, zeros: [(taps - 1) * dilation, 0] }
    }

    /// As much before as after.
    fn around(out: usize, taps: usize, stride: usize) -> Self {
        Self { out, taps, stride, dilation: 1, zeros: [taps / 2; 2] }
    }
}

/// `tcn`: the temporal convolutional network of Bai et al. 2018 with batch norm in place of weight
/// norm: `depth` residual blocks of two causal convolutions of `width` channels, each block's
/// dilation twice the one's before, and a linear layer over the means in time.
pub(super) fn tcn(b: &mut Builder, input: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, depth, classes, .. } = size;
    let time = Time::of(b, input);
    let mut x = input;
    for i in 0..depth {
        let name = |part: &str| format!("network.{i}.{part}");
        // Beyond the longest signal a dilation reads zeros only.
        let dilation = 1 << i.min(16);
        let conv = time.conv(b, x, Along::causal(width, TCN_KERNEL, dilation));
        let mut y = b.conv(name("conv1"), x, &conv)?;
        y = b.batch_norm(name("bn1"), y)?;
        y = b.relu(name("relu1"), y)?;
        let conv = time.conv(b, y, Along::causal(width, TCN_KERNEL, dilation));
        y = b.conv(name("conv2"), y, &conv)?;
        y = b.batch_norm(name("bn2"), y)?;
        y = b.relu(name("relu2"), y)?;
        if b.shape(x) != b.shape(y) {
            let conv = time.conv(b, x, Along::causal(width, 1, 1));
            x = b.conv(name("downsample"), x, &conv)?;
        }
        x = b.op(name("add"), Op::Add, &[y, x])?;
        x = b.relu(name("relu"), x)?;
    }
    x = b.means(x)?;
    b.linear("linear", x, classes, true)
}

/// `tc-resnet8`: Choi et al. 2019 ("Temporal Convolution for Real-time Keyword Spotting on Mobile
/// Devices"): a convolution of `width` channels, three residual blocks of 1.5, 2 and 3 times as many
/// that halve time, and a linear layer over the means.
pub(super) fn tc_resnet(b: &mut Builder, input: ValueId, size: &Size) -> Result<ValueId> {
    let &Size { width, classes, .. } = size;
    let time = Time::of(b, input);
    let conv = time.conv(b, input, Along::around(width, TC_FIRST, 1));
    let mut x = b.conv("conv1", input, &conv)?;
    x = b.batch_norm("bn1", x)?;
    x = b.relu("relu1", x)?;
    for (i, (times, by)) in (1..).zip(TC_STAGES) {
        let out = (times * width).div_ceil(by);
        let name = |part: &str| format!("block{i}.{part}");
        let conv = time.conv(b, x, Along::around(out, TC_KERNEL, 2));
        let mut y = b.conv(name("conv1"), x, &conv)?;
        y = b.batch_norm(name("bn1"), y)?;
        y = b.relu(name("relu1"), y)?;
        let conv = time.conv(b, y, Along::around(out, TC_KERNEL, 1));
        y = b.conv(name("conv2"), y, &conv)?;
        y = b.batch_norm(name("bn2"), y)?;
        let conv = time.conv(b, x, Along::around(out, 1, 2));
        x = b.conv(name("downsample.0"), x, &conv)?;
        x = b.batch_norm(name("downsample.1"), x)?;
        x = b.relu(name("downsample.2"), x)?;
        x = b.op(name("add"), Op::Add, &[y, x])?;
        x = b.relu(name("relu2"), x)?;
    }
    x = b.means(x)?;
    b.linear("fc", x, classes, true)
}
