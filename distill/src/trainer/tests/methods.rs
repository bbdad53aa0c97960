//! Losses of inner values and mixtures in training: the same bits after a break, and who can teach so.

use super::*;
use crate::teacher::stub::Fixed;

/// Every loss of inner values beside the logits'.
fn inner() -> Vec<LossSpec> {
    let recipe = r#"[
        {"kind": "kd"},
        {"kind": "hint", "student": "relu1", "teacher": "relu1", "weight": 1},
        {"kind": "attention-transfer", "student": "pool1", "teacher": "bn1", "weight": 10},
        {"kind": "rkd"},
        {"kind": "similarity", "weight": 10},
        {"kind": "crd", "dimensions": 8, "negatives": 40, "weight": 0.01}
    ]"#;
    serde_json::from_str(recipe).unwrap()
}

#[test]
fn a_run_with_adapters_and_a_memory_that_was_cut_short_ends_with_the_same_weights() {
    let (graph, data) = (network(5, 1), digits(&[Augment::Crop(1)], 200));
    let mut whole = plain(&graph, &data, spec(2, &inner()));
    let teacher = Mortal::new(usize::MAX);
    whole.teacher = Some(&teacher);
    let reference = whole.train().unwrap();
    // Cut in both epochs and between them.
    for answers in [3, 7, 10] {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state.safetensors");
        let every = Some(Duration::ZERO);
        let files = Files { checkpoint: Some(&state), resume: true, every, ..Files::default() };
        let mortal = Mortal::new(answers);
        let mut run = Run { files, ..whole.clone() };
        run.teacher = Some(&mortal);
        assert_eq!(run.error().kind(), ErrorKind::Teacher);
        run.teacher = Some(&teacher);
        assert!(run.train().unwrap() == reference, "cut after {answers} steps");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let other = pool.install(|| {
        let teacher = Mortal::new(usize::MAX);
        let mut run = plain(&graph, &data, spec(2, &inner()));
        run.teacher = Some(&teacher);
        run.train().unwrap()
    });
    assert!(other == reference, "3 threads");
}

#[test]
fn inner_values_are_asked_live_also_where_views_are_cached() {
    let folder = tempfile::tempdir().unwrap();
    let (graph, data) = (network(5, 1), digits(&[Augment::Crop(1)], 100));
    let views = Some(Views { count: 1, seed: 0, precision: Precision::F32 });
    let mut run = plain(&graph, &data, TrainSpec { views, ..spec(2, &inner()) });
    run.files.soft_targets = Some(folder.path());
    // 100 samples are four batches in each of two epochs.
    let teacher = Mortal::new(8);
    run.teacher = Some(&teacher);
    run.train().unwrap();
    assert_eq!(teacher.answers.get(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn teachers_that_show_their_logits_only_and_unknown_nodes_are_refused() {
    let (graph, data) = (network(5, 1), digits(&[], 100));
    let mut run = plain(&graph, &data, spec(1, &inner()));
    let fixed = Fixed::new(&[0.0; 10]);
    run.teacher = Some(&fixed);
    let error = run.error();
    assert_eq!(error.kind(), ErrorKind::Teacher);
    assert!(error.to_string().contains("shows its logits only"), "{error}");
    let teacher = Mortal::new(usize::MAX);
    run.teacher = Some(&teacher);
    let hint = r#"[{"kind": "hint", "student": "relu1", "teacher": "relu2"}]"#;
    run.spec.loss = serde_json::from_str(hint).unwrap();
    let error = run.error();
    assert!(error.to_string().contains(r#"did you mean "relu1"?"#), "{error}");
}

#[test]
fn mixtures_are_learnt_and_replayed_from_cached_views() {
    let folder = tempfile::tempdir().unwrap();
    let (graph, data) = (network(5, 1), digits(&[Augment::Crop(1)], 200));
    let mix = serde_json::from_str(r#"{"kind": "cutmix"}"#).ok();
    let loss = [kd(), vec![LABELS]].concat();
    let views = Some(Views { count: 2, seed: 0, precision: Precision::F32 });
    let teacher = Mortal::new(usize::MAX);
    let mut run = plain(&graph, &data, TrainSpec { mix, views, ..spec(4, &loss) });
    run.teacher = Some(&teacher);
    let live = run.train().unwrap();
    run.files.soft_targets = Some(folder.path());
    // 200 samples are two questions a view.
    let counted = Mortal::new(4);
    run.teacher = Some(&counted);
    let cached = run.train().unwrap();
    assert_eq!(counted.answers.get(), 0);
    let differs = |a: &Graph, b: &Graph| {
        let far = |(x, y): (&f32, &f32)| (x - y).abs() > 1e-3;
        a.tensors.iter().any(|(name, tensor)| {
            tensor.f32s().unwrap().iter().zip(b.tensors[name].f32s().unwrap().iter()).any(far)
        })
    };
    // Batches of other sizes round otherwise.
    assert!(!differs(&live, &cached));
    // The control sees the same mixtures, an unmixed run others.
    let control = TrainSpec { mix, ..spec(4, &loss) }.labels_only();
    assert_eq!(control.mix, mix);
    let unmixed = plain(&graph, &data, TrainSpec { mix: None, ..control.clone() });
    let mixed = Run { spec: control, ..unmixed.clone() };
    assert!(differs(&mixed.train().unwrap(), &unmixed.train().unwrap()));
    // A memory of samples has no place for mixtures.
    let crd = TrainSpec { mix, ..spec(1, &inner()) };
    let mut refused = plain(&graph, &data, crd);
    refused.teacher = Some(&teacher);
    assert!(refused.error().to_string().contains("leave crd or mix out"));
}
