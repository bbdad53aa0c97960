//! Losses of inner values: hand-computed numbers, differences, and what cannot be compared.

use candle_core::{Device, Tensor, Var};
use hipflask_runtime::graph::{Activation, GraphBuilder, Layout, Op};

use super::*;
use crate::interpreter::Nodes;

/// A network with one node, `inner`, that gives values of this shape for a sample.
pub(super) fn nodes(shape: &[usize]) -> Nodes {
    let mut b = GraphBuilder::new("net", Layout::Nchw);
    let x = b.input("x", [&[1], shape].concat());
    let relu = Op::Activation { function: Activation::Relu };
    let y = b.node("inner", relu, &[x], []).unwrap();
    Nodes::new(&b.finish(&[y]).unwrap())
}

/// The loss `recipe` between values of these shapes, in a run over samples with these `labels`.
pub(super) fn bound(recipe: &str, shapes: [&[usize]; 2], labels: &[u32]) -> Result<WeightedSum> {
    let text = format!(r#"{{"kind": {recipe}, "student": "inner", "teacher": "inner"}}"#);
    let spec: LossSpec = serde_json::from_str(&text).unwrap();
    let mut loss = WeightedSum::new(&[spec])?;
    let [student, teacher] = shapes.map(nodes);
    loss.bind(&mut Surroundings {
        student: Wanted::new(&student),
        teacher: Wanted::new(&teacher),
        samples: labels.len(),
        labels: Some(labels),
        seed: 1,
        device: &Device::Cpu,
    })?;
    Ok(loss)
}

/// The first term, unweighted, for the samples `0..n`.
fn value(loss: &WeightedSum, student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let logits = Tensor::zeros((student.dim(0)?, 2), DType::F32, &Device::Cpu)?;
    let indices: Vec<usize> = (0..student.dim(0)?).collect();
    let (student, teacher) = ([student.clone()], [teacher.clone()]);
    let input = LossInput {
        student_features: &student,
        teacher_features: &teacher,
        indices: &indices,
        ..LossInput::new(&logits)
    };
    Ok(loss.forward(&input)?.total)
}

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn close(got: &Tensor, expected: f32) {
    let got: f32 = got.to_scalar().unwrap();
    assert!((got - expected).abs() < 1e-6, "{got}, not {expected}");
}

const LABELS: [u32; 6] = [0, 1, 2, 0, 1, 2];

#[test]
fn a_hint_is_the_mean_square_through_its_adapter() {
    let loss = bound(r#""hint", "weight": 1"#, [&[2], &[1]], &LABELS).unwrap();
    let parameters = loss.parameters();
    let names: Vec<_> = parameters.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["objective.0.hint.inner.inner.weight", "objective.0.hint.inner.inner.bias"]);
    parameters[0].var.set(&tensor(&[2.0, -1.0], &[1, 2])).unwrap();
    parameters[1].var.set(&tensor(&[0.5], &[1])).unwrap();
    let (student, teacher) = (tensor(&[1.0, 3.0, 2.0, 0.0], &[2, 2]), tensor(&[0.5, 1.5], &[2, 1]));
    // 2·1 - 3 + ½ - ½ = -1 and 2·2 + ½ - 1½ = 3: (1 + 9) / 2.
    close(&value(&loss, &student, &teacher).unwrap(), 5.0);
}

#[test]
fn attention_is_where_the_squares_are() {
    let loss = bound(r#""attention-transfer", "weight": 1"#, [&[2, 1, 2], &[1, 1, 2]], &LABELS);
    // Squares, mean over channels, at length 1: (0, 1) and (1, 0), then (3, 4) / 5 twice.
    let student = tensor(&[0.0, 2.0, 0.0, 1.0, 3.0_f32.sqrt(), 2.0, 0.0, 0.0], &[2, 2, 1, 2]);
    let teacher = tensor(&[-7.0, 0.0, 3.0_f32.sqrt(), -2.0], &[2, 1, 1, 2]);
    close(&value(&loss.unwrap(), &student, &teacher).unwrap(), 2.0 / 4.0);
    // A larger image is averaged down: rows (1, 3) and (5, 7) to 4, in each column.
    let loss = bound(r#""attention-transfer", "weight": 1"#, [&[1, 2, 2], &[1, 1, 2]], &LABELS);
    let student = tensor(&[1.0, 3.0, 5.0, 3.0], &[1, 1, 2, 2]);
    close(&value(&loss.unwrap(), &student, &tensor(&[3.0, 3.0], &[1, 1, 1, 2])).unwrap(), 0.0);
}

#[test]
fn relations_are_distances_and_angles_between_samples() {
    let loss = bound(r#""rkd""#, [&[1], &[2]], &LABELS).unwrap();
    let line = |at: [f32; 3]| tensor(&at, &[3, 1]);
    let slanted = |at: [f32; 3]| tensor(&at.map(|x| [3.0 * x, 4.0 * x]).concat(), &[3, 2]);
    // The size of the values does not count.
    close(&value(&loss, &line([0.0, 1.0, 3.0]), &slanted([0.0, 1.0, 3.0])).unwrap(), 0.0);
    // Distances 1, 3, 2 over their mean 2 against 1, 2, 1 over 4/3: ¼, 0 and ¼ apart, each pair
    // twice among nine; on a line the angles are the same.
    let expected = 25.0 * 4.0 * 0.5 * 0.0625 / 9.0;
    close(&value(&loss, &line([0.0, 1.0, 3.0]), &slanted([0.0, 1.0, 2.0])).unwrap(), expected);
    // A right angle at the first sample becomes one of 180°, so do its cosine 0 and -1; the two
    // others at 45° become 0°: six of 27 triples, the other sides of an angle being the same two.
    let loss = bound(r#""rkd", "distance": 0, "angle": 1"#, [&[2], &[1]], &LABELS).unwrap();
    let corner = tensor(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[3, 2]);
    let expected = (2.0 * 0.5 + 4.0 * 0.5 * (1.0 - 0.5_f32.sqrt()).powi(2)) / 27.0;
    close(&value(&loss, &corner, &line([0.0, -1.0, 1.0])).unwrap(), expected);
}

#[test]
fn similarities_are_rows_of_products_at_length_one() {
    let loss = bound(r#""similarity", "weight": 1"#, [&[2], &[2]], &LABELS).unwrap();
    // The student's rows are (1, 0) and (0, 1), the teacher's all 1/√2.
    let student = tensor(&[2.0, 0.0, 0.0, 3.0], &[2, 2]);
    let teacher = tensor(&[5.0, 0.0, 5.0, 0.0], &[2, 2]);
    let expected = 1.0 - 0.5_f32.sqrt();
    close(&value(&loss, &student, &teacher).unwrap(), expected);
}

#[test]
fn gradients_of_inner_values_equal_differences() {
    let image: &[usize] = &[2, 3, 2];
    for (recipe, student, teacher) in [
        (r#""hint", "weight": 1"#, image, &[3, 2, 4][..]),
        (r#""hint", "weight": 1"#, &[5], &[4]),
        (r#""attention-transfer", "weight": 9"#, image, &[1, 4, 4]),
        (r#""rkd", "distance": 2, "angle": 3"#, &[5], &[4]),
        (r#""similarity", "weight": 3"#, image, &[4]),
        // With momentum 1 the memory's rows stay, so that every step sees the same function.
        (r#""crd", "dimensions": 3, "temperature": 0.5, "momentum": 1, "weight": 1"#, &[5], &[4]),
        (
            r#""crd", "dimensions": 3, "temperature": 0.5, "momentum": 1, "negatives": 4"#,
            image,
            &[4],
        ),
    ] {
        let loss = bound(recipe, [student, teacher], &LABELS).unwrap();
        let x = distinct(&[&[4], student].concat(), 1.0, 3);
        let t = random(&[&[4], teacher].concat(), 4);
        // CRD's first batch brings its memory's rows to length 1 and sets its scale.
        value(&loss, &x, &t).unwrap();
        assert_gradients(recipe, &[x], |x| value(&loss, &x[0], &t));
    }
}

#[test]
fn no_gradient_flows_to_the_teachers_inner_values() {
    for recipe in ["hint", "attention-transfer", "rkd", "similarity", "crd"] {
        let shape: &[usize] = &[2, 2, 2];
        let loss = bound(&format!("{recipe:?}"), [shape, shape], &LABELS).unwrap();
        let [student, teacher] =
            [1, 2].map(|seed| Var::from_tensor(&random(&[3, 2, 2, 2], seed)).unwrap());
        let gradients = value(&loss, &student, &teacher).unwrap().backward().unwrap();
        assert!(values(gradients.get(&student).unwrap()).iter().any(|&g| g != 0.0), "{recipe}");
        assert!(gradients.get(&teacher).is_none(), "{recipe}");
        for parameter in loss.parameters() {
            assert!(gradients.get(&parameter.var).is_some(), "{recipe}: {}", parameter.name);
        }
    }
}

#[test]
fn values_that_are_all_zero_have_finite_losses_and_gradients() {
    for recipe in ["hint", "attention-transfer", "rkd", "similarity", "crd"] {
        let shape: &[usize] = &[2, 2, 2];
        let loss = bound(&format!("{recipe:?}"), [shape, shape], &LABELS).unwrap();
        let student = Var::zeros((3, 2, 2, 2), DType::F32, &Device::Cpu).unwrap();
        let value = value(&loss, &student, &random(&[3, 2, 2, 2], 2)).unwrap();
        assert!(value.to_scalar::<f32>().unwrap().is_finite(), "{recipe}");
        let gradients = value.backward().unwrap();
        let gradients = values(gradients.get(&student).unwrap());
        assert!(gradients.iter().all(|g| g.is_finite()), "{recipe}: {gradients:?}");
    }
}

#[test]
fn the_memory_of_crd_moves_for_the_samples_of_the_batch_only() {
    let loss = bound(r#""crd", "dimensions": 2"#, [&[3], &[3]], &LABELS).unwrap();
    let before = loss.state().unwrap();
    value(&loss, &random(&[2, 3], 1), &random(&[2, 3], 2)).unwrap();
    let after = loss.state().unwrap();
    let name = "objective.0.crd.student.memory";
    let (before, after) = (before[name].to_vec2::<f32>(), after[name].to_vec2::<f32>().unwrap());
    for (i, (old, new)) in before.unwrap().iter().zip(&after).enumerate() {
        assert_eq!(old != new, i < 2, "sample {i}");
        let length: f32 = new.iter().map(|x| x * x).sum();
        assert!(i >= 2 || (length - 1.0).abs() < 1e-5, "{length}");
    }
    // Put back, it gives the same loss again.
    let again = |state| {
        loss.load_state(state).unwrap();
        let loss = value(&loss, &random(&[2, 3], 1), &random(&[2, 3], 2)).unwrap();
        loss.to_scalar::<f32>().unwrap().to_bits()
    };
    let state = loss.state().unwrap();
    assert_eq!(again(&state), again(&state));
    assert!(loss.load_state(&BTreeMap::new()).is_err());
}

#[test]
fn nodes_that_cannot_be_compared_are_refused_with_their_shapes() {
    let error = |recipe: &str, shapes| bound(recipe, shapes, &LABELS).err().unwrap().to_string();
    let text = error(r#""hint""#, [&[2, 3, 3], &[5]]);
    assert!(text.contains(r#"node "inner" gives [2, 3, 3] a sample, the teacher's "inner" [5]"#));
    assert!(text.contains("a hint needs two images"), "{text}");
    let text = error(r#""attention-transfer""#, [&[4], &[4]]);
    assert!(text.contains("between two images [c, h, w]"), "{text}");
    for recipe in [
        r#""crd", "negatives": 0"#,
        r#""crd", "dimensions": 0"#,
        r#""crd", "momentum": 1.5"#,
        r#""rkd", "angle": -1"#,
    ] {
        assert!(bound(recipe, [&[4], &[4]], &LABELS).is_err(), "{recipe}");
    }
    let of = |text: &str| serde_json::from_str::<LossSpec>(text).unwrap();
    // A loss that was not told its nodes says so.
    let logits = random(&[2, 2], 1);
    let unbound = of(r#"{"kind": "rkd"}"#).build().unwrap();
    assert_eq!(unbound.forward(&LossInput::new(&logits)).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn the_defaults_of_inner_losses_are_the_papers() {
    let of = |text: &str| serde_json::from_str::<LossSpec>(text).unwrap();
    let (student, teacher) = (None, None);
    assert_eq!(
        of(r#"{"kind": "rkd"}"#),
        LossSpec::Rkd {
            student: student.clone(),
            teacher: teacher.clone(),
            distance: 25.0,
            angle: 50.0,
            weight: 1.0,
        }
    );
    let crd = LossSpec::Crd {
        student,
        teacher,
        dimensions: 128,
        negatives: 16_384,
        temperature: Temperature::new(0.07).unwrap(),
        momentum: 0.5,
        weight: 0.8,
    };
    assert_eq!(of(r#"{"kind": "crd"}"#), crd);
    let weight = |kind: &&str| of(&format!(r#"{{"kind": "{kind}"}}"#)).weight();
    let weights: Vec<f64> =
        ["hint", "attention-transfer", "similarity"].iter().map(weight).collect();
    assert_eq!(weights, [100.0, 1000.0, 3000.0]);
}
