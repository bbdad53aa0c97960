//! Elementwise int8 and f32 kernels: add, change of parameters, tables, quantize, batch norm.
//!
//! Loops are plain Rust, compiled once for each instruction set (`Isa::vectorized`); every f32
//! step of an int8 kernel is one IEEE operation (`docs/int8.md`).

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::Isa;
use super::gemm::float::clamp;
use crate::quant::{Output, QuantParams, multiplier, requantize};

/// `numerator / denominator` in f64, rounded once to f32.
const fn ratio(numerator: f32, denominator: f32) -> f32 {
    (numerator as f64 / denominator as f64) as f32
}

/// `q - zero_point` as f32, exact.
#[inline(always)]
fn steps(q: i8, zero_point: i8) -> f32 {
    f32::from(i16::from(q) - i16::from(zero_point))
}

/// int8 addition: `round(clamp((a - z_a) · m_a + (b - z_b) · m_b))` with `m = s / s_y`.
///
/// Two f32 multiplications, one f32 addition, none fused.
#[derive(Clone, Copy, Debug)]
pub struct AddI8 {
    isa: Isa,
    zero_points: [i8; 2],
    multipliers: [f32; 2],
    output: Output,
}

impl AddI8 {
    /// For operands with parameters `a` and `b` and an output of scale `y_scale`; panics when this
    /// CPU lacks the instruction set.
    pub fn new(isa: Isa, a: QuantParams, b: QuantParams, y_scale: f32, output: Output) -> Self {
        isa.assert_available();
        Self { isa, ..Self::scalar(a, b, y_scale, output) }
    }

    /// As [`AddI8::new`] in portable code, as a constant.
    pub const fn scalar(a: QuantParams, b: QuantParams, y_scale: f32, output: Output) -> Self {
        let multipliers = [ratio(a.scale, y_scale), ratio(b.scale, y_scale)];
        let zero_points = [a.zero_point, b.zero_point];
        Self { isa: Isa::Scalar, zero_points, multipliers, output }
    }

    /// Adds `a` and `b`, element by element, to `y`; panics when lengths differ.
    pub fn run(&self, a: &[i8], b: &[i8], y: &mut [i8]) {
        assert!(a.len() == y.len() && b.len() == y.len(), "add: operands differ in length");
        let ([zero_a, zero_b], [m_a, m_b]) = (self.zero_points, self.multipliers);
        #[cfg(target_arch = "x86_64")]
        if self.isa == Isa::Avx512Vnni && 255.0 * (m_a + m_b) < 1e9 {
            #[expect(unsafe_code, reason = "calls what the CPU was asked for")]
            // SAFETY: `new` has asserted that this CPU has the instruction set.
            return unsafe { avx512::add(self, a, b, y) };
        }
        let output = self.output;
        self.isa.vectorized(|| {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = output.round(steps(a, zero_a) * m_a + steps(b, zero_b) * m_b);
            }
        });
    }
}

/// f32 addition, clamped to `range`; panics when lengths differ.
pub fn add_f32(isa: Isa, a: &[f32], b: &[f32], range: (f32, f32), y: &mut [f32]) {
    assert!(a.len() == y.len() && b.len() == y.len(), "add: operands differ in length");
    isa.vectorized(|| {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = clamp(a + b, range);
        }
    });
}

/// int8 product: `requantize((a - z_a) · (b - z_b), s_a · s_b / s_y)`, the product exact in int32.
#[derive(Clone, Copy, Debug)]
pub struct MulI8 {
    isa: Isa,
    zero_points: [i8; 2],
    multiplier: f32,
    output: Output,
}

impl MulI8 {
    /// For operands with parameters `a` and `b` and an output of scale `y_scale`.
    pub const fn new(
        isa: Isa,
        a: QuantParams,
        b: QuantParams,
        y_scale: f32,
        output: Output,
    ) -> Self {
        let zero_points = [a.zero_point, b.zero_point];
        Self { isa, zero_points, multiplier: multiplier(a.scale, b.scale, y_scale), output }
    }

    /// Multiplies each stretch of `a` that is as long as `b` by `b`: an image by a factor for each
    /// channel, or all by all. Panics when lengths do not fit.
    pub fn run(&self, a: &[i8], b: &[i8], y: &mut [i8]) {
        assert_factors(a.len(), b.len(), y.len());
        let Self { zero_points: [zero_a, zero_b], multiplier, output, .. } = *self;
        self.isa.vectorized(|| {
            for (y, a) in y.chunks_exact_mut(b.len()).zip(a.chunks_exact(b.len())) {
                for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                    let [a, b] =
                        [(a, zero_a), (b, zero_b)].map(|(q, z)| i32::from(q) - i32::from(z));
                    *y = requantize(a * b, multiplier, output);
                }
            }
        });
    }
}

/// f32 product of each stretch of `a` that is as long as `b` by `b`; panics when lengths do not fit.
pub fn mul_f32(isa: Isa, a: &[f32], b: &[f32], y: &mut [f32]) {
    assert_factors(a.len(), b.len(), y.len());
    isa.vectorized(|| {
        for (y, a) in y.chunks_exact_mut(b.len()).zip(a.chunks_exact(b.len())) {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = a * b;
            }
        }
    });
}

fn assert_factors(a: usize, b: usize, y: usize) {
    assert!(a == y && b > 0 && a.is_multiple_of(b), "mul: lengths {a}, {b} and {y} do not fit");
}

/// int8 with one scale and zero point to int8 with others: `round(clamp((q - z_x) · s_x / s_y))`.
#[derive(Clone, Copy, Debug)]
pub struct RescaleI8 {
    isa: Isa,
    from: QuantParams,
    to: QuantParams,
    multiplier: f32,
}

impl RescaleI8 {
    /// From the input's parameters to the output's; equal ones make it a copy.
    pub const fn new(isa: Isa, from: QuantParams, to: QuantParams) -> Self {
        Self { isa, from, to, multiplier: ratio(from.scale, to.scale) }
    }

    /// Whether it only copies.
    pub fn is_copy(&self) -> bool {
        self.from == self.to
    }

    /// Rescales `x` to `y`; panics when lengths differ.
    pub fn run(&self, x: &[i8], y: &mut [i8]) {
        assert_eq!(x.len(), y.len(), "rescale: input and output differ in length");
        if self.is_copy() {
            return y.copy_from_slice(x);
        }
        let m = self.multiplier;
        let output = Output { zero_point: self.to.zero_point, lo: i8::MIN, hi: i8::MAX };
        self.isa.vectorized(|| {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = output.round(steps(x, self.from.zero_point) * m);
            }
        });
    }
}

/// Looks each element up: `table[q + 128]`, so entry 0 is the answer to -128.
pub fn lut_i8(table: &[i8; 256], x: &[i8], y: &mut [i8]) {
    assert_eq!(x.len(), y.len(), "lut: input and output differ in length");
    for (y, &x) in y.iter_mut().zip(x) {
        *y = table[usize::from(x.cast_unsigned() ^ 0x80)];
    }
}

/// f32 to int8, ONNX `QuantizeLinear`; panics when lengths differ.
pub fn quantize(isa: Isa, params: QuantParams, x: &[f32], y: &mut [i8]) {
    assert_eq!(x.len(), y.len(), "quantize: input and output differ in length");
    isa.vectorized(|| {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = params.quantize(x);
        }
    });
}

/// int8 to f32, ONNX `DequantizeLinear`; panics when lengths differ.
pub fn dequantize(isa: Isa, params: QuantParams, x: &[i8], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "dequantize: input and output differ in length");
    isa.vectorized(|| {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = params.dequantize(x);
        }
    });
}

/// `x · scale[c] + shift[c]` over pixels of `scale.len()` channels: batch norm not folded away.
pub fn batch_norm_f32(isa: Isa, scale: &[f32], shift: &[f32], x: &[f32], y: &mut [f32]) {
    assert_eq!(scale.len(), shift.len(), "batch norm: scale and shift differ in length");
    assert_eq!(x.len(), y.len(), "batch norm: input and output differ in length");
    isa.vectorized(|| {
        for (x, y) in x.chunks(scale.len()).zip(y.chunks_mut(scale.len())) {
            for (((y, &x), &scale), &shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                *y = x * scale + shift;
            }
        }
    });
}

/// Puts `fill` around the image `[h, w, c]`, with `padding` at top, left, bottom, right.
///
/// `fill` is 0.0, or the zero point. Panics when a length does not fit.
pub fn pad<T: Copy>(
    [h, w, c]: [usize; 3],
    [top, left, bottom, right]: [usize; 4],
    fill: T,
    x: &[T],
    y: &mut [T],
) {
    let (row, wide) = (w * c, (left + w + right) * c);
    assert_eq!(x.len(), h * row, "pad: input length");
    assert_eq!(y.len(), (top + h + bottom) * wide, "pad: output length");
    y.fill(fill);
    if row == 0 {
        return;
    }
    for (x, y) in x.chunks_exact(row).zip(y[top * wide..].chunks_exact_mut(wide)) {
        y[left * c..][..row].copy_from_slice(x);
    }
}
