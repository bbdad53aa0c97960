//! `exp`, `sigmoid` and `tanh` in f32, `sqrt` in f64, with a fixed order of operations: the same
//! bits everywhere.
//!
//! Polynomials are interpolated at Chebyshev nodes over the reduced range; the reduction splits
//! ln 2 in two parts (Cody and Waite 1980). No operation is fused, and `exp`
//! gives 0 instead of a subnormal number, which ARMv7's NEON would flush to zero.

/// Adding and subtracting it rounds to an integer, which then stands in the lowest bits.
const ROUNDING: f32 = 12_582_912.0;
const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// The first nine bits of ln 2: its multiples up to 2¹⁵ are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
/// The rest of ln 2.
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Below it `exp` is 0: just above the logarithm of the smallest normal number.
const EXP_LOWEST: f32 = -87.3;
/// From it on `exp` is infinite anyway.
const EXP_HIGHEST: f32 = 88.8;

/// `eˣ` to 2 units in the last place; 0 below -87.3, infinity above 88.72, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let bounded = if x > EXP_HIGHEST { EXP_HIGHEST } else { x };
    let shifted = bounded * LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = bounded - n * LN_2_HIGH - n * LN_2_LOW;
    // (eʳ - 1 - r) / r² on |r| ≤ ln 2 / 2, relative error of the sum below 2⁻²⁶.
    let q = 1.392_617_6e-3;
    let q = q * r + 8.363_173e-3;
    let q = q * r + 4.166_655_5e-2;
    let q = q * r + 1.666_657_7e-1;
    let q = q * r + 0.5;
    let y = q * (r * r) + r + 1.0;
    // 2ⁿ in two factors, because 2¹²⁸ is no f32 while its half times y may be one.
    let n = shifted.to_bits().wrapping_sub(ROUNDING.to_bits()) as i32;
    let half = n >> 1;
    let scaled = y * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    if x < EXP_LOWEST { 0.0 } else { scaled }
}

/// `2ⁿ` for `n` in [-126, 127].
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `1 / (1 + e⁻ˣ)` to 4 units in the last place where that is normal.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

/// `tanh x` to 3 units in the last place.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    // (tanh(x) / x - 1) / x² on |x| ≤ 0.625.
    let q = -6.096_714e-3;
    let q = q * z + 2.099_718e-2;
    let q = q * z - 5.385_091e-2;
    let q = q * z + 1.333_277e-1;
    let q = q * z - 3.333_332_9e-1;
    let small = q * z * x + x;
    let large = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    let signed = if x < 0.0 { -large } else { large };
    if a < 0.625 { small } else { signed }
}

/// The normal distribution `Φ(x) = (1 + erf(x / √2)) / 2` to 1.5e-7 (Abramowitz & Stegun 1964, 7.1.26).
#[inline(always)]
pub fn normal(x: f32) -> f32 {
    let a = x.abs() * core::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let q = 1.061_405_4;
    let q = q * t - 1.453_152;
    let q = q * t + 1.421_413_8;
    let q = q * t - 0.284_496_74;
    let q = q * t + 0.254_829_6;
    let tail = 0.5 * (q * t * exp(-(a * a)));
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// Square root by Newton's iteration, which needs no `std` and is the same with it; NaN for negative
/// numbers.
#[inline(always)]
pub(crate) fn sqrt(x: f64) -> f64 {
    if x <= 0.0 {
        return if x == 0.0 { 0.0 } else { f64::NAN };
    }
    // Halving the exponent gives two digits; each step doubles them.
    let mut root = f64::from_bits((x.to_bits() >> 1) + 0x1ff7_a3be_a91d_9b1b);
    for _ in 0..5 {
        root = 0.5 * (root + x / root);
    }
    root
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "the ends are exact")]
    use super::*;

    /// Distance to the true value in units in the last place of f32.
    fn ulps(value: f32, truth: f64) -> f64 {
        let exponent = (truth.abs().log2().floor() as i32).max(-126);
        (f64::from(value) - truth).abs() / 2.0_f64.powi(exponent - 23)
    }

    /// The largest distance over an even sweep of `[lo, hi]`.
    fn worst(lo: f32, hi: f32, f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> f64 {
        const STEPS: i32 = 400_000;
        let steps = (0..=STEPS).map(|i| lo + (hi - lo) * (i as f32 / STEPS as f32));
        steps.map(|x| ulps(f(x), truth(f64::from(x)))).fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_within_2_ulp_of_the_f64_function() {
        for (lo, hi) in [(-87.29, 88.72), (-1.0, 1.0), (-1e-3, 1e-3)] {
            let worst = worst(lo, hi, exp, f64::exp);
            assert!(worst <= 2.0, "{worst} ulp in [{lo}, {hi}]");
        }
    }

    #[test]
    fn exp_ends_in_zero_infinity_and_nan() {
        assert_eq!(exp(0.0).to_bits(), 1.0_f32.to_bits());
        assert_eq!(exp(-87.31).to_bits(), 0);
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
        assert!(exp(EXP_LOWEST) >= f32::MIN_POSITIVE);
        assert!(exp(88.73).is_infinite() && exp(f32::INFINITY).is_infinite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_normal_distribution_at_known_points() {
        // Abramowitz & Stegun 1964, table 26.1.
        for (x, wanted) in [
            (0.0, 0.5),
            (0.5, 0.691_462_461),
            (1.0, 0.841_344_746),
            (2.0, 0.977_249_868),
            (3.0, 0.998_650_102),
            (4.0, 0.999_968_329),
        ] {
            let (above, below) = (f64::from(normal(x)), f64::from(normal(-x)));
            assert!((above - wanted).abs() < 2.5e-7, "{x}: {above}");
            assert!((below - (1.0 - wanted)).abs() < 2.5e-7, "{x}: {below}");
        }
        assert_eq!(normal(20.0), 1.0);
        assert_eq!(normal(-20.0), 0.0);
        assert!(normal(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_and_tanh_are_close_to_the_f64_functions() {
        let truth = |x: f64| 1.0 / (1.0 + (-x).exp());
        let worst_sigmoid = worst(-87.0, 40.0, sigmoid, truth);
        assert!(worst_sigmoid <= 4.0, "sigmoid: {worst_sigmoid} ulp");
        for (lo, hi) in [(-12.0, 12.0), (-0.7, 0.7), (1e-4, 1e-2)] {
            let worst = worst(lo, hi, tanh, f64::tanh);
            assert!(worst <= 3.0, "tanh: {worst} ulp in [{lo}, {hi}]");
        }
    }

    #[test]
    fn sigmoid_and_tanh_saturate_and_let_nan_through() {
        assert_eq!([sigmoid(200.0), sigmoid(-200.0), sigmoid(0.0)], [1.0, 0.0, 0.5]);
        assert_eq!([tanh(50.0), tanh(-50.0), tanh(0.0)], [1.0, -1.0, 0.0]);
        assert!(sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    }

    #[test]
    fn newton_equals_the_hardware_square_root() {
        for i in 1..2000 {
            let x = 1e-12 * 1.03_f64.powi(i);
            assert!((sqrt(x) / x.sqrt() - 1.0).abs() < 1e-15, "{x}");
        }
    }
}
