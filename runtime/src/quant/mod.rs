//! The int8 arithmetic contract, scalar, in one place: `docs/int8.md` states it in words.
//!
//! Activations are int8 per tensor, `real = scale · (q - zero_point)`; weights int8 symmetric per
//! output channel in [-127, 127]; biases int32 (the choices of LiteRT's int8 specification).

mod integer;

/// Whether the processor's floating point is a library.
const SOFT_FLOAT: bool = cfg!(all(target_arch = "arm", target_abi = "eabi"));

/// Adding and subtracting 1.5 · 2²³ rounds an f32 of magnitude below 2²² to the nearest integer,
/// ties to even, in IEEE arithmetic on every instruction set (also without `std`).
pub(crate) const ROUNDING: f32 = 12_582_912.0;

/// Rounds to the nearest integer, ties to even; `|x|` must be below 2²².
#[inline]
pub fn round_ties_even(x: f32) -> f32 {
    (x + ROUNDING) - ROUNDING
}

/// Clamps to `[lo, hi]`; NaN becomes `lo`, as with x86's `maxps(x, lo)`.
#[inline]
pub fn clamp(x: f32, lo: f32, hi: f32) -> f32 {
    let x = if x > lo { x } else { lo };
    if x < hi { x } else { hi }
}

/// How an int8 tensor stands for real numbers: `real = scale · (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantParams {
    /// Step between neighbouring values; finite and positive.
    pub scale: f32,
    /// The int8 that stands for 0.0.
    pub zero_point: i8,
}

impl QuantParams {
    /// The parameters that cover `[min, max]` (widened to contain 0) with 255 steps.
    ///
    /// The zero point is exact, so padding with 0.0 costs nothing (Jacob et al. 2018, section 3).
    /// A range of no width becomes `scale = 1`, so that it stays usable.
    pub fn from_range(min: f32, max: f32) -> Self {
        let (min, max) = (f64::from(min).min(0.0), f64::from(max).max(0.0));
        let scale = ((max - min) / 255.0) as f32;
        if !(scale.is_finite() && scale >= f32::MIN_POSITIVE) {
            return Self { scale: 1.0, zero_point: 0 };
        }
        let zero = clamp((-128.0 - min / f64::from(scale)) as f32, -128.0, 127.0);
        Self { scale, zero_point: round_ties_even(zero) as i8 }
    }

    /// `clamp(round_ties_even(x / scale) + zero_point)`, ONNX `QuantizeLinear`; NaN becomes -128.
    #[inline]
    pub fn quantize(self, x: f32) -> i8 {
        let output = Output { zero_point: self.zero_point, lo: i8::MIN, hi: i8::MAX };
        output.round(x / self.scale)
    }

    /// `scale · (q - zero_point)`, ONNX `DequantizeLinear`.
    #[inline]
    pub fn dequantize(self, q: i8) -> f32 {
        self.scale * f32::from(i16::from(q) - i16::from(self.zero_point))
    }
}

/// What becomes of an accumulator in the output's scale: zero point and clamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Zero point of the output.
    pub zero_point: i8,
    /// Smallest int8 stored: -128, or the zero point after ReLU.
    pub lo: i8,
    /// Largest int8 stored: 127, or what stands for 6.0 after ReLU6.
    pub hi: i8,
}

impl Output {
    /// The clamp bounds before the zero point is added, as the kernels use them.
    #[inline]
    pub fn bounds(self) -> (f32, f32) {
        let zero = f32::from(self.zero_point);
        (f32::from(self.lo) - zero, f32::from(self.hi) - zero)
    }

    /// Rounds a real number of output steps to the int8 stored: clamp, round, add the zero point.
    #[inline]
    pub fn round(self, steps: f32) -> i8 {
        let (lo, hi) = self.bounds();
        // The sum's lowest bits are the integer, read without a conversion: compilers vectorize it.
        let bits = (clamp(steps, lo, hi) + ROUNDING).to_bits();
        bits.wrapping_sub(ROUNDING.to_bits()).wrapping_add_signed(self.zero_point.into()) as i8
    }
}

/// Requantizes an int32 accumulator: `round_ties_even(clamp(f32(acc) · m)) + zero_point`.
///
/// `m` is `s_x · s_w / s_y`, computed in f64 and stored as f32 ([`multiplier`]). One IEEE
/// multiplication, never fused, and the clamp before the conversion, so every instruction set
/// gives the same bits.
///
/// Without floating point in the processor it is computed in integers; the bits are the same.
#[inline]
pub fn requantize(acc: i32, m: f32, output: Output) -> i8 {
    if SOFT_FLOAT && integer::takes(m) {
        return integer::requantize(acc, m, output);
    }
    requantize_f32(acc, m, output)
}

#[inline]
fn requantize_f32(acc: i32, m: f32, output: Output) -> i8 {
    output.round(acc as f32 * m)
}

/// `numerator product / denominator` in f64, rounded once to f32: the multiplier of a requantization.
#[inline]
pub const fn multiplier(x_scale: f32, w_scale: f32, y_scale: f32) -> f32 {
    (x_scale as f64 * w_scale as f64 / y_scale as f64) as f32
}
