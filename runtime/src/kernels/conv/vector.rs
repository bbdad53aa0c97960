//! Convolution to one pixel from one stretch of the input: linear layers, and windows as wide as
//! the image.

use super::PlacedConv;
use crate::kernels::gemm::Arithmetic;
use crate::kernels::gemm::vector::{Kernel, VectorProduct};

/// A convolution by one vector-matrix product.
pub(super) struct VectorConv<T: Arithmetic> {
    product: VectorProduct<T>,
    /// Where its window begins in the input, and where its channels begin in the output's pixel.
    start: usize,
    channel: usize,
    x_len: usize,
}

impl<T: Arithmetic> VectorConv<T> {
    /// Whether the output is one pixel, whose window lies in the input without a gap.
    pub(super) fn fits(conv: &PlacedConv) -> bool {
        let (shape, x) = (conv.shape, conv.x_image());
        let [kernel_h, kernel_w] = shape.kernel;
        let [dilation_h, dilation_w] = shape.dilation;
        let inside = shape.padding == [0, 0]
            && shape.reach(0, 1) <= shape.in_h
            && shape.reach(1, 1) <= shape.in_w;
        let row_is_whole = dilation_w == 1 || kernel_w == 1;
        let rows_follow = kernel_h == 1 || (dilation_h == 1 && kernel_w * x.c == x.line());
        [shape.out_h, shape.out_w, shape.groups] == [1; 3] && inside && row_is_whole && rows_follow
    }

    /// Packs `weight` `[out_c, kh, kw, in_c]` of a convolution that [`fits`](Self::fits); the
    /// kernel is one that this CPU can run.
    pub(super) fn new(
        conv: &PlacedConv,
        kernel: Kernel<T>,
        weight: &[T::Value],
        epilogue: T::Epilogue,
    ) -> Self {
        let x = conv.x_image();
        Self {
            product: VectorProduct::new(kernel, conv.shape.k(), weight, epilogue),
            start: x.origin(),
            channel: conv.channels.0,
            x_len: x.len(),
        }
    }

    /// Elements of the input that have to be readable.
    pub(super) fn x_len(&self) -> usize {
        self.x_len
    }

    /// Computes the output's pixel, where `y` begins.
    pub(super) fn run(&self, x: &[T::Value], y: &mut [T::Value]) {
        self.product.run(&x[self.start..], &mut y[self.channel..]);
    }
}
