//! The geometry of a convolution: NHWC, one image.

/// Sizes of a convolution of one image `[in_h, in_w, in_c]` to `[out_h, out_w, out_c]`.
///
/// Padding at bottom and right follows from the output size. A linear layer is
/// [`ConvShape::linear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Rows of the input.
    pub in_h: usize,
    /// Columns of the input.
    pub in_w: usize,
    /// Channels of the input, a multiple of `groups`.
    pub in_c: usize,
    /// Rows of the output.
    pub out_h: usize,
    /// Columns of the output.
    pub out_w: usize,
    /// Channels of the output, a multiple of `groups`.
    pub out_c: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Step in rows and columns.
    pub stride: [usize; 2],
    /// Rows of padding at the top, columns at the left.
    pub padding: [usize; 2],
    /// Distance between taps in rows and columns.
    pub dilation: [usize; 2],
    /// Channel groups.
    pub groups: usize,
}

impl ConvShape {
    /// A linear layer: `[in_c]` by `[out_c, in_c]` to `[out_c]`.
    pub const fn linear(in_c: usize, out_c: usize) -> Self {
        let one = [1, 1];
        Self {
            in_h: 1,
            in_w: 1,
            in_c,
            out_h: 1,
            out_w: 1,
            out_c,
            kernel: one,
            stride: one,
            padding: [0, 0],
            dilation: one,
            groups: 1,
        }
    }

    /// Elements of the input.
    pub const fn input_len(&self) -> usize {
        self.in_h * self.in_w * self.in_c
    }

    /// Elements of the output.
    pub const fn output_len(&self) -> usize {
        self.out_h * self.out_w * self.out_c
    }

    /// Elements of the weight `[out_c, kh, kw, in_c / groups]`.
    pub const fn weight_len(&self) -> usize {
        self.out_c * self.k()
    }

    /// Products in one output value: `kh · kw · in_c / groups`.
    pub(crate) const fn k(&self) -> usize {
        self.taps() * (self.in_c / self.groups)
    }

    /// Positions of the kernel: `kh · kw`.
    pub(crate) const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether each channel is convolved by itself.
    pub(crate) const fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_c
    }

    /// States what the kernels rely on: nothing is zero, groups divide the channels.
    pub(crate) fn assert_valid(&self) {
        let sizes = [self.in_h, self.in_w, self.in_c, self.out_h, self.out_w, self.out_c];
        let steps = [self.kernel, self.stride, self.dilation];
        assert!(
            !sizes.contains(&0) && !steps.as_flattened().contains(&0) && self.groups > 0,
            "convolution with a size of zero: {self:?}"
        );
        assert!(
            self.in_c.is_multiple_of(self.groups) && self.out_c.is_multiple_of(self.groups),
            "channels are no multiple of the groups: {self:?}"
        );
    }
}
