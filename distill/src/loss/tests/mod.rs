//! Losses against hand-computed numbers and central differences.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

mod features;
mod mutual;
mod pytorch;

use super::*;
use crate::nn::gradcheck::{assert_gradients, backward, distinct, random, values};

fn scalar(loss: &dyn DistillationLoss, input: &LossInput<'_>) -> f32 {
    loss.forward(input).unwrap().to_scalar().unwrap()
}

fn at(temperature: f64) -> TemperatureSchedule {
    Temperature::new(temperature).unwrap().into()
}

fn both<'a>(student: &'a Tensor, teacher: &'a Tensor, labels: &'a Tensor) -> LossInput<'a> {
    LossInput { teacher_logits: Some(teacher), labels: Some(labels), ..LossInput::new(student) }
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
    let input = LossInput { teacher_logits: Some(&teacher), ..LossInput::new(&student) };
    let loss = Kd { temperature: at(2.0), standardise: false };
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
    let input = LossInput { teacher_logits: Some(&huge), ..LossInput::new(&huge) };
    assert_eq!(scalar(&Kd::default(), &input).to_bits(), 0);
}

#[test]
fn mse_and_cross_entropy_are_the_hand_computed_ones() {
    let (student, teacher) = student_and_teacher();
    let labels = Tensor::new(&[1_u32, 0], &Device::Cpu).unwrap();
    let input = both(&student, &teacher, &labels);
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
        LossSpec::Kd { temperature: at(3.0), weight: 0.7 },
        LossSpec::LogitStandardisation { temperature: at(2.0), weight: 3.0 },
        LossSpec::Mse { weight: 2.0 },
        LossSpec::L1 { weight: 1.0 },
        LossSpec::Dkd {
            alpha: 0.5,
            beta: 2.0,
            temperature: at(3.0),
            warmup: Some(0.0),
            weight: 0.7,
        },
        LossSpec::Dist { beta: 1.0, gamma: 2.0, temperature: at(1.0), weight: 1.0 },
        LossSpec::CrossEntropy { weight: 1.0, label_smoothing: 0.0 },
        LossSpec::CrossEntropy { weight: 0.5, label_smoothing: 0.2 },
    ] {
        let what = format!("{spec:?}");
        let objective = WeightedSum::new(&[spec]).unwrap();
        assert_gradients(&what, std::slice::from_ref(&student), |t| {
            Ok(objective.forward(&both(&t[0], &teacher, &labels))?.total)
        });
    }
}

#[test]
fn no_gradient_flows_to_the_teacher() {
    let pair = [random(&[2, 3], 1), random(&[2, 3], 2)];
    let labels = Tensor::new(&[1_u32, 0], &Device::Cpu).unwrap();
    for kind in ["mse", "l1", "kd", "logit-standardisation", "dkd", "dist"] {
        let spec = serde_json::from_str(&format!(r#"{{"kind": "{kind}"}}"#)).unwrap();
        let objective = WeightedSum::new(&[spec]).unwrap();
        let gradients =
            backward(&pair, |t| Ok(objective.forward(&both(&t[0], &t[1], &labels))?.total))
                .unwrap();
        assert!(values(&gradients[0]).iter().any(|&g| g != 0.0));
        assert_eq!(values(&gradients[1]), [0.0; 6]);
    }
}

#[test]
fn the_sum_weighs_its_terms_and_reports_them_unweighted() {
    let (student, teacher) = student_and_teacher();
    let labels = Tensor::new(&[1_u32, 0], &Device::Cpu).unwrap();
    let input = both(&student, &teacher, &labels);
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
    let bare = LossInput::new(&student);
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
        vec![LossSpec::Dist { beta: -1.0, gamma: 1.0, temperature: at(1.0), weight: 1.0 }],
    ] {
        assert_eq!(WeightedSum::new(&bad).err().map(|e| e.kind()), Some(ErrorKind::Config));
    }
    for bad in [
        r#"{"kind": "kd", "temperature": 0}"#,
        r#"{"kind": "kd", "temprature": 4}"#,
        r#"{"kind": "kd", "temperature": {"from": 4}}"#,
        r#"{"kind": "kd", "temperature": {"from": 4, "to": 0}}"#,
        r#"{"kind": "kd", "temperature": {"from": 4, "to": 1, "kind": "step"}}"#,
        r#"{"kind": "hinton"}"#,
    ] {
        assert!(serde_json::from_str::<LossSpec>(bad).is_err(), "{bad}");
    }
}

#[test]
fn defaults_are_the_papers() {
    let of = |text: &str| serde_json::from_str::<LossSpec>(text).unwrap();
    assert_eq!(
        of(r#"{"kind": "logit-standardisation"}"#),
        LossSpec::LogitStandardisation { temperature: at(2.0), weight: 9.0 }
    );
    let dkd =
        LossSpec::Dkd { alpha: 1.0, beta: 8.0, temperature: at(4.0), warmup: None, weight: 1.0 };
    assert_eq!(of(r#"{"kind": "dkd"}"#), dkd);
    let dist = LossSpec::Dist { beta: 1.0, gamma: 1.0, temperature: at(1.0), weight: 1.0 };
    assert_eq!(of(r#"{"kind": "dist"}"#), dist);
}

#[test]
fn dkd_grows_by_epochs_to_its_full_weight() {
    let (student, teacher) = student_and_teacher();
    let labels = Tensor::new(&[1_u32, 0], &Device::Cpu).unwrap();
    let share = |warmup, epoch, epochs| {
        let loss = |warmup, moment| {
            let loss = Dkd { alpha: 1.0, beta: 8.0, temperature: at(4.0), warmup };
            scalar(&loss, &LossInput { moment, ..both(&student, &teacher, &labels) })
        };
        loss(warmup, Moment { epoch, epochs }) / loss(Some(0.0), Moment::default())
    };
    for (warmup, epoch, epochs, expected) in [
        // The paper's run: a twentieth in the first epoch, all from the twentieth on.
        (None, 0.0, 240.0, 0.05),
        (None, 0.9, 240.0, 0.05),
        (None, 1.0, 240.0, 0.1),
        (None, 19.0, 240.0, 1.0),
        (None, 200.5, 240.0, 1.0),
        // A run of 24 epochs grows over two of them; one of ten has the whole at once.
        (None, 0.0, 24.0, 0.5),
        (None, 1.0, 24.0, 1.0),
        (None, 0.0, 10.0, 1.0),
        (Some(4.0), 2.5, 10.0, 0.75),
    ] {
        let got = share(warmup, epoch, epochs);
        assert!((got - expected).abs() < 1e-6, "{warmup:?} {epoch} of {epochs}: {got}");
    }
}

#[test]
fn temperatures_move_from_the_first_step_to_the_last() {
    let of = |text: &str| serde_json::from_str::<TemperatureSchedule>(text).unwrap();
    let value =
        |schedule: TemperatureSchedule, epoch: f64| schedule.at(Moment { epoch, epochs: 4.0 });
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a}, not {b}");
    close(value(of("3"), 2.0), 3.0);
    let linear = of(r#"{"from": 8.0, "to": 2}"#);
    let cosine = of(r#"{"from": 8, "to": 2, "kind": "cosine"}"#);
    for (schedule, epoch, expected) in [
        (linear, 0.0, 8.0),
        (linear, 1.0, 6.5),
        (linear, 3.0, 3.5),
        (linear, 4.0, 2.0),
        (cosine, 0.0, 8.0),
        // Half a cosine a quarter of the way: 8 - 6 · (1 - cos 45°) / 2.
        (cosine, 1.0, 8.0 - 3.0 * (1.0 - std::f64::consts::FRAC_1_SQRT_2)),
        (cosine, 2.0, 5.0),
        (cosine, 4.0, 2.0),
    ] {
        close(value(schedule, epoch), expected);
    }
    assert_eq!(serde_json::to_string(&linear).unwrap(), r#"{"from":8.0,"to":2.0,"kind":"linear"}"#);
    // The loss takes the temperature of its moment.
    let (student, teacher) = student_and_teacher();
    let moment = Moment { epoch: 3.0, epochs: 4.0 };
    let input = LossInput { teacher_logits: Some(&teacher), moment, ..LossInput::new(&student) };
    let moving = Kd { temperature: linear, standardise: false };
    let still = Kd { temperature: at(3.5), standardise: false };
    assert_eq!(scalar(&moving, &input).to_bits(), scalar(&still, &input).to_bits());
}

#[test]
fn equal_logits_have_finite_losses_and_gradients() {
    let (equal, teacher) =
        (Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap(), random(&[2, 3], 1));
    let labels = Tensor::new(&[1_u32, 0], &Device::Cpu).unwrap();
    for kind in ["kd", "logit-standardisation", "dkd", "dist"] {
        let spec = serde_json::from_str(&format!(r#"{{"kind": "{kind}"}}"#)).unwrap();
        let objective = WeightedSum::new(&[spec]).unwrap();
        let gradients = backward(std::slice::from_ref(&equal), |t| {
            let value = objective.forward(&both(&t[0], &teacher, &labels))?.total;
            assert!(value.to_scalar::<f32>()?.is_finite(), "{kind}");
            Ok(value)
        });
        assert!(values(&gradients.unwrap()[0]).iter().all(|g| g.is_finite()), "{kind}");
    }
}

#[test]
fn the_loss_of_a_mixture_is_that_of_both_labels_by_their_shares() {
    let (student, teacher) = student_and_teacher();
    let (first, second) = ([1_u32, 0], [0_u32, 0]);
    let tensor = |labels: &[u32; 2]| Tensor::new(labels, &Device::Cpu).unwrap();
    let labels = tensor(&first);
    let others = OtherLabels {
        labels: tensor(&second),
        shares: Tensor::new(&[0.75_f32, 0.5], &Device::Cpu).unwrap(),
    };
    let mixed = LossInput { others: Some(&others), ..both(&student, &teacher, &labels) };
    // Softmaxes (9/10, 1/10) and (1/2, 1/2): three quarters of ln 10 and one of ln(10/9), ln 2.
    let expected = 0.5 * (0.75 * 10.0_f32.ln() + 0.25 * (10.0_f32 / 9.0).ln() + 2.0_f32.ln());
    assert!((scalar(&CrossEntropy::default(), &mixed) - expected).abs() < 1e-6);
    let dkd = Dkd { alpha: 1.0, beta: 8.0, temperature: at(2.0), warmup: Some(0.0) };
    // The first sample has two labels; the loss is a mean over samples.
    let of = |labels: [u32; 2]| scalar(&dkd, &both(&student, &teacher, &tensor(&labels)));
    let expected = 0.75 * of([1, 0]) + 0.25 * of([0, 0]);
    assert!((scalar(&dkd, &mixed) - expected).abs() < 1e-6);
    assert_gradients("mixed", std::slice::from_ref(&student), |t| {
        CrossEntropy { label_smoothing: 0.1 }.forward(&LossInput { student_logits: &t[0], ..mixed })
    });
    let wrong = OtherLabels { labels: tensor(&[0, 2]), ..others.clone() };
    let error = CrossEntropy::default().forward(&LossInput { others: Some(&wrong), ..mixed });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Data);
}
