//! Cosine, sine, logarithm and exponential in f64 by series with a fixed order of operations.
//!
//! Platforms' C libraries differ in the last bits of these; sums and products of IEEE 754 do not.
//! Nothing here is fused or left to a library, so tables and features are the same bits everywhere.

use core::f64::consts::{FRAC_PI_2, LN_2, SQRT_2};

/// Cosine and sine of `k / n` of a full turn, for `k < n`, each to 2 units in the last place.
pub(super) fn turn(k: usize, n: usize) -> (f64, f64) {
    // Whole quarters are exact, and past half of a quarter the complement is the smaller angle.
    let (quarter, rest) = (4 * k / n, 4 * k % n);
    let angle = |part: usize| FRAC_PI_2 * (part as f64 / n as f64);
    let (cos, sin) = if 2 * rest > n {
        let (sin, cos) = small(angle(n - rest));
        (cos, sin)
    } else {
        small(angle(rest))
    };
    match quarter % 4 {
        0 => (cos, sin),
        1 => (-sin, cos),
        2 => (-cos, -sin),
        _ => (sin, -cos),
    }
}

/// Cosine and sine of an angle in [0, π/4]: Taylor's series up to x¹⁶ and x¹⁷.
fn small(x: f64) -> (f64, f64) {
    let z = x * x;
    let series = |divisors: [f64; 8]| {
        divisors.iter().rev().fold(1.0, |sum, divisor| 1.0 - z / divisor * sum)
    };
    let cos = series([2.0, 12.0, 30.0, 56.0, 90.0, 132.0, 182.0, 240.0]);
    let sin = series([6.0, 20.0, 42.0, 72.0, 110.0, 156.0, 210.0, 272.0]);
    (cos, x * sin)
}

/// Natural logarithm of a positive normal number, to 2 units in the last place away from 1.
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh s with |s| < 0.172: the next term is below 2⁻⁵⁶ of the sum.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let sum = (1..=10).rev().fold(1.0 / 21.0, |sum, i| sum * z + 1.0 / f64::from(2 * i - 1));
    exponent as f64 * LN_2 + 2.0 * s * sum
}

/// `eˣ` for `x` in [0, 700], to 4 units in the last place.
pub(super) fn exp(x: f64) -> f64 {
    let n = (x / LN_2 + 0.5) as u64;
    let r = x - n as f64 * LN_2;
    let sum = (1..=14).rev().fold(1.0, |sum, i| 1.0 + r / f64::from(i) * sum);
    sum * f64::from_bits((n + 1023) << 52)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "multiples of a quarter turn are exact")]
    use super::*;

    /// The platform's functions are good to an ulp, so these bounds are ours plus one.
    fn ulps(value: f64, truth: f64) -> f64 {
        (value - truth).abs() / (truth.abs().max(f64::MIN_POSITIVE) * f64::EPSILON)
    }

    #[test]
    fn turn_is_close_to_cos_and_sin_and_exact_at_quarters() {
        for n in [1, 3, 7, 8, 50, 1000, 4096] {
            for k in 0..n {
                let angle = core::f64::consts::TAU * k as f64 / n as f64;
                let (cos, sin) = turn(k, n);
                // The angle itself is rounded: an absolute bound.
                assert!((cos - angle.cos()).abs() < 1.2e-15, "cos {k}/{n}");
                assert!((sin - angle.sin()).abs() < 1.2e-15, "sin {k}/{n}");
            }
        }
        let quarters = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)];
        for (k, wanted) in quarters.into_iter().enumerate() {
            assert_eq!(turn(k, 4), wanted);
        }
    }

    #[test]
    fn ln_and_exp_are_close_to_the_platforms() {
        for i in 1..100_000 {
            let x = f64::from(i) * 0.37e-3;
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "ln {x}");
            let y = f64::from(i) * 0.7e-2;
            // The error of y / ln 2 · ln 2 grows with y.
            assert!(ulps(exp(y), y.exp()) <= 5.0 + 2.0 * y, "exp {y}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!((ln(f64::MIN_POSITIVE) - f64::MIN_POSITIVE.ln()).abs() < 1e-12);
    }
}
