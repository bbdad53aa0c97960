//! Networks that are trained together: what each learns from the others, resuming, refusing.

use super::*;
use crate::loss::{LossInput, WeightedSum};
use crate::trainer::{Peer, train_with_peers};

fn mutual() -> Vec<LossSpec> {
    serde_json::from_str(r#"[{"kind": "cross-entropy"}, {"kind": "mutual"}]"#).unwrap()
}

fn together(run: &super::Run<'_>, peers: &[&Graph]) -> Result<Vec<Trained>> {
    let training = Training {
        role: "student",
        graph: run.graph,
        data: run.data,
        calibration: None,
        teacher: run.teacher,
        spec: &run.spec,
        seed: 3,
        device: &Device::Cpu,
        files: run.files,
    };
    let roles: Vec<String> = (1..=peers.len()).map(|i| format!("peer-{i}")).collect();
    let metrics: Vec<PathBuf> = match run.files.metrics.and_then(std::path::Path::parent) {
        Some(folder) => roles.iter().map(|role| folder.join(role)).collect(),
        None => Vec::new(),
    };
    let peers = roles.iter().zip(peers).enumerate().map(|(i, (role, graph))| {
        let metrics = metrics.get(i).map(PathBuf::as_path);
        Peer { role, graph, metrics, events: None }
    });
    train_with_peers(&training, &peers.collect::<Vec<_>>(), &mut Silent)
}

fn graphs(trained: Vec<Trained>) -> Vec<Graph> {
    trained.into_iter().map(Trained::into_kept).collect()
}

#[test]
fn a_step_is_that_of_labels_and_the_mean_of_what_the_others_said_before_it() {
    let data = digits(&[], 120);
    let networks = [network(4, 1), network(6, 2), network(5, 3)];
    let mut run = plain(&networks[0], &data, spec(1, &mutual()));
    // One step of plain gradient descent on all samples: its result can be computed apart.
    let rate = 0.1;
    run.spec.batch_size = data.train.len();
    run.spec.optimizer =
        serde_json::from_str(r#"{"kind": "sgd", "lr": 0.1, "momentum": 0.0}"#).unwrap();
    (run.spec.schedule, run.spec.clip_norm) = (ScheduleSpec::Constant, None);
    let trained = graphs(together(&run, &[&networks[1], &networks[2]]).unwrap());

    let batch = data.training_batches(3, 0, data.train.len()).unwrap().next().unwrap();
    let images = Tensor::from_vec(batch.values, &batch.shape[..], &Device::Cpu).unwrap();
    let labels = Tensor::new(batch.labels.unwrap(), &Device::Cpu).unwrap();
    let before = networks.map(|graph| Network::new(&graph, &Device::Cpu).unwrap());
    let said = before.each_ref().map(|network| network.forward(&images, Mode::Train).unwrap());
    // The paper's objective of two peers, out of cross-entropy and Hinton's loss at temperature 1.
    let term = |weight: f64, text: &str| {
        let loss: LossSpec = serde_json::from_str(text).unwrap();
        (weight, WeightedSum::new(&[loss]).unwrap())
    };
    for (own, (network, trained)) in before.iter().zip(&trained).enumerate() {
        let value = |(weight, loss): (f64, WeightedSum), teacher: Option<&Tensor>| {
            let labels = Some(&labels);
            let input = LossInput { teacher_logits: teacher, labels, ..LossInput::new(&said[own]) };
            (loss.forward(&input).unwrap().total * weight).unwrap()
        };
        let mut total = value(term(1.0, r#"{"kind": "cross-entropy"}"#), None);
        for other in (0..3).filter(|&other| other != own) {
            let kd = term(0.5, r#"{"kind": "kd", "temperature": 1.0}"#);
            total = (total + value(kd, Some(&said[other]))).unwrap();
        }
        let gradients = total.backward().unwrap();
        for parameter in network.parameters() {
            let step = (gradients.get(&parameter.var).unwrap() * rate).unwrap();
            let wanted = (parameter.var.as_tensor() - step).unwrap();
            let wanted = wanted.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let found = trained.tensors[&parameter.name].f32s().unwrap();
            for (found, wanted) in found.iter().zip(wanted) {
                let name = &parameter.name;
                assert!((found - wanted).abs() < 1e-6, "{own} {name}: {found}, not {wanted}");
            }
        }
    }
}

#[test]
fn peers_without_weight_change_nothing() {
    let data = digits(&[Augment::Crop(1)], 200);
    let [student, peer] = [network(5, 1), network(7, 2)];
    let alone = plain(&student, &data, spec(2, &[LABELS])).train().unwrap();
    let mut loss = mutual();
    let temperature = crate::loss::Temperature::one().into();
    loss[1] = LossSpec::Mutual { temperature, weight: 0.0 };
    let run = plain(&student, &data, spec(2, &loss));
    assert!(graphs(together(&run, &[&peer]).unwrap())[0] == alone);
    let run = plain(&student, &data, spec(2, &mutual()));
    assert!(graphs(together(&run, &[&peer]).unwrap())[0] != alone);
}

#[test]
fn networks_cut_short_together_end_with_the_same_weights() {
    let data = digits(&[Augment::Crop(1)], 200);
    let networks = [network(5, 1), network(7, 2), network(4, 3)];
    let others = [&networks[1], &networks[2]];
    let teacher = Mortal::new(usize::MAX);
    // The teacher, which all three learn from too, is what dies.
    let mut whole = plain(&networks[0], &data, spec(3, &[mutual(), kd()].concat()));
    (whole.spec.ema, whole.spec.keep) = (Some(0.9), Keep::Best);
    whole.teacher = Some(&teacher);
    let reference = together(&whole, &others).unwrap();
    let reached: Vec<_> = reference.iter().map(|t| t.summary.best).collect();
    let reference = graphs(reference);
    for (answers, every) in [(3, 0), (7, 60), (9, 60), (9, 0), (20, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let (state, metrics) = (folder.path().join("s.safetensors"), folder.path().join("m"));
        let mortal = Mortal::new(answers);
        let mut run = whole.clone();
        run.files = Files {
            checkpoint: Some(&state),
            metrics: Some(&metrics),
            resume: true,
            every: Some(Duration::from_secs(every)),
            ..Files::default()
        };
        run.teacher = Some(&mortal);
        assert_eq!(together(&run, &others).unwrap_err().kind(), ErrorKind::Teacher);
        run.teacher = Some(&teacher);
        let resumed = together(&run, &others).unwrap();
        assert_eq!(resumed.iter().map(|t| t.summary.best).collect::<Vec<_>>(), reached);
        assert!(graphs(resumed) == reference, "cut after {answers} steps");
        for name in ["m", "peer-1", "peer-2"] {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(text.lines().count(), 3, "{name}");
        }
    }
}

#[test]
fn peers_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.safetensors");
    let data = digits(&[], 100);
    let [student, peer, other] = [network(4, 1), network(5, 2), network(5, 3)];
    let mut run = plain(&student, &data, spec(1, &mutual()));
    let error = run.error();
    assert_eq!((error.kind(), error.at()), (ErrorKind::Config, "student"));
    assert!(error.to_string().contains("the objective needs peers, the run has none"), "{error}");
    let few = crate::network::NetworkSpec { network: Some("mlp".into()), ..Default::default() };
    let few = few.build(&[1, 8, 8], 7, 1).unwrap();
    let error = together(&run, &[&few]).unwrap_err();
    assert_eq!((error.kind(), error.at()), (ErrorKind::Shape, "peer-1"));
    assert!(error.to_string().contains("tells 7 classes apart, the data has 10"), "{error}");
    run.files = Files { checkpoint: Some(&state), resume: true, ..Files::default() };
    together(&run, &[&peer]).unwrap();
    for others in [&[&other][..], &[&peer, &other]] {
        let error = together(&run, others).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checkpoint);
        assert!(error.to_string().contains("differs in the peers;"), "{error}");
    }
}
