//! Optimizers against steps computed by hand from PyTorch's documented formulas, in f64.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use candle_core::{Device, Var};

use super::rule::Rule;
use super::*;
use crate::ErrorKind;
use crate::nn::gradcheck::{random, values};

fn spec(json: &str) -> OptimizerSpec {
    serde_json::from_str(json).unwrap()
}

/// A parameter `w = (1, -2)`.
fn parameter() -> Parameter {
    let var = Var::new(&[1.0_f32, -2.0], &Device::Cpu).unwrap();
    Parameter { name: "layer.weight".into(), var }
}

/// Three steps on `Σ w²/2`, whose gradient is `w`; the first element after each.
fn descend(spec: &OptimizerSpec) -> Vec<f32> {
    let parameter = parameter();
    let var = parameter.var.clone();
    let mut optimizer = Optimizer::new(spec, vec![parameter]).unwrap();
    (0..3)
        .map(|_| {
            let loss = (var.sqr().unwrap().sum_all().unwrap() / 2.0).unwrap();
            optimizer.step(&loss.backward().unwrap(), 1.0).unwrap();
            values(&var)[0]
        })
        .collect()
}

fn assert_steps(got: &[f32], expected: [f64; 3]) {
    for (got, expected) in got.iter().zip(expected) {
        assert!((f64::from(*got) - expected).abs() < 1e-6, "{got:?}, not {expected:?}");
    }
}

#[test]
fn sgd_steps_are_the_hand_computed_ones() {
    // Without momentum w ← w - 0.1·w.
    let plain = spec(r#"{"kind": "sgd", "lr": 0.1, "momentum": 0.0}"#);
    assert_steps(&descend(&plain), [0.9, 0.81, 0.729]);
    // b₁ = 1, w₁ = 1 - 0.1; b₂ = 0.5·1 + 0.9 = 1.4, w₂ = 0.9 - 0.14 = 0.76;
    // b₃ = 0.7 + 0.76 = 1.46, w₃ = 0.76 - 0.146 = 0.614.
    let momentum = spec(r#"{"kind": "sgd", "lr": 0.1, "momentum": 0.5}"#);
    assert_steps(&descend(&momentum), [0.9, 0.76, 0.614]);
    // Steps of g + 0.5·b: 1.5 → 0.85; b₂ = 0.5 + 0.85 = 1.35, 0.85 + 0.675 = 1.525 → 0.6975;
    // b₃ = 0.675 + 0.6975 = 1.3725, 0.6975 + 0.68625 = 1.38375 → 0.559125.
    let nesterov = spec(r#"{"kind": "sgd", "lr": 0.1, "momentum": 0.5, "nesterov": true}"#);
    assert_steps(&descend(&nesterov), [0.85, 0.6975, 0.559_125]);
    // The gradient becomes 1.2·w: w ← 0.88·w.
    let decay = spec(r#"{"kind": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0.2}"#);
    assert_steps(&descend(&decay), [0.88, 0.7744, 0.681_472]);
}

#[test]
fn adam_steps_are_the_hand_computed_ones() {
    // β = (0.5, 0.5), so after t equal corrections 1 - 0.5ᵗ.
    // t = 1: m = 0.5, v = 0.5; m̂ = 1, v̂ = 1 → 1 - 0.1 = 0.9.
    // t = 2: m = 0.25 + 0.45 = 0.7, v = 0.25 + 0.405 = 0.655; m̂ = 0.7/0.75, v̂ = 0.655/0.75.
    // t = 3: with w₂: m = 0.35 + w₂/2, v = 0.3275 + w₂²/2, both over 0.875.
    let w2 = 0.9 - 0.1 * (0.7 / 0.75) / (0.655_f64 / 0.75).sqrt();
    let w3 = w2 - 0.1 * ((0.35 + w2 / 2.0) / 0.875) / ((0.3275 + w2 * w2 / 2.0) / 0.875).sqrt();
    let adam = spec(r#"{"kind": "adam", "lr": 0.1, "betas": [0.5, 0.5]}"#);
    assert_steps(&descend(&adam), [0.9, w2, w3]);
    // L2: the gradient is 1.5·w throughout, which Adam's normalisation cancels but for ε.
    let l2 = spec(r#"{"kind": "adam", "lr": 0.1, "betas": [0.5, 0.5], "weight_decay": 0.5}"#);
    assert_steps(&descend(&l2), [0.9, w2, w3]);
    // Decoupled: w is first scaled by 1 - 0.1·0.5 = 0.95, the gradient stays w.
    let v1 = 0.95 - 0.1;
    let (m, v) = (0.25 + v1 / 2.0, 0.25 + v1 * v1 / 2.0);
    let v2 = 0.95 * v1 - 0.1 * (m / 0.75) / (v / 0.75_f64).sqrt();
    let (m, v) = (m / 2.0 + v2 / 2.0, v / 2.0 + v2 * v2 / 2.0);
    let v3 = 0.95 * v2 - 0.1 * (m / 0.875) / (v / 0.875).sqrt();
    let adamw = spec(r#"{"kind": "adamw", "lr": 0.1, "betas": [0.5, 0.5], "weight_decay": 0.5}"#);
    assert_steps(&descend(&adamw), [v1, v2, v3]);
}

const SPECS: [&str; 5] = [
    r#"{"kind": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0.1}"#,
    r#"{"kind": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}"#,
    r#"{"kind": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": true}"#,
    r#"{"kind": "adam", "weight_decay": 0.1}"#,
    r#"{"kind": "adamw", "weight_decay": 0.1}"#,
];

#[test]
fn fused_steps_equal_composed_ones() {
    for json in SPECS {
        let spec = spec(json);
        let start = random(&[3, 7], 1);
        let fused = Var::from_tensor(&start.copy().unwrap()).unwrap();
        let composed = Var::from_tensor(&start).unwrap();
        let parameter = Parameter { name: "w".into(), var: fused.clone() };
        let mut optimizer = Optimizer::new(&spec, vec![parameter]).unwrap();
        let mut state = vec![start.zeros_like().unwrap(); Rule::slots(&spec).len()];
        for t in 1..5 {
            let gradient = random(&[3, 7], 10 + t);
            let mut gradients = fused.sum_all().unwrap().backward().unwrap();
            gradients.insert(&fused, gradient.clone());
            optimizer.step(&gradients, 0.5).unwrap();
            state = Rule::new(&spec, t, 0.5, true).composed(&composed, &gradient, &state).unwrap();
            for (a, b) in values(&fused).iter().zip(values(&composed)) {
                assert!((a - b).abs() < 1e-6, "{json}: {a}, not {b}");
            }
        }
        assert_ne!(values(&fused), values(&start));
    }
}

#[test]
fn a_restored_state_continues_with_the_same_bits() {
    for json in SPECS {
        let spec = spec(json);
        let run = |optimizer: &mut Optimizer, steps: std::ops::Range<u64>| {
            let var = optimizer.parameters()[0].var.clone();
            for t in steps {
                let loss = (var.as_tensor() * random(&[2], t)).unwrap().sqr().unwrap();
                let gradients = loss.sum_all().unwrap().backward().unwrap();
                optimizer.step(&gradients, 1.0).unwrap();
            }
            values(&var)
        };
        let mut whole = Optimizer::new(&spec, vec![parameter()]).unwrap();
        let expected = run(&mut whole, 0..7);
        let mut first = Optimizer::new(&spec, vec![parameter()]).unwrap();
        let weights = run(&mut first, 0..4);
        let saved: BTreeMap<_, _> = first.state().unwrap().into_iter().collect();
        let var = Var::new(&weights[..], &Device::Cpu).unwrap();
        let again = Parameter { name: "layer.weight".into(), var };
        let mut second = Optimizer::new(&spec, vec![again]).unwrap();
        second.load_state(first.steps(), &saved).unwrap();
        assert_eq!(run(&mut second, 4..7), expected, "{json}");
        if !saved.is_empty() {
            let missing = second.load_state(4, &BTreeMap::new()).unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::Checkpoint);
        }
    }
}

#[test]
fn decay_can_leave_vectors_alone() {
    let spec = spec(
        r#"{"kind": "sgd", "lr": 0.5, "momentum": 0, "weight_decay": 1.0, "decay_all": false}"#,
    );
    let matrix = Var::new(&[[1.0_f32]], &Device::Cpu).unwrap();
    let vector = Var::new(&[1.0_f32], &Device::Cpu).unwrap();
    let named = |name: &str, var: &Var| Parameter { name: name.into(), var: var.clone() };
    let parameters = vec![named("w", &matrix), named("b", &vector)];
    let mut optimizer = Optimizer::new(&spec, parameters).unwrap();
    let sum = (matrix.sum_all().unwrap() + vector.sum_all().unwrap()).unwrap();
    let gradients = sum.backward().unwrap();
    optimizer.step(&gradients, 1.0).unwrap();
    // 1 - 0.5 · (1 + 1) with decay, 1 - 0.5 · 1 without.
    assert_eq!((values(&matrix), values(&vector)), (vec![0.0], vec![0.5]));
}

#[test]
fn clipping_scales_to_the_norm_and_reports_the_norm_before() {
    let parameters = [parameter(), parameter()];
    let loss = |scale: f64| {
        // Gradients (3, 3) and (4, 4) times scale: norm √(18 + 32) = √50.
        let sum = (parameters[0].var.affine(3.0 * scale, 0.0).unwrap()
            + parameters[1].var.affine(4.0 * scale, 0.0).unwrap())
        .unwrap();
        sum.sum_all().unwrap().backward().unwrap()
    };
    let mut gradients = loss(1.0);
    let norm = clip_grad_norm(&mut gradients, &parameters, 1.0).unwrap();
    assert!((norm - 50.0_f64.sqrt()).abs() < 1e-6);
    let clipped = values(gradients.get(&parameters[1].var).unwrap());
    assert!((clipped[0] - 4.0 / 50.0_f32.sqrt()).abs() < 1e-6, "{clipped:?}");
    let mut gradients = loss(0.01);
    clip_grad_norm(&mut gradients, &parameters, 1.0).unwrap();
    assert_eq!(values(gradients.get(&parameters[0].var).unwrap()), [0.03, 0.03]);
    assert!(clip_grad_norm(&mut loss(f64::NAN), &parameters, 1.0).unwrap().is_nan());
}

/// Step `step` of a run of 5 epochs of 10 steps.
fn at(step: u64) -> Position {
    Position { step, steps_per_epoch: 10, epochs: 5, elapsed: 0.0 }
}

fn schedule(json: &str) -> ScheduleSpec {
    serde_json::from_str(json).unwrap()
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a}, not {b}");
}

#[test]
fn schedules_take_their_documented_values() {
    near(ScheduleSpec::Constant.factor(&at(77)), 1.0);
    // The first epoch is a warm-up: the cosine covers steps 10 to 50.
    let cosine = schedule(r#"{"kind": "cosine", "warmup": 1, "final_fraction": 0.2}"#);
    for (step, factor) in [(0, 0.1), (9, 1.0), (10, 1.0), (30, 0.6), (50, 0.2), (999, 0.2)] {
        near(cosine.factor(&at(step)), factor);
    }
    let linear = schedule(r#"{"kind": "linear", "warmup": 1, "final_fraction": 0.2}"#);
    for (step, factor) in [(4, 0.5), (10, 1.0), (20, 0.8), (30, 0.6), (50, 0.2)] {
        near(linear.factor(&at(step)), factor);
    }
    let step = schedule(r#"{"kind": "step", "milestones": [2, 3]}"#);
    for (at_step, factor) in [(19, 1.0), (20, 0.1), (35, 0.01)] {
        near(step.factor(&at(at_step)), factor);
    }
    for wrong in [
        r#"{"kind": "cosine", "warmup": -1}"#,
        r#"{"kind": "one-cycle", "rise": 1.0}"#,
        r#"{"kind": "linear", "final_fraction": -0.1}"#,
    ] {
        assert_eq!(schedule(wrong).check().unwrap_err().kind(), ErrorKind::Config);
    }
    assert!(serde_json::from_str::<ScheduleSpec>(r#"{"kind": "cosine", "warmpu": 1}"#).is_err());
}

#[test]
fn one_cycle_is_pytorchs() {
    // torch.optim.lr_scheduler.OneCycleLR(sgd, max_lr=1.0, total_steps=50), PyTorch 2.15.
    const ONE_CYCLE: [(u64, f64); 9] = [
        (0, 0.04),
        (1, 0.052_034_602_152_724_71),
        (7, 0.52),
        (14, 1.0),
        (15, 0.997_987_155_049_031_6),
        (20, 0.929_224_679_903_345_9),
        (32, 0.477_569_674_554_403_4),
        (48, 0.002_016_844_950_968_456_6),
        (49, 4e-6),
    ];
    let cycle = schedule(r#"{"kind": "one-cycle"}"#);
    cycle.check().unwrap();
    for (step, factor) in ONE_CYCLE {
        let found = cycle.factor(&at(step));
        assert!((found - factor).abs() < 1e-9, "step {step}: {found}, not {factor}");
    }
}

#[test]
fn a_time_budget_moves_the_schedule_but_not_the_warm_up() {
    let cosine = schedule(r#"{"kind": "cosine", "warmup": 1}"#);
    let late = |step, elapsed| Position { elapsed, ..at(step) };
    // Half of the time is gone: the factor of step 25 = 10 + 3/8 of 40.
    let expected = 0.5 * (1.0 + (std::f64::consts::PI * 15.0 / 40.0).cos());
    near(cosine.factor(&late(12, 0.5)), expected);
    // The epochs are further than the time.
    near(cosine.factor(&late(30, 0.5)), 0.5);
    near(cosine.factor(&late(12, 1.5)), 0.0);
    near(cosine.factor(&late(4, 0.0)), 0.5);
    near(late(10, 0.5).fraction(), 0.5);
    near(late(30, 0.5).fraction(), 0.6);
}

#[test]
fn an_average_follows_its_weights_by_hand() {
    let weight = Var::new(&[1.0_f32, 0.0], &Device::Cpu).unwrap();
    let follower = Var::new(&[0.0_f32, 8.0], &Device::Cpu).unwrap();
    let mut average = Average::new(0.25, vec![(weight.clone(), follower.clone())]);
    // Update 1 decays by min(0.25, 2/11) = 2/11: (9/11, 16/11).
    average.update().unwrap();
    let first = values(&follower);
    assert!((first[0] - 9.0 / 11.0).abs() < 1e-6 && (first[1] - 16.0 / 11.0).abs() < 1e-6);
    // Update 2 by min(0.25, 3/12) = 1/4: weight (2, 0).
    weight.set(&candle_core::Tensor::new(&[2.0_f32, 0.0], &Device::Cpu).unwrap()).unwrap();
    average.update().unwrap();
    let second = values(&follower);
    assert!((second[0] - (9.0 / 44.0 + 1.5)).abs() < 1e-6, "{second:?}");
    assert!((second[1] - 4.0 / 11.0).abs() < 1e-6, "{second:?}");
    assert_eq!(average.updates(), 2);
    near(decay_of(0.999, 1), 2.0 / 11.0);
    near(decay_of(0.999, 10_000), 0.999);
}

#[test]
fn constants_out_of_range_are_errors() {
    for json in [
        r#"{"kind": "adam", "lr": 0}"#,
        r#"{"kind": "adam", "betas": [1.0, 0.9]}"#,
        r#"{"kind": "adamw", "weight_decay": -1}"#,
        r#"{"kind": "sgd", "momentum": 0, "nesterov": true}"#,
    ] {
        let error = Optimizer::new(&spec(json), vec![parameter()]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{json}");
    }
    assert!(
        serde_json::from_str::<OptimizerSpec>(r#"{"kind": "adam", "nesterov": true}"#).is_err()
    );
    assert_eq!(spec(r#"{"kind": "adamw"}"#), OptimizerSpec::default());
}
