//! Losses against PyTorch: the numbers are those that `tests/pytorch/losses.py` prints.

use candle_core::{Device, Tensor, Var};

use super::*;

/// `scale · sin(start + 1.7 k)` for k = 0, 1, …
fn wave(shape: &[usize], start: f64, scale: f64) -> Tensor {
    let at = |k: usize| (scale * (start + 1.7 * k as f64).sin()) as f32;
    let values: Vec<f32> = (0..shape.iter().product()).map(at).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

#[test]
fn losses_of_logits_and_their_gradients_are_pytorchs() {
    let student = Var::from_tensor(&wave(&[4, 5], 0.3, 3.0)).unwrap();
    let teacher = wave(&[4, 5], 1.1, 5.0);
    let labels = Tensor::new(&[0_u32, 3, 4, 1], &Device::Cpu).unwrap();
    for (recipe, expected, first, last) in [
        (r#""kd", "temperature": 4"#, 2.344_079_2, -0.127_641, -0.031_212_3),
        (r#""logit-standardisation""#, 0.228_182_3, -0.017_318, -0.001_833_2),
        (r#""mse""#, 6.610_083_9, -0.356_948, -0.180_06),
        (r#""l1""#, 2.370_798_6, -0.05, -0.05),
        (r#""dkd", "warmup": 0"#, 20.726_920_7, -0.127_641, 0.229_784),
        (r#""dist""#, 1.074_734_3, -0.037_085_1, 0.100_615),
        (
            r#""dist", "beta": 2, "gamma": 0.5, "temperature": 4"#,
            14.018_443_2,
            -1.070_72,
            -0.215_381,
        ),
        (r#""cross-entropy", "label_smoothing": 0.1"#, 2.482_942_3, -0.207_478, 0.124_952),
    ] {
        let spec: LossSpec = serde_json::from_str(&format!("{{\"kind\": {recipe}}}")).unwrap();
        let loss = spec.build().unwrap().forward(&both(&student, &teacher, &labels)).unwrap();
        let gradients = loss.backward().unwrap();
        let gradients = values(gradients.get(&student).unwrap());
        let close = |what, got: f32, expected: f64| {
            // f32 against f64: a few units in the last of seven digits.
            let error = (f64::from(got) - expected).abs() / (0.1 + expected.abs());
            assert!(error < 1e-5, "{recipe}: {what} is {got}, PyTorch has {expected}");
        };
        close("the loss", loss.to_scalar().unwrap(), expected);
        close("the first gradient", gradients[0], first);
        close("the last gradient", gradients[19], last);
    }
}
