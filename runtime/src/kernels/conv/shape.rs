//! The geometry of a convolution: NHWC, one image.

use crate::kernels::image::{Image, Margin};

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

    /// Input rows (`axis` 0) or columns (1) under the windows of `count` neighbours.
    pub(crate) const fn reach(&self, axis: usize, count: usize) -> usize {
        (count - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// The margin of an input that holds all padding.
    pub fn margin(&self) -> Margin {
        let after = |axis: usize, input: usize, output: usize| {
            self.reach(axis, output).saturating_sub(self.padding[axis] + input)
        };
        Margin {
            above: self.padding[0],
            below: after(0, self.in_h, self.out_h),
            beside: self.padding[1].max(after(1, self.in_w, self.out_w)),
        }
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

/// A convolution with the places of its images in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedConv {
    /// The geometry.
    pub shape: ConvShape,
    /// The margin of the input, which holds what 0.0 is there.
    pub x: Margin,
    /// The margin of the output.
    pub y: Margin,
    /// Where the output's channels begin in its image, and how many that has: more than the
    /// convolution's where others write the rest.
    pub channels: (usize, usize),
    /// Whether elements behind the input may be read, though none counts; how many, the
    /// convolution says.
    pub overread: bool,
}

impl From<ConvShape> for PlacedConv {
    fn from(shape: ConvShape) -> Self {
        let (x, y) = (Margin::default(), Margin::default());
        Self { shape, x, y, channels: (0, shape.out_c), overread: false }
    }
}

impl PlacedConv {
    /// The input's place.
    pub(crate) fn x_image(&self) -> Image {
        let ConvShape { in_h, in_w, in_c, .. } = self.shape;
        Image { h: in_h, w: in_w, c: in_c, margin: self.x }
    }

    /// The output's place.
    pub(crate) fn y_image(&self) -> Image {
        let ConvShape { out_h, out_w, .. } = self.shape;
        Image { h: out_h, w: out_w, c: self.channels.1, margin: self.y }
    }
}
