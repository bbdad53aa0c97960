//! Losses against hand-computed numbers and central differences.
#![expect(clippy::unwrap_used, reason = "tests")]

use candle_core::{Device, Tensor};

use super::*;
use crate::nn::gradcheck::{assert_gradients, backward, distinct, random, values};

fn scalar(loss: &dyn DistillationLoss, input: &LossInput<'_>) -> f32 {
    loss.forward(input).unwrap().to_scalar().unwrap()
}

/// Logits whose softmax at T = 2 is (3/4, 1/4) and (1/2, 1/2): 2·ln 3 apart, and equal.
fn student_and_teacher() -> (Tensor, Tensor) {
    let apart = 2.0 * 3.0_f32.ln();
    let student = Tensor::new(&[[apart, 0.0], [1.0, 1.0]], &Device::Cpu).unwrap();
    let teacher = Tensor::new(&[[5.0, 5.0], [1.0, 1.0_f32]], &Device::Cpu).unwrap();
    (student, teacher)
}

#[test]
fn kd_is_the_hand_computed_divergence() {
    let (student, teacher) = student_and_teacher();
    let input =
        LossInput { student_logits: &student, teacher_logits: Some(&teacher), labels: None };
    let loss = Kd { temperature: Temperature::new(2.0).unwrap() };
    // First sample: ½ ln(½ / ¾) + ½ ln(½ / ¼) = ½ ln(4/3); second: 0. Batch mean, times T² = 4.
    let expected = 4.0 * (0.5 * (4.0_f32 / 3.0).ln()) / 2.0;
    assert!((scalar(&loss, &input) - expected).abs() < 1e-6);
    // Gradient: T² · (softmax(s/T) - softmax(t/T)) / T / n = 2 · (¾ - ½) / 2 = ¼ for sample one.
    let variable = candle_core::Var::from_tensor(&student).unwrap();
    let input = LossInput { student_logits: &variable, ..input };
    let gradients = loss.forward(&input).unwrap().backward().unwrap();
    for (got, expected) in values(gradients.get(&variable).unwrap()).iter().zip([0.25, -0.25]) {
        assert!((got - expected).abs() < 1e-6, "{got}, not {expected}");
    }
}

#[test]
fn kd_of_a_perfect_student_is_zero_and_safe_for_huge_logits() {
    let huge = Tensor::new(&[[3e30_f32, -3e30, 0.0]], &Device::Cpu).unwrap();
    let input = LossInput { student_logits: &huge, teacher_logits: Some(&huge), labels: None };
    assert_eq!(scalar(&Kd::default(), &input).to_bits(), 0);
}

#[test]
fn mse_and_cross_entropy_are_the_hand_computed_ones() {
    let (student, teacher) = student_and_teacher();
    let labels = Tensor::new(&[1_u32, 0], &Device::Cpu).unwrap();
    let input = LossInput {
        student_logits: &student,
        teacher_logits: Some(&teacher),
        labels: Some(&labels),
    };
    // ((2 ln 3 - 5)² + 25 + 0 + 0) / 4 elements.
    let expected = ((2.0 * 3.0_f32.ln() - 5.0).powi(2) + 25.0) / 4.0;
    assert!((scalar(&Mse, &input) - expected).abs() < 1e-5);
    // Softmax at T = 1 is (9/10, 1/10) and (1/2, 1/2): -ln of the labels' is ln 10 and ln 2.
    let hard = 20.0_f32.ln() / 2.0;
    assert!((scalar(&CrossEntropy::default(), &input) - hard).abs() < 1e-6);
    // Even targets: mean of ln(10/9), ln 10, ln 2 and ln 2.
    let even = ((10.0_f32 / 9.0).ln() + 10.0_f32.ln() + 2.0 * 2.0_f32.ln()) / 4.0;
    let smoothed = scalar(&CrossEntropy { label_smoothing: 0.1 }, &input);
    assert!((smoothed - (0.9 * hard + 0.1 * even)).abs() < 1e-6);
}

#[test]
fn loss_gradients_equal_differences() {
    let (student, teacher) = (distinct(&[3, 4], 2.0, 1), random(&[3, 4], 2));
    let labels = Tensor::new(&[3_u32, 0, 2], &Device::Cpu).unwrap();
    for spec in [
        LossSpec::Kd { temperature: Temperature::new(3.0).unwrap(), weight: 0.7 },
        LossSpec::Mse { weight: 2.0 },
        LossSpec::CrossEntropy { weight: 1.0, label_smoothing: 0.0 },
        LossSpec::CrossEntropy { weight: 0.5, label_smoothing: 0.2 },
    ] {
        let objective = WeightedSum::new(&[spec]).unwrap();
        assert_gradients(&format!("{spec:?}"), std::slice::from_ref(&student), |t| {
            let input = LossInput {
                student_logits: &t[0],
                teacher_logits: Some(&teacher),
                labels: Some(&labels),
            };
            Ok(objective.forward(&input)?.total)
        });
    }
}

#[test]
fn no_gradient_flows_to_the_teacher() {
    let both = [random(&[2, 3], 1), random(&[2, 3], 2)];
    for spec in [
        LossSpec::Mse { weight: 1.0 },
        LossSpec::Kd { temperature: Temperature::default(), weight: 1.0 },
    ] {
        let objective = WeightedSum::new(&[spec]).unwrap();
        let gradients = backward(&both, |t| {
            let input =
                LossInput { student_logits: &t[0], teacher_logits: Some(&t[1]), labels: None };
            Ok(objective.forward(&input)?.total)
        })
        .unwrap();
        assert!(values(&gradients[0]).iter().any(|&g| g != 0.0));
        assert_eq!(values(&gradients[1]), [0.0; 6]);
    }
}

#[test]
fn the_sum_weighs_its_terms_and_reports_them_unweighted() {
    let (student, teacher) = student_and_teacher();
    let labels = Tensor::new(&[1_u32, 0], &Device::Cpu).unwrap();
    let input = LossInput {
        student_logits: &student,
        teacher_logits: Some(&teacher),
        labels: Some(&labels),
    };
    let recipe = r#"[
        {"kind": "kd", "weight": 0.9},
        {"kind": "cross-entropy", "weight": 0.1},
        {"kind": "mse"}
    ]"#;
    let specs: Vec<LossSpec> = serde_json::from_str(recipe).unwrap();
    let objective = WeightedSum::new(&specs).unwrap();
    assert!(objective.needs_teacher() && objective.needs_labels());
    let value = objective.forward(&input).unwrap();
    let terms: Vec<f32> = value.terms.iter().map(|(_, t)| t.to_scalar().unwrap()).collect();
    let names: Vec<_> = value.terms.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["kd", "cross-entropy", "mse"]);
    assert_eq!(terms[0].to_bits(), scalar(&Kd::default(), &input).to_bits());
    let expected = 0.9 * terms[0] + 0.1 * terms[1] + terms[2];
    assert!((value.total.to_scalar::<f32>().unwrap() - expected).abs() < 1e-5);
}

#[test]
fn what_is_missing_or_out_of_range_is_an_error() {
    let student = random(&[2, 3], 1);
    let bare = LossInput { student_logits: &student, teacher_logits: None, labels: None };
    let kind = |loss: &dyn DistillationLoss, input| loss.forward(&input).unwrap_err().kind();
    assert_eq!(kind(&Kd::default(), bare), ErrorKind::Config);
    assert_eq!(kind(&CrossEntropy::default(), bare), ErrorKind::Config);
    let teacher = random(&[2, 4], 1);
    assert_eq!(kind(&Mse, LossInput { teacher_logits: Some(&teacher), ..bare }), ErrorKind::Shape);
    let labels = Tensor::new(&[0_u32, 3], &Device::Cpu).unwrap();
    let labelled = LossInput { labels: Some(&labels), ..bare };
    assert_eq!(kind(&CrossEntropy::default(), labelled), ErrorKind::Data);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Temperature::new(bad).is_err(), "{bad}");
    }
    for bad in [
        vec![],
        vec![LossSpec::Mse { weight: 0.0 }],
        vec![LossSpec::Mse { weight: f64::NAN }],
        vec![LossSpec::CrossEntropy { weight: 1.0, label_smoothing: 1.0 }],
    ] {
        assert_eq!(WeightedSum::new(&bad).err().map(|e| e.kind()), Some(ErrorKind::Config));
    }
    for bad in [
        r#"{"kind": "kd", "temperature": 0}"#,
        r#"{"kind": "kd", "temprature": 4}"#,
        r#"{"kind": "hinton"}"#,
    ] {
        assert!(serde_json::from_str::<LossSpec>(bad).is_err(), "{bad}");
    }
}
