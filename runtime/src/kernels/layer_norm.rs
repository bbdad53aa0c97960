//! Layer normalisation (Ba et al. 2016) in f32: the same bits on every instruction set.

use super::isa::{Body, Isa};
use super::lanes::sum;
use super::math::sqrt;

/// Normalises rows of as many elements as `weight` has: `(x - mean) / √(variance + eps) · weight +
/// bias`.
///
/// Mean and variance, the mean of squared deviations, are sums in lanes (`lanes`). Panics when `x` is no
/// whole number of rows or lengths differ.
pub fn layer_norm_f32(
    isa: Isa,
    (weight, bias): (&[f32], &[f32]),
    eps: f32,
    x: &[f32],
    y: &mut [f32],
) {
    assert_eq!(x.len(), y.len(), "layer norm: input and output differ in length");
    assert_eq!(weight.len(), bias.len(), "layer norm: weights and biases");
    let width = weight.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "layer norm: rows are not whole");
    isa.vectorized(LayerNorm { weight, bias, eps, x, y });
}

struct LayerNorm<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Body for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { weight, bias, eps, x, y } = self;
        let width = weight.len();
        let count = width as f32;
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let mean = sum(x, |x| x) / count;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / count;
            let inverse = (1.0 / sqrt(f64::from(variance) + f64::from(eps))) as f32;
            for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = (x - mean) * inverse * weight + bias;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn run(isa: Isa, weight: &[f32], bias: &[f32], eps: f32, x: &[f32]) -> Vec<f32> {
        let mut y = alloc::vec![0.0; x.len()];
        layer_norm_f32(isa, (weight, bias), eps, x, &mut y);
        y
    }

    #[test]
    fn a_row_by_hand() {
        // Mean 3, variance 3.5, √(3.5 + 0.5) = 2; then 2 · x̂ + 0.5.
        for isa in Isa::available() {
            let y = run(isa, &[2.0; 4], &[0.5; 4], 0.5, &[1.0, 2.0, 3.0, 6.0]);
            assert_eq!(y, [-1.5, -0.5, 0.5, 3.5], "{isa}");
        }
    }

    proptest! {
        #[test]
        fn rows_are_near_the_definition_in_f64_and_alike_on_every_instruction_set(
            (weight, x) in (1_usize..70, 1_usize..4).prop_flat_map(|(width, rows)| (
                prop::collection::vec(-2.0_f32..2.0, width),
                prop::collection::vec(-4.0_f32..4.0, width * rows),
            )),
        ) {
            let bias: Vec<f32> = weight.iter().rev().copied().collect();
            let scalar = run(Isa::Scalar, &weight, &bias, 1e-3, &x);
            for isa in Isa::available() {
                prop_assert_eq!(&run(isa, &weight, &bias, 1e-3, &x), &scalar, "{}", isa);
            }
            let n = weight.len() as f64;
            for (x, y) in x.chunks(weight.len()).zip(scalar.chunks(weight.len())) {
                let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
                let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
                for i in 0..x.len() {
                    let unit = (f64::from(x[i]) - mean) / (variance + f64::from(1e-3_f32)).sqrt();
                    let wanted = unit * f64::from(weight[i]) + f64::from(bias[i]);
                    // A mean of 69 values below 4 is off by some 2⁻²², the deviation is at
                    // least √eps = 0.03.
                    prop_assert!((f64::from(y[i]) - wanted).abs() < 1e-4, "{} {}", y[i], wanted);
                }
            }
        }
    }
}
