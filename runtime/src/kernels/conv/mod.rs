//! Convolutions, int8 and f32: NHWC, weights OHWI, one image; linear layers are 1×1 ones.

mod band;
mod depthwise;
mod divide;
mod matrix;
mod shape;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;
mod vector;
mod winograd;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::ops::Range;

use depthwise::{DepthwiseConv, fold, reads_images};
use matrix::MatrixConv;
pub use shape::{ConvShape, PlacedConv};
use vector::VectorConv;
use winograd::Convolve;

use super::Isa;
use super::gemm::Arithmetic;
use super::gemm::float::{BiasClamp, Float};
use super::gemm::int8::{Int8, Requantize, Rows};
use super::image::Margin;
use crate::quant::Output;
use crate::threads::Threads;

/// How a convolution is computed.
enum Strategy<T: Arithmetic> {
    Matrix(MatrixConv<T>),
    Depthwise(DepthwiseConv<T>),
    Vector(VectorConv<T>),
    Winograd(Box<dyn Convolve<T::Value>>),
}

impl<T: Arithmetic> Strategy<T> {
    fn scratch_len(&self) -> usize {
        match self {
            Self::Matrix(conv) => conv.scratch_len(),
            Self::Depthwise(conv) => conv.scratch_len(),
            Self::Vector(_) => 0,
            Self::Winograd(conv) => conv.scratch_len(),
        }
    }

    fn x_len(&self) -> usize {
        match self {
            Self::Matrix(conv) => conv.x_len(),
            Self::Depthwise(conv) => conv.x_len(),
            Self::Vector(conv) => conv.x_len(),
            Self::Winograd(conv) => conv.x_len(),
        }
    }

    /// Its name without the instruction set.
    fn name(&self) -> String {
        match self {
            Self::Matrix(conv) => format!("gemm-{}", conv.panel()),
            Self::Depthwise(conv) if conv.is_folded() => "depthwise-folded".into(),
            Self::Depthwise(_) => "depthwise".into(),
            Self::Vector(_) => "gemv".into(),
            Self::Winograd(conv) => format!("winograd-{}", conv.row_unit()),
        }
    }

    /// Output rows that are computed together.
    fn row_unit(&self) -> usize {
        match self {
            Self::Matrix(_) | Self::Depthwise(_) | Self::Vector(_) => 1,
            Self::Winograd(conv) => conv.row_unit(),
        }
    }

    /// Computes output rows; `y` begins at the first pixel of the first one.
    fn run(&self, rows: Range<usize>, x: &[T::Value], y: &mut [T::Value], scratch: &mut [u8]) {
        let (needed, given) = (self.scratch_len(), scratch.len());
        assert!(given >= needed, "conv: needs {needed} bytes of scratch, has {given}");
        let scratch = &mut scratch[..needed];
        let at = scratch.as_ptr().addr();
        assert!(
            scratch.is_empty() || at.is_multiple_of(64),
            "conv: scratch at {at:#x} does not begin at a multiple of 64 bytes"
        );
        match self {
            Self::Matrix(conv) => conv.run(rows, x, y, scratch),
            Self::Depthwise(conv) => conv.run(rows, x, y, scratch),
            Self::Vector(conv) => conv.run(x, y),
            Self::Winograd(conv) => conv.run(rows, x, y, scratch),
        }
    }
}

/// Scratch as elements; none of it may have no alignment.
fn elements<V: bytemuck::Pod>(scratch: &mut [u8]) -> &mut [V] {
    if scratch.is_empty() { &mut [] } else { bytemuck::cast_slice_mut(scratch) }
}

/// How many neighbouring pixels the int8 depthwise kernel gets as one.
fn fold_int8(isa: Isa, shape: &ConvShape) -> usize {
    let gathers = super::depthwise::gathers(isa, shape);
    if gathers { 1 } else { fold(shape, super::depthwise::int8(isa).block) }
}

/// The margin with which a convolution reads its input in place; none where it copies anyway.
pub fn margin(isa: Isa, shape: &ConvShape, int8: bool) -> Margin {
    let in_place = match (shape.is_depthwise(), int8) {
        (true, true) => reads_images(shape, fold_int8(isa, shape)),
        (true, false) => reads_images(shape, fold(shape, super::depthwise::float(isa).block)),
        (false, true) => {
            let n = shape.out_c / shape.groups;
            super::gemm::int8::tile(isa, n, shape.k()).encode.is_none()
        }
        (false, false) => winograd::choose(shape).is_none(),
    };
    if in_place { shape.margin() } else { Margin::default() }
}

/// A convolution, packed for one instruction set.
pub struct Conv<T: Arithmetic> {
    isa: Isa,
    place: PlacedConv,
    strategy: Strategy<T>,
}

/// An int8 convolution: the same bits on all instruction sets.
pub type ConvI8 = Conv<Int8>;

/// An f32 convolution; instruction sets differ by rounding.
pub type ConvF32 = Conv<Float>;

impl<T: Arithmetic> Conv<T> {
    /// `{isa}-{strategy}`, for reports.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.isa, self.strategy.name())
    }

    /// Bytes of scratch that [`run`](Self::run) needs.
    pub fn scratch_len(&self) -> usize {
        self.strategy.scratch_len()
    }

    /// Elements that the input of [`run`](Self::run) has at least.
    pub fn input_len(&self) -> usize {
        self.strategy.x_len()
    }

    /// Convolves `x` `[in_h, in_w, in_c]` to `y` `[out_h, out_w, out_c]`, each with its margin,
    /// without allocating.
    ///
    /// `scratch` begins at a multiple of 64 and has [`scratch_len`](Self::scratch_len) bytes or
    /// more; what it holds does not matter. The margin of `y` is left as it is. Panics when a
    /// buffer is too short.
    pub fn run(&self, x: &[T::Value], y: &mut [T::Value], scratch: &mut [u8]) {
        self.assert_lengths(x, y);
        let first = self.place.y_image().origin();
        self.strategy.run(0..self.place.shape.out_h, x, &mut y[first..], scratch);
    }

    /// How many of `threads` are worth waking for it, on a CPU that computes with `isa`.
    pub(crate) fn parts(&self, isa: Isa, threads: usize) -> usize {
        divide::parts(&self.place.shape, isa, threads)
    }

    /// As [`run`](Self::run) on all threads: the same bits in int8, in f32 but for rounding. Each
    /// has its own [`scratch_len`](Self::scratch_len) bytes, rounded up to a multiple of 64.
    pub(crate) fn run_divided(
        &self,
        x: &[T::Value],
        y: &mut [T::Value],
        scratch: &mut [u8],
        threads: &mut Threads,
    ) {
        divide::run(self, (x, y), scratch, threads);
    }

    /// Panics when a buffer is too short.
    fn assert_lengths(&self, x: &[T::Value], y: &[T::Value]) {
        let (wanted, shape) = (self.strategy.x_len(), self.place.shape);
        assert!(x.len() >= wanted, "conv: input of {} for {wanted}, {shape:?}", x.len());
        let wanted = self.place.y_image().len();
        assert!(y.len() >= wanted, "conv: output of {} for {wanted}, {shape:?}", y.len());
    }
}

impl ConvI8 {
    /// Packs `weight` `[out_c, kh, kw, in_c / groups]` (each in [-127, 127]) for `isa`.
    ///
    /// `bias` is `b' = b - zero_point_x · Σ w` and `multiplier` `s_x · s_w / s_y`, one a channel of
    /// the output; padding is `input_zero_point`. The caller has checked that
    /// `|b'| + 255 · Σ |w| < 2³¹`; panics when `isa` is not available or lengths do not fit.
    pub fn new(
        isa: Isa,
        conv: impl Into<PlacedConv>,
        weight: &[i8],
        bias: &[i32],
        multiplier: &[f32],
        input_zero_point: i8,
        output: Output,
    ) -> Self {
        let conv = conv.into();
        let shape = conv.shape;
        shape.assert_valid();
        assert_eq!(weight.len(), shape.weight_len(), "conv: weight length against {shape:?}");
        assert_eq!(bias.len(), shape.out_c, "conv: biases against output channels");
        assert_eq!(multiplier.len(), shape.out_c, "conv: multipliers against output channels");
        let zero = input_zero_point;
        let isa = Rows { weight, bias, multiplier }.isa(isa);
        let strategy = if shape.is_depthwise() {
            let kernel = super::depthwise::int8(isa);
            let fold = fold_int8(isa, &shape);
            let (weight, bias) = (weight.repeat(fold), bias.repeat(fold));
            let multiplier = multiplier.repeat(fold);
            let rows = Rows { weight: &weight, bias: &bias, multiplier: &multiplier };
            let epilogue = Requantize::new(isa, rows, output, bias.len(), kernel.block);
            Strategy::Depthwise(DepthwiseConv::new(&conv, kernel, (fold, &weight), epilogue, zero))
        } else {
            let n = shape.out_c / shape.groups;
            let rows = Rows { weight, bias, multiplier };
            let fits = VectorConv::<Int8>::fits(&conv);
            if let Some(kernel) = super::gemm::int8::vector(isa, n).filter(|_| fits) {
                let epilogue = Requantize::new(isa, rows, output, n, kernel.lanes);
                Strategy::Vector(VectorConv::new(&conv, kernel, weight, epilogue))
            } else {
                let tile = super::gemm::int8::tile(isa, n, shape.k());
                let epilogue = Requantize::new(isa, rows, output, n, tile.lanes);
                Strategy::Matrix(MatrixConv::new(&conv, tile, weight, epilogue, zero))
            }
        };
        Self { isa, place: conv, strategy }
    }
}

impl ConvF32 {
    /// Packs `weight` `[out_c, kh, kw, in_c / groups]` for `isa`; `bias` is one a channel.
    ///
    /// `range` clamps the result, as a fused ReLU or ReLU6; infinite for none. Panics when `isa`
    /// is not available or lengths do not fit.
    pub fn new(
        isa: Isa,
        conv: impl Into<PlacedConv>,
        weight: &[f32],
        bias: &[f32],
        range: (f32, f32),
    ) -> Self {
        Self::pack(isa, conv.into(), weight, bias, range, true)
    }

    /// As [`new`](Self::new), without Winograd's transforms: slower, but rounds less.
    pub fn direct(
        isa: Isa,
        conv: impl Into<PlacedConv>,
        weight: &[f32],
        bias: &[f32],
        range: (f32, f32),
    ) -> Self {
        Self::pack(isa, conv.into(), weight, bias, range, false)
    }

    fn pack(
        isa: Isa,
        conv: PlacedConv,
        weight: &[f32],
        bias: &[f32],
        range: (f32, f32),
        fast: bool,
    ) -> Self {
        let shape = conv.shape;
        shape.assert_valid();
        assert_eq!(weight.len(), shape.weight_len(), "conv: weight length against {shape:?}");
        assert_eq!(bias.len(), shape.out_c, "conv: biases against output channels");
        let strategy = if shape.is_depthwise() {
            let kernel = super::depthwise::float(isa);
            let fold = fold(&shape, kernel.block);
            let (weight, bias) = (weight.repeat(fold), bias.repeat(fold));
            let epilogue = BiasClamp::new(&bias, range, bias.len(), kernel.block);
            Strategy::Depthwise(DepthwiseConv::new(&conv, kernel, (fold, &weight), epilogue, 0.0))
        } else if let Some(size) = winograd::choose(&shape).filter(|_| fast) {
            Strategy::Winograd(winograd::new(size, isa, &conv, weight, bias, range))
        } else if let Some(kernel) =
            super::gemm::float::vector(isa).filter(|_| VectorConv::<Float>::fits(&conv))
        {
            let epilogue = BiasClamp::new(bias, range, shape.out_c, kernel.lanes);
            Strategy::Vector(VectorConv::new(&conv, kernel, weight, epilogue))
        } else {
            let tile = super::gemm::float::tile(isa);
            let epilogue = BiasClamp::new(bias, range, shape.out_c / shape.groups, tile.lanes);
            Strategy::Matrix(MatrixConv::new(&conv, tile, weight, epilogue, 0.0))
        };
        Self { isa, place: conv, strategy }
    }
}
