//! Requantization in integers, for processors without floating point: the same bits as in f32.
//!
//! Each step of the contract is one IEEE operation (`docs/int8.md`), so it is done here by hand on the
//! significands: the accumulator becomes f32, the product is rounded to f32, then to an integer.

use super::Output;

/// Bits of an f32's significand, with the one that is not stored.
const SIGNIFICAND: u32 = 24;
/// What is added to the exponent of an f32 whose significand is read as an integer.
const BIAS: i32 = 150;

/// `value / 2^shift` to the nearest integer, ties to even; `shift` is 1 to 31.
#[inline(always)]
fn round_shift(value: u32, shift: u32) -> u32 {
    // Half of a step, less one where the integer below is even: only more than half carries then.
    let odd = value >> shift & 1;
    (value + ((1 << (shift - 1)) - 1 + odd)) >> shift
}

/// Whether a multiplier is positive and neither subnormal nor infinite.
#[inline(always)]
pub(super) fn takes(m: f32) -> bool {
    (f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits()).contains(&m.to_bits())
}

/// As [`requantize`](super::requantize), for a multiplier that [`takes`] says yes to.
#[inline]
pub(super) fn requantize(acc: i32, m: f32, output: Output) -> i8 {
    let magnitude = acc.unsigned_abs();
    let bits = m.to_bits();
    // f32(|acc|) = a · 2^(8 - zeros), with a of 24 bits, or 2²⁴ where rounding carries. Its lowest
    // bits are dropped first, so that the sum in the rounding fits.
    let zeros = magnitude.leading_zeros() & 31;
    let a = round_shift(magnitude << zeros >> 1 | magnitude << zeros & 1, 32 - SIGNIFICAND - 1);
    let m = bits & 0x007f_ffff | 0x0080_0000;
    let product = u64::from(a) * u64::from(m);
    let wide = product >= 1 << 47;
    let product = if wide { product } else { product << 1 };
    // f32(f32(|acc|) · m) = p · 2^power: 24 of the 48 bits are dropped, in two steps as above.
    let high = (product >> 17) as u32 | u32::from(product as u32 & 0x1_ffff != 0);
    let p = round_shift(high, 7);
    let power = (bits >> 23) as i32 - BIAS + 31 - zeros as i32 + i32::from(wide);
    let rounded = match power {
        // Beyond every clamp.
        0.. => i32::MAX * i32::from(p > 0),
        -31.. => round_shift(p, power.unsigned_abs()) as i32,
        _ => 0,
    };
    let zero = i32::from(output.zero_point);
    let (lo, hi) = (i32::from(output.lo) - zero, i32::from(output.hi) - zero);
    let signed = if acc < 0 { -rounded } else { rounded };
    (signed.max(lo).min(hi) + zero) as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::requantize_f32;
    use proptest::prelude::*;

    fn assert_same(acc: i32, m: f32, output: Output) {
        let wanted = requantize_f32(acc, m, output);
        assert_eq!(requantize(acc, m, output), wanted, "{acc} · {m:e}, {output:?}");
    }

    const WHOLE: Output = Output { zero_point: 0, lo: -128, hi: 127 };

    #[test]
    fn ties_and_edges_have_the_bits_of_f32() {
        let halves = [1, 3, 5, 2, 0, -1, -3, -5, 255, 256, 257, -255, -256, -257];
        let wide = [i32::MAX, i32::MIN, i32::MIN + 1, (1 << 24) + 1, (1 << 25) + 2, (1 << 25) + 6];
        let scales =
            [0.5, 1.0, 0.25, 2.0, f32::MIN_POSITIVE, 1e-30, 1e30, f32::MAX, 0.1, 1.0 / 3.0];
        for acc in halves.into_iter().chain(wide).chain(wide.map(i32::wrapping_neg)) {
            for m in scales {
                assert_same(acc, m, WHOLE);
                assert_same(acc, m, Output { zero_point: -128, lo: -128, hi: 100 });
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn integers_have_the_bits_of_f32(
            acc in any::<i32>(),
            shift in 0_u32..31,
            significand in 0_u32..1 << 23,
            exponent in 90_u32..140,
            zero_point in any::<i8>(),
            lo in any::<i8>(),
        ) {
            let m = f32::from_bits(exponent << 23 | significand);
            assert_same(acc >> shift, m, Output { zero_point, lo, hi: lo.max(zero_point) });
        }

        /// Products near the half of a step, where each rounding counts.
        #[test]
        fn so_have_products_near_ties(
            acc in 1_i32..1 << 26,
            half in -260_i32..260,
            ulps in -2_i32..=2,
        ) {
            let m = (half as f32 + 0.5).abs() / acc as f32;
            let m = f32::from_bits(m.to_bits().wrapping_add_signed(ulps));
            let acc = if half < 0 { -acc } else { acc };
            assert_same(acc, m, WHOLE);
        }
    }
}
