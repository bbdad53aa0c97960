//! What one core can do at most: the fastest tile on operands in the first-level cache.

use alloc::vec;
use core::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::aligned::Aligned;
use super::{ConvF32, ConvI8, ConvShape, Isa};
use crate::dtype::DType;
use crate::quant::Output;

/// Multiply-accumulates a nanosecond of one core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Peak {
    /// Of int8 by int8.
    pub int8_gmacs: f64,
    /// Of f32 by f32.
    pub f32_gmacs: f64,
}

impl Peak {
    /// Measures it with the kernels of `isa`, in about 20 ms on a fast core; panics when this CPU lacks `isa`.
    pub fn measure(isa: Isa) -> Self {
        let int8 = INT8_DEPTHS.into_iter().flat_map(shapes).map(|shape| int8_rate(isa, shape));
        let f32 = F32_DEPTHS.into_iter().flat_map(shapes).map(|shape| f32_rate(isa, shape));
        Self { int8_gmacs: int8.fold(0.0, f64::max), f32_gmacs: f32.fold(0.0, f64::max) }
    }

    /// For arithmetic in `dtype`.
    pub(crate) fn of(&self, dtype: DType) -> f64 {
        if dtype == DType::I8 { self.int8_gmacs } else { self.f32_gmacs }
    }
}

/// Rows of the left side: a multiple of most tiles'.
const PIXELS: usize = 96;
/// Products in a sum: with the lesser 64 channels of int8 fit the 32 KiB of a small core, with the
/// greater the epilogue hardly counts.
const INT8_DEPTHS: [usize; 2] = [256, 512];
/// The same for 16 channels of f32.
const F32_DEPTHS: [usize; 2] = [128, 256];

/// Products of some pixels by a few channels: tiles differ in which width is their best.
fn shapes(depth: usize) -> impl Iterator<Item = ConvShape> {
    let channels = [8, 16, 32, 64].into_iter();
    channels.map(move |out_c| ConvShape {
        in_w: PIXELS,
        out_w: PIXELS,
        ..ConvShape::linear(depth, out_c)
    })
}

fn int8_rate(isa: Isa, shape: ConvShape) -> f64 {
    let (bias, multiplier) = (vec![0; shape.out_c], vec![1e-3; shape.out_c]);
    let output = Output { zero_point: 0, lo: i8::MIN, hi: i8::MAX };
    let weight = vec![1; shape.weight_len()];
    let conv = ConvI8::new(isa, shape, &weight, &bias, &multiplier, 0, output);
    let mut scratch = Aligned::zeroed(conv.scratch_len());
    let scratch = scratch.as_mut_slice();
    let (x, mut y) = (vec![1; conv.input_len()], vec![0; shape.output_len()]);
    rate(&shape, || conv.run(black_box(&x), black_box(&mut y), scratch))
}

fn f32_rate(isa: Isa, shape: ConvShape) -> f64 {
    let weight = vec![1.0; shape.weight_len()];
    let range = (f32::NEG_INFINITY, f32::INFINITY);
    let conv = ConvF32::new(isa, shape, &weight, &vec![0.0; shape.out_c], range);
    let mut scratch = Aligned::zeroed(conv.scratch_len());
    let scratch = scratch.as_mut_slice();
    let (x, mut y) = (vec![1.0; conv.input_len()], vec![0.0; shape.output_len()]);
    rate(&shape, || conv.run(black_box(&x), black_box(&mut y), scratch))
}

/// Multiply-accumulates a nanosecond in the fastest of several slices of time.
fn rate(shape: &ConvShape, mut run: impl FnMut()) -> f64 {
    const SLICE: Duration = Duration::from_micros(200);
    const SLICES: usize = 8;
    let mut time = |calls: u32| {
        let start = Instant::now();
        (0..calls).for_each(|_| run());
        start.elapsed()
    };
    let mut calls = 1;
    while time(calls) < SLICE {
        calls *= 2;
    }
    let fastest = (0..SLICES).map(|_| time(calls)).min().unwrap_or(SLICE);
    let macs = shape.out_w * shape.weight_len();
    f64::from(calls) * macs as f64 / fastest.as_nanos() as f64
}
