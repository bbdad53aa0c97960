//! Elementwise functions in f32: the same bits on every instruction set.

use super::gemm::float::clamp;
use super::isa::{Body, Isa};
use super::math::{exp, normal, sigmoid, tanh};
use crate::graph::Activation;

/// The value of `function` at `x`; quantization computes its tables from it.
#[inline(always)]
pub fn evaluate(function: Activation, x: f32) -> f32 {
    match function {
        Activation::Relu => clamp(x, (0.0, f32::INFINITY)),
        Activation::Relu6 => clamp(x, (0.0, 6.0)),
        Activation::HardSwish => x * clamp(x + 3.0, (0.0, 6.0)) / 6.0,
        Activation::HardSigmoid => clamp(x + 3.0, (0.0, 6.0)) / 6.0,
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => tanh(x),
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => gelu(x),
        Activation::GeluErf => x * normal(x),
    }
}

/// `(1 + tanh u) / 2` is the sigmoid of `2u`: one exponential, and no digits lost where it is small.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    x * sigmoid(TWICE_SQRT_2_OVER_PI * (x + 0.044_715 * (x * x * x)))
}

/// Writes `function(x)` to `y`, element by element; both have one length.
pub fn activation_f32(isa: Isa, function: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "activation: input and output differ in length");
    isa.vectorized(Apply { function, x, y });
}

/// A function and what to apply it to.
struct Apply<'a> {
    function: Activation,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Body for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { function, x, y } = self;
        // The match is outside the loops, so that each becomes a vectorized one of its own.
        match function {
            Activation::Relu => map(x, y, |x| evaluate(Activation::Relu, x)),
            Activation::Relu6 => map(x, y, |x| evaluate(Activation::Relu6, x)),
            Activation::HardSwish => map(x, y, |x| evaluate(Activation::HardSwish, x)),
            Activation::HardSigmoid => map(x, y, |x| evaluate(Activation::HardSigmoid, x)),
            Activation::Sigmoid => map(x, y, sigmoid),
            Activation::Tanh => map(x, y, tanh),
            Activation::Silu => map(x, y, |x| evaluate(Activation::Silu, x)),
            Activation::Gelu => map(x, y, gelu),
            Activation::GeluErf => map(x, y, |x| evaluate(Activation::GeluErf, x)),
        }
    }
}

#[inline(always)]
fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

/// Lanes of the sum in [`softmax_f32`]: element `i` belongs to lane `i % 8`.
const LANES: usize = 8;

/// `exp(x - max) / Σ exp(x - max)` over rows of `classes` elements.
///
/// The sum is taken in 8 lanes that are then added in halves (0 and 4, …; 0 and 2, …; 0 and 1), an
/// order that vectors of any width can follow. Panics when `x` is no whole number of rows.
pub fn softmax_f32(isa: Isa, classes: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "softmax: input and output differ in length");
    assert!(classes > 0 && x.len().is_multiple_of(classes), "softmax: rows are not whole");
    isa.vectorized(Softmax { classes, x, y });
}

/// Rows of classes.
struct Softmax<'a> {
    classes: usize,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Body for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.x.chunks_exact(self.classes);
        for (x, y) in rows.zip(self.y.chunks_exact_mut(self.classes)) {
            softmax_row(x, y);
        }
    }
}

#[inline(always)]
fn softmax_row(x: &[f32], y: &mut [f32]) {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    map(x, y, |x| exp(x - max));
    let mut lanes = [0.0_f32; LANES];
    for values in y.chunks(LANES) {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane += value;
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = lanes.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
    }
    for y in y {
        *y /= lanes[0];
    }
}
