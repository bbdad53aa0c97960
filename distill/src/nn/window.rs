//! Geometry of a window that slides over a plane: shared by convolution and pooling.

use std::ops::Range;

use crate::{Error, ErrorKind, Result};

/// A kernel sliding over one zero-padded plane; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) input: [usize; 2],
    pub(super) output: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Top, left, bottom, right.
    pub(super) padding: [usize; 4],
    pub(super) dilation: [usize; 2],
}

impl Window {
    /// Fails when a size is zero, the padded input is smaller than the kernel, or a size
    /// does not fit the address space.
    pub(super) fn new(
        op: &str,
        input: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
        dilation: [usize; 2],
    ) -> Result<Self> {
        let fail = |message: String| Error::new(ErrorKind::Shape, op, message);
        if [kernel, stride, dilation].iter().flatten().any(|&size| size == 0) {
            return Err(fail(format!(
                "kernel {kernel:?}, stride {stride:?} and dilation {dilation:?} must be at least 1"
            )));
        }
        let mut output = [0; 2];
        for axis in 0..2 {
            let reach = (kernel[axis] - 1)
                .checked_mul(dilation[axis])
                .and_then(|reach| reach.checked_add(1));
            let padded = input[axis]
                .checked_add(padding[axis])
                .and_then(|size| size.checked_add(padding[axis + 2]));
            let (Some(reach), Some(padded)) = (reach, padded) else {
                return Err(fail(format!(
                    "padding {padding:?} or dilation {dilation:?} is absurd"
                )));
            };
            if padded < reach {
                return Err(fail(format!(
                    "a {}×{} input with padding {padding:?} is smaller than the {}×{} kernel \
                     at dilation {dilation:?}",
                    input[0], input[1], kernel[0], kernel[1]
                )));
            }
            output[axis] = (padded - reach) / stride[axis] + 1;
        }
        Ok(Self { input, output, kernel, stride, padding, dilation })
    }

    /// Number of input values in a plane.
    pub(super) fn in_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Number of output values in a plane.
    pub(super) fn out_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Number of values under the kernel.
    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether every output value reads exactly the input value at its own place.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0; 4]
    }

    /// The outputs along `axis` whose kernel position `tap` reads an input value, not padding,
    /// and the input index that the first of them reads.
    pub(super) fn span(&self, axis: usize, tap: usize) -> (Range<usize>, usize) {
        let (stride, before) = (self.stride[axis], self.padding[axis]);
        let offset = tap * self.dilation[axis];
        let end = (self.input[axis] + before)
            .saturating_sub(offset)
            .div_ceil(stride)
            .min(self.output[axis]);
        let start = before.saturating_sub(offset).div_ceil(stride).min(end);
        (start..end, (start * stride + offset).saturating_sub(before))
    }

    /// The input range along `axis` under output index `at`, padding cut off (dilation 1).
    pub(super) fn covered(&self, axis: usize, at: usize) -> Range<usize> {
        let first = at * self.stride[axis];
        let start = first.saturating_sub(self.padding[axis]);
        let end = (first + self.kernel[axis]).saturating_sub(self.padding[axis]);
        start..end.min(self.input[axis])
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn spans_list_exactly_the_outputs_that_read_an_input_value() {
        for (input, kernel, stride, before, after, dilation) in
            [(7, 3, 1, 1, 1, 1), (5, 3, 2, 1, 0, 1), (4, 2, 3, 2, 5, 3), (1, 3, 1, 4, 4, 1)]
        {
            let window = Window::new(
                "test",
                [input; 2],
                [kernel; 2],
                [stride; 2],
                [before, before, after, after],
                [dilation; 2],
            )
            .unwrap();
            for tap in 0..kernel {
                let inside: Vec<_> = (0..window.output[0])
                    .map(|o| o * stride + tap * dilation)
                    .enumerate()
                    .filter(|(_, at)| (before..before + input).contains(at))
                    .map(|(o, at)| (o, at - before))
                    .collect();
                let (span, first) = window.span(1, tap);
                let listed: Vec<_> =
                    span.clone().map(|o| (o, first + (o - span.start) * stride)).collect();
                assert_eq!(listed, inside, "tap {tap} of {window:?}");
            }
        }
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let window = |kernel, stride, padding| {
            Window::new("conv", [4, 4], [kernel; 2], [stride; 2], [padding; 4], [1; 2])
        };
        for bad in [window(0, 1, 0), window(3, 0, 0), window(5, 1, 0), window(3, 1, usize::MAX)] {
            assert_eq!(bad.unwrap_err().kind(), ErrorKind::Shape);
        }
        assert_eq!(window(5, 1, 1).unwrap().output, [2, 2]);
    }
}
