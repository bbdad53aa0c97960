//! Losses against PyTorch: the numbers are those that `tests/pytorch/losses.py` prints.

use candle_core::{Device, Tensor, Var};

use super::*;

/// Fails unless `got` is `expected` but for the `tolerance` of f32 against f64.
fn assert_near(what: &str, got: f32, expected: f64, tolerance: f64) {
    let error = (f64::from(got) - expected).abs() / (1e-3 + expected.abs());
    assert!(error < tolerance, "{what} is {got}, PyTorch has {expected}");
}

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

/// Fails unless loss and gradients are those that PyTorch has: the first and the last number of the
/// gradient of each of `variables`.
fn assert_pytorchs(what: &str, value: &Tensor, variables: &[&Var], expected: f64, ends: &[f64]) {
    // Differences of close numbers: four digits are left of seven.
    let tolerance = 2e-4;
    assert_near(what, value.to_scalar().unwrap(), expected, tolerance);
    let gradients = value.backward().unwrap();
    for (i, (var, ends)) in variables.iter().zip(ends.chunks_exact(2)).enumerate() {
        let gradient = values(gradients.get(var).unwrap());
        for (got, expected) in [gradient[0], gradient[gradient.len() - 1]].iter().zip(ends) {
            assert_near(&format!("{what}: gradient {i}"), *got, *expected, tolerance);
        }
    }
}

fn of_features(loss: &WeightedSum, student: &Var, teacher: &Tensor, indices: &[usize]) -> Tensor {
    let logits = wave(&[indices.len(), 2], 0.0, 1.0);
    let (student, teacher) = ([student.as_tensor().clone()], [teacher.clone()]);
    let input = LossInput {
        student_features: &student,
        teacher_features: &teacher,
        indices,
        ..LossInput::new(&logits)
    };
    loss.forward(&input).unwrap().total
}

#[test]
fn losses_of_inner_values_and_their_gradients_are_pytorchs() {
    let (image, wide, tall) = (&[2, 5, 4][..], &[3, 3, 4][..], &[3, 6, 5][..]);
    let batch = |shape: &[usize], start, scale| wave(&[&[4], shape].concat(), start, scale);
    let all = [0, 1, 2, 3];
    let of = |recipe: &str, shapes| features::bound(recipe, shapes, &[0; 4]).unwrap();

    let student = Var::from_tensor(&batch(image, 0.2, 1.5)).unwrap();
    let loss = of(r#""hint", "weight": 1"#, [image, wide]);
    let adapter: Vec<Var> = loss.parameters().into_iter().map(|p| p.var).collect();
    adapter[0].set(&wave(&[3, 2], 0.4, 0.8)).unwrap();
    adapter[1].set(&wave(&[3], 0.6, 0.8)).unwrap();
    let value = of_features(&loss, &student, &batch(wide, 0.9, 2.0), &all);
    let ends = [0.007_943_19, -0.012_966_3, -0.828_841, -0.873_382, 0.307_101, -0.402_81];
    let variables = [&student, &adapter[0], &adapter[1]];
    assert_pytorchs("hint", &value, &variables, 3.073_160_2, &ends);

    let loss = of(r#""attention-transfer", "weight": 1"#, [image, tall]);
    let value = of_features(&loss, &student, &batch(tall, 0.9, 2.0), &all);
    let ends = [-0.000_173_85, -0.000_276_447];
    assert_pytorchs("attention-transfer", &value, &[&student], 0.017_370_2, &ends);

    let student = Var::from_tensor(&batch(&[6], 0.2, 1.5)).unwrap();
    for (recipe, expected, ends) in [
        (r#""rkd""#, 0.472_560_2, [0.213_046, -0.007_193_15]),
        (r#""rkd", "distance": 1, "angle": 0"#, 0.011_993_7, [0.007_088_03, 0.000_342_871]),
        (r#""similarity", "weight": 1"#, 0.028_114_8, [0.014_532_8, -0.002_289_44]),
    ] {
        let value = of_features(&of(recipe, [&[6], &[5]]), &student, &batch(&[5], 0.9, 2.0), &all);
        assert_pytorchs(recipe, &value, &[&student], expected, &ends);
    }
}

#[test]
fn contrastive_losses_of_two_batches_are_pytorchs() {
    let labels = [0, 1, 2, 0, 1, 2, 0];
    let recipe = r#""crd", "dimensions": 3, "weight": 1"#;
    let loss = features::bound(recipe, [&[6], &[5]], &labels).unwrap();
    let mut state = loss.state().unwrap();
    for (name, shape, start) in [
        ("student.memory", &[7, 3][..], 0.5),
        ("teacher.memory", &[7, 3], 1.5),
        ("student.embed.weight", &[3, 6], 0.4),
        ("student.embed.bias", &[3], 0.6),
        ("teacher.embed.weight", &[3, 5], 1.4),
        ("teacher.embed.bias", &[3], 1.6),
    ] {
        let rows = wave(shape, start, 0.8);
        let rows = if name.ends_with("memory") { rows::unit(&rows).unwrap() } else { rows };
        assert!(state.insert(format!("objective.0.crd.{name}"), rows).is_some(), "{name}");
    }
    loss.load_state(&state).unwrap();
    let student = Var::from_tensor(&wave(&[4, 6], 0.2, 1.5)).unwrap();
    let teacher = wave(&[4, 5], 0.9, 2.0);
    let parameters = loss.parameters();
    let variables = [&student, &parameters[0].var, &parameters[2].var];
    for (batch, expected, ends) in [
        (
            [5, 0, 3, 1],
            17.411_327,
            [-0.070_724, 0.038_391_1, 1.352_24, 0.261_785, -0.375_21, 0.592_47],
        ),
        (
            [0, 6, 2, 5],
            16.349_133_9,
            [0.723_036, -0.066_013_8, 1.597_21, 1.188_7, -0.509_799, 0.951_326],
        ),
    ] {
        let value = of_features(&loss, &student, &teacher, &batch);
        assert_pytorchs(&format!("crd of {batch:?}"), &value, &variables, expected, &ends);
    }
}
