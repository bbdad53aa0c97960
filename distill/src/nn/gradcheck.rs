//! Test support: gradients against central differences.

use candle_core::{Device, Tensor, Var};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Result;

/// Half of the step of a central difference: a power of two, so `x ± STEP` is nearly exact.
const STEP: f32 = 1.0 / 128.0;

/// Allowed error, relative to `1 + |gradient|`.
///
/// The forward pass is f32: with outputs up to about 10 the difference of two sums is off by up to
/// 10 · 2⁻²⁴ · √terms, divided by `2 · STEP` some 1e-3 at worst; the third derivative adds
/// `STEP² / 6` times itself, 1e-5. A wrong formula is off by tens of percent.
const TOLERANCE: f64 = 3e-3;

/// Values in ±1 that look random and are always the same.
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let len = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("the length is the shape's product")
}

/// Shuffled values in ±`limit`, apart from each other and from 0 by more than a difference's
/// step where there are fewer than `limit / STEP / 2` of them: no step crosses a kink.
pub(crate) fn distinct(shape: &[usize], limit: f32, seed: u64) -> Tensor {
    let len: usize = shape.iter().product();
    let spacing = 2.0 * limit / len as f32;
    let middle = (len / 2) as f32 - 0.5;
    let mut values: Vec<f32> = (0..len).map(|i| (i as f32 - middle) * spacing).collect();
    values.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    Tensor::from_vec(values, shape, &Device::Cpu).expect("the length is the shape's product")
}

/// The values of a tensor, row by row.
pub(crate) fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().and_then(|x| x.to_vec1()).expect("an f32 tensor")
}

/// Gradients of `Σ r·f(inputs)` for a fixed random `r`, by backward, one tensor an input.
pub(crate) fn backward(
    inputs: &[Tensor],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let variables = inputs.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    let gradients = (&y * random(y.dims(), 99))?.sum_all()?.backward()?;
    let zeros = |t: &Tensor| Ok(t.zeros_like()?);
    tensors.iter().map(|t| gradients.get(t).cloned().map_or_else(|| zeros(t), Ok)).collect()
}

/// Panics unless the gradients of `f` by backward equal central differences for every element
/// of every input. `what` names the case.
pub(crate) fn assert_gradients(
    what: &str,
    inputs: &[Tensor],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let analytic = backward(inputs, &f).expect(what);
    let functional = |inputs: &[Tensor]| -> f64 {
        let y = f(inputs).expect(what);
        let r = values(&random(y.dims(), 99));
        values(&y).iter().zip(r).map(|(&y, r)| f64::from(y) * f64::from(r)).sum()
    };
    for (i, gradient) in analytic.iter().enumerate() {
        let base = values(&inputs[i]);
        for (j, &got) in values(gradient).iter().enumerate() {
            let at = |offset: f32| {
                let mut moved = base.clone();
                moved[j] += offset;
                let step = f64::from(moved[j]) - f64::from(base[j]);
                let mut inputs = inputs.to_vec();
                inputs[i] =
                    Tensor::from_vec(moved, inputs[i].dims(), &Device::Cpu).expect("same length");
                (functional(&inputs), step)
            };
            let ((above, up), (below, down)) = (at(STEP), at(-STEP));
            let expected = (above - below) / (up - down);
            let error = (f64::from(got) - expected).abs() / (1.0 + expected.abs());
            assert!(
                error < TOLERANCE,
                "{what}: input {i}, element {j}: backward gives {got}, differences {expected}"
            );
        }
    }
}

/// Panics unless two tensors agree to f32 rounding of sums of some hundred terms.
pub(crate) fn assert_close(what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!(got.dims(), expected.dims(), "{what}: shapes");
    for (i, (a, b)) in values(got).iter().zip(values(expected)).enumerate() {
        assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "{what}: element {i}: {a}, not {b}");
    }
}
