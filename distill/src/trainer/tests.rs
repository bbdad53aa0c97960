//! The trainer on the built-in digits: learning, repeating, resuming, refusing.
#![expect(clippy::unwrap_used, reason = "tests")]

mod methods;
mod peers;
mod rounded;

use std::cell::Cell;
use std::path::PathBuf;

use candle_core::Tensor;
use hipflask_runtime::Tensor as Weights;
use hipflask_runtime::graph::{Activation, GraphBuilder, Layout, Op};
use hipflask_runtime::input::{ImagePreprocess, Preprocess};

use super::*;
use crate::data::{Augment, DataSpec, Places};
use crate::evaluate::{accuracy, network_logits};
use crate::interpreter::{Forward, Mode, Nodes};
use crate::loss::{LossSpec, TemperatureSchedule};
use crate::optim::{OptimizerSpec, ScheduleSpec};
use crate::random::Stream;
use crate::soft_targets::{Precision, Views};
use crate::teacher::Answer;

/// A convolution with batch norm, a pool and a linear layer.
fn network(channels: usize, seed: u64) -> Graph {
    let weights = |name: &str, shape: &[usize], bound: f32| {
        let mut stream = Stream::new(seed, name, &[]);
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| (stream.unit() * 2.0 - 1.0) * bound).collect();
        Weights::from_f32(shape, &values)
    };
    let ones = |v: f32| Weights::from_f32([channels], &vec![v; channels]);
    let mut b = GraphBuilder::new("small", Layout::Nchw);
    let x = b.input("image", [1, 1, 8, 8]);
    let conv = Op::Conv2d { stride: [1; 2], padding: [1; 4], dilation: [1; 2], groups: 1 };
    let w = weights("conv", &[channels, 1, 3, 3], 0.3);
    let y = b.node("conv1", conv, &[x], [("weight", w)]).unwrap();
    let norm = [
        ("weight", ones(1.0)),
        ("bias", ones(0.0)),
        ("running_mean", ones(0.0)),
        ("running_var", ones(1.0)),
    ];
    let y = b.node("bn1", Op::BatchNorm { eps: 1e-5 }, &[y], norm).unwrap();
    let y = b.node("relu1", Op::Activation { function: Activation::Relu }, &[y], []).unwrap();
    let pool = Op::MaxPool2d { kernel: [2; 2], stride: [2; 2], padding: [0; 4] };
    let y = b.node("pool1", pool, &[y], []).unwrap();
    let y = b.node("flatten", Op::Flatten, &[y], []).unwrap();
    let w = weights("fc", &[10, channels * 16], 0.1);
    let bias = weights("bias", &[10], 0.1);
    let y = b.node("fc", Op::Linear, &[y], [("weight", w), ("bias", bias)]).unwrap();
    b.finish(&[y]).unwrap()
}

fn digits(augment: &[Augment], limit: usize) -> DataSet {
    let spec = DataSpec {
        augment: augment.to_vec(),
        limit: Some(limit),
        validation: 100,
        ..DataSpec::default()
    };
    DataSet::open(&spec, &Places::default(), 7).unwrap()
}

fn spec(epochs: usize, loss: &[LossSpec]) -> TrainSpec {
    TrainSpec {
        epochs,
        batch_size: 32,
        optimizer: OptimizerSpec::default(),
        schedule: ScheduleSpec::Cosine { warmup: 0.5, final_fraction: 0.0 },
        clip_norm: Some(5.0),
        loss: loss.to_vec(),
        ..TrainSpec::default()
    }
}

const LABELS: LossSpec = LossSpec::CrossEntropy { weight: 1.0, label_smoothing: 0.0 };

fn kd() -> Vec<LossSpec> {
    vec![
        LossSpec::Kd { temperature: TemperatureSchedule::default(), weight: 0.9 },
        LossSpec::Mse { weight: 0.1 },
    ]
}

/// A network as teacher that fails after so many answers, as a killed process would.
struct Mortal {
    network: Network,
    answers: Cell<usize>,
    preprocess: Option<Preprocess>,
}

impl Mortal {
    fn new(answers: usize) -> Self {
        let network = Network::new(&network(12, 99), &Device::Cpu).unwrap();
        Self { network, answers: Cell::new(answers), preprocess: None }
    }
}

impl Teacher for Mortal {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.answer(images, &[])?.logits)
    }

    fn answer(&self, images: &Tensor, features: &[&str]) -> Result<Answer> {
        if self.answers.get() == 0 {
            return Err(Error::new(ErrorKind::Teacher, "teacher", "died"));
        }
        self.answers.set(self.answers.get() - 1);
        let Forward { output, features } =
            self.network.forward_with(images, Mode::Evaluate, features)?;
        Ok(Answer { logits: output, features })
    }

    fn nodes(&self) -> Option<&Nodes> {
        Some(self.network.nodes())
    }

    fn classes(&self) -> usize {
        10
    }

    fn name(&self) -> &'static str {
        "mortal"
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        self.preprocess.as_ref()
    }

    fn fingerprint(&self) -> String {
        "mortal".into()
    }
}

#[derive(Clone)]
struct Run<'a> {
    graph: &'a Graph,
    data: &'a DataSet,
    spec: TrainSpec,
    teacher: Option<&'a dyn Teacher>,
    files: Files<'a>,
}

impl Run<'_> {
    fn train(&self) -> Result<Graph> {
        Ok(self.trained()?.into_kept())
    }

    fn trained(&self) -> Result<Trained> {
        train(&self.training(), &mut Silent)
    }

    fn training(&self) -> Training<'_> {
        Training {
            role: "student",
            graph: self.graph,
            data: self.data,
            calibration: None,
            teacher: self.teacher,
            spec: &self.spec,
            seed: 3,
            device: &Device::Cpu,
            files: self.files,
        }
    }

    fn error(&self) -> Error {
        self.train().unwrap_err()
    }
}

fn plain<'a>(graph: &'a Graph, data: &'a DataSet, spec: TrainSpec) -> Run<'a> {
    Run { graph, data, spec, teacher: None, files: Files::default() }
}

#[test]
fn a_small_network_learns_the_digits_and_says_how_well() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = folder.path().join("metrics.jsonl");
    let (graph, data) = (network(16, 1), digits(&[], 1337));
    let mut run = plain(&graph, &data, spec(8, &[LABELS]));
    run.spec.optimizer = serde_json::from_str(r#"{"kind": "adamw", "lr": 3e-3}"#).unwrap();
    run.files.metrics = Some(&metrics);
    let trained = run.train().unwrap();
    let network = Network::new(&trained, &Device::Cpu).unwrap();
    let logits = network_logits(&network, &data, &data.test).unwrap();
    let reached = accuracy(&logits, data.test.labels.as_ref().unwrap());
    // Logistic regression reaches 96.67 % on these samples.
    assert!(reached > 0.94, "{reached}");
    let text = std::fs::read_to_string(&metrics).unwrap();
    let epochs: Vec<EpochMetrics> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(epochs.iter().map(|m| m.epoch).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let (first, last) = (&epochs[0], &epochs[7]);
    assert!(last.loss < first.loss / 3.0, "{} then {}", first.loss, last.loss);
    assert_eq!(last.step, 8 * 42);
    assert!((last.terms["cross-entropy"] - last.loss).abs() < 1e-9);
    assert!(last.validation_accuracy.unwrap() > 0.9 && last.train_accuracy.unwrap() > 0.9);
    assert!(last.lr_factor < 0.01 && last.gradient_norm.unwrap() > 0.0);
}

#[test]
fn the_same_run_gives_the_same_bits_on_any_number_of_threads() {
    let (graph, data) = (network(5, 1), digits(&[Augment::Crop(1)], 200));
    let teacher = Mortal::new(usize::MAX);
    let run = || {
        let mut run = plain(&graph, &data, spec(2, &kd()));
        run.teacher = Some(&teacher);
        run.train().unwrap()
    };
    let reference = run();
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        // `Cell` keeps the teacher on its thread: each pool trains with its own.
        let other = pool.install(|| {
            let teacher = Mortal::new(usize::MAX);
            let mut run = plain(&graph, &data, spec(2, &kd()));
            run.teacher = Some(&teacher);
            run.train().unwrap()
        });
        assert!(other == reference, "{threads} threads");
    }
    let other = plain(&network(5, 2), &data, spec(2, &[LABELS])).train().unwrap();
    assert!(other != reference);
}

#[test]
fn a_run_that_was_cut_short_anywhere_ends_with_the_same_weights() {
    let (graph, data) = (network(5, 1), digits(&[Augment::Crop(1)], 200));
    let teacher = Mortal::new(usize::MAX);
    let mut whole = plain(&graph, &data, spec(3, &kd()));
    whole.teacher = Some(&teacher);
    let reference = whole.train().unwrap();
    // 200 samples are 7 batches an epoch: cut within the first, at a border, and in the last.
    for (answers, every) in [(3, 0), (7, 60), (9, 60), (9, 0), (20, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let (state, metrics) = (folder.path().join("s.safetensors"), folder.path().join("m.jsonl"));
        let files = Files {
            checkpoint: Some(&state),
            metrics: Some(&metrics),
            resume: true,
            every: Some(Duration::from_secs(every)),
            ..Files::default()
        };
        let mortal = Mortal::new(answers);
        let mut run = plain(&graph, &data, spec(3, &kd()));
        run.files = files;
        run.teacher = Some(&mortal);
        assert_eq!(run.error().kind(), ErrorKind::Teacher);
        assert_eq!(state.is_file(), every == 0 || answers >= 7);
        run.teacher = Some(&teacher);
        assert!(run.train().unwrap() == reference, "cut after {answers} steps");
        let lines = std::fs::read_to_string(&metrics).unwrap().lines().count();
        assert_eq!(lines, 3, "cut after {answers} steps");
        // Going on with what is finished changes nothing.
        assert!(run.train().unwrap() == reference);
    }
}

#[test]
fn a_checkpoint_of_another_run_or_a_damaged_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state: PathBuf = folder.path().join("state.safetensors");
    let (graph, data) = (network(4, 1), digits(&[], 100));
    let mut run = plain(&graph, &data, spec(1, &[LABELS]));
    run.files = Files { checkpoint: Some(&state), resume: true, ..Files::default() };
    run.train().unwrap();
    run.spec.epochs = 2;
    let error = run.error();
    assert_eq!(error.kind(), ErrorKind::Checkpoint);
    assert!(error.to_string().contains("differs in the training options"), "{error}");
    let other = digits(&[Augment::Flip], 100);
    let moved = Run { data: &other, spec: spec(1, &[LABELS]), ..run };
    assert!(moved.error().to_string().contains("differs in the data"));
    let bytes = std::fs::read(&state).unwrap();
    for end in [0, 5, 100, bytes.len() - 1] {
        std::fs::write(&state, &bytes[..end]).unwrap();
        let error = moved.error();
        assert_eq!(error.kind(), ErrorKind::Checkpoint);
        assert!(error.to_string().contains("without --resume"), "{error}");
    }
}

#[test]
fn a_diverging_run_stops_says_where_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.safetensors");
    let (graph, data) = (network(4, 1), digits(&[], 96));
    for clip in [None, Some(1.0)] {
        let mut run = plain(&graph, &data, spec(2, &[LABELS]));
        run.files = Files { checkpoint: Some(&state), ..Files::default() };
        run.spec.clip_norm = clip;
        run.spec.optimizer = serde_json::from_str(r#"{"kind": "sgd", "lr": 0.1}"#).unwrap();
        // The second epoch's learning rate is beyond all measure.
        let milestones = vec![1.0];
        run.spec.schedule = ScheduleSpec::Step { warmup: 0.0, milestones, gamma: 1e39 };
        let error = run.error();
        assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");
        let text = error.to_string();
        assert!(text.contains("epoch 2, step") && text.contains("optimizer.lr"), "{text}");
        assert!(text.contains("kept in") && text.contains("state.safetensors"), "{text}");
        let kept = std::fs::read(&state).unwrap();
        run.files.resume = true;
        assert_eq!(run.error().to_string(), text);
        assert!(std::fs::read(&state).unwrap() == kept, "the checkpoint changed");
        // One that fails in its first epoch has none, whatever an earlier run left.
        run.files.resume = false;
        run.spec.schedule = ScheduleSpec::Step { warmup: 0.0, milestones: vec![0.0], gamma: 1e39 };
        let text = run.error().to_string();
        assert!(text.contains("epoch 1, step") && !text.contains("kept in"), "{text}");
    }
}

#[test]
fn unlabelled_images_are_enough_for_soft_targets_only() {
    let (graph, mut data) = (network(4, 1), digits(&[], 100));
    (data.train.labels, data.validation) = (None, None);
    let teacher = Mortal::new(usize::MAX);
    let mut run = plain(&graph, &data, spec(1, &kd()));
    run.teacher = Some(&teacher);
    assert!(run.train().unwrap() != graph);
    run.spec.loss = vec![LABELS];
    assert!(run.error().to_string().contains("needs labels"));
}

#[test]
fn a_teacher_is_asked_once_where_images_stay_the_same_and_not_at_all_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.safetensors");
    let (graph, data) = (network(4, 1), digits(&[], 200));
    let mut run = plain(&graph, &data, spec(3, &kd()));
    run.files = Files { checkpoint: Some(&state), resume: true, ..Files::default() };
    // 200 samples are two batches of an evaluation.
    let teacher = Mortal::new(2);
    run.teacher = Some(&teacher);
    let trained = run.train().unwrap();
    assert_eq!(teacher.answers.get(), 0);
    assert!(run.train().unwrap() == trained);
}

#[test]
fn a_run_with_cached_views_that_was_cut_short_ends_with_the_same_weights() {
    let (graph, data) = (network(5, 1), digits(&[Augment::Crop(1)], 200));
    let views = Some(Views { count: 2, seed: 0, precision: Precision::F32 });
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let teacher = Mortal::new(4);
    let mut run = plain(&graph, &data, TrainSpec { views, ..spec(4, &kd()) });
    run.teacher = Some(&teacher);
    run.files.soft_targets = Some(folders[0].path());
    let reference = run.train().unwrap();
    // 200 samples are two questions a view.
    assert_eq!(teacher.answers.get(), 0);
    let state = folders[1].path().join("state.safetensors");
    run.files = Files {
        checkpoint: Some(&state),
        resume: true,
        soft_targets: Some(folders[1].path()),
        ..Files::default()
    };
    // Dies while the second view is asked.
    let mortal = Mortal::new(3);
    run.teacher = Some(&mortal);
    assert_eq!(run.error().kind(), ErrorKind::Teacher);
    let teacher = Mortal::new(2);
    run.teacher = Some(&teacher);
    assert!(run.train().unwrap() == reference);
    assert_eq!(teacher.answers.get(), 0);
    // Asked live, the same views give the same answers, here in batches of other sizes.
    run.files = Files::default();
    let live = Mortal::new(usize::MAX);
    run.teacher = Some(&live);
    run.train().unwrap();
    assert_eq!(usize::MAX - live.answers.get(), 4 * 7);
}

#[test]
fn a_teacher_with_its_own_standardisation_gets_it() {
    // With the student's pixels at half the scale, a teacher that is told so answers the same.
    let data = digits(&[Augment::Crop(1)], 100);
    let mut halved = data.clone();
    halved.preprocess =
        Preprocess::Image(ImagePreprocess { std: vec![2.0], ..ImagePreprocess::default() });
    let targets = |data: &DataSet, preprocess: Option<Preprocess>| {
        let mut teacher = Mortal::new(usize::MAX);
        teacher.preprocess = preprocess;
        let batch = data.training_batches(1, 0, 50).unwrap().next().unwrap();
        let images = Tensor::from_slice(&batch.values, &batch.shape[..], &Device::Cpu).unwrap();
        let targets = crate::soft_targets::SoftTargets::new(&teacher, data, None, None, None);
        targets.answer(&batch, &images, &Device::Cpu, &[]).unwrap().logits.to_vec2::<f32>().unwrap()
    };
    let own = Some(data.preprocess.clone());
    assert_eq!(targets(&halved, own), targets(&data, None));
    assert_ne!(targets(&halved, None), targets(&data, None));
}

#[test]
fn what_does_not_fit_together_is_refused_before_training() {
    let (graph, data) = (network(4, 1), digits(&[], 100));
    let resized = DataSpec { resize: Some([28, 28]), ..DataSpec::default() };
    let resized = DataSet::open(&resized, &Places::default(), 0).unwrap();
    let mut empty = data.clone();
    empty.train = data.train.none();
    let mut unheld = data.clone();
    unheld.validation = None;
    let mut more = data.clone();
    more.classes = 11;
    let ok = || spec(1, &[LABELS]);
    let (no_epochs, no_batch) =
        (TrainSpec { epochs: 0, ..ok() }, TrainSpec { batch_size: 0, ..ok() });
    for (data, spec, words) in [
        (&resized, ok(), "the data gives [1, 1, 28, 28]"),
        (&empty, ok(), "data.train"),
        (&more, ok(), "tells 10 classes apart, the data has 11"),
        (&data, no_epochs, "epochs"),
        (&data, no_batch, "batch_size"),
        (&data, spec(1, &kd()), "needs a teacher"),
        (&data, spec(1, &[]), "nothing to train"),
        (&data, TrainSpec { clip_norm: Some(0.0), ..ok() }, "clip_norm"),
        (&data, TrainSpec { ema: Some(1.0), ..ok() }, "ema: 1 must be"),
        (&data, TrainSpec { minutes: Some(f64::NAN), ..ok() }, "minutes: NaN must be"),
        (&data, TrainSpec { accumulate: 0, ..ok() }, "accumulate"),
        (&unheld, TrainSpec { keep: Keep::Best, ..ok() }, "keep goes by the validation accuracy"),
        (
            &unheld,
            TrainSpec { early_stopping: Some(EarlyStopping::default()), ..ok() },
            "data.validation (the test samples are never used for that)",
        ),
    ] {
        let error = plain(&graph, data, spec).error().to_string();
        assert!(error.contains(words), "{error} has no {words:?}");
    }
}

#[test]
fn a_last_batch_of_one_sample_is_left_out() {
    let (graph, data) = (network(4, 1), digits(&[], 97));
    let folder = tempfile::tempdir().unwrap();
    let metrics = folder.path().join("metrics.jsonl");
    let mut run = plain(&graph, &data, spec(1, &[LABELS]));
    run.files.metrics = Some(&metrics);
    run.train().unwrap();
    let line = std::fs::read_to_string(&metrics).unwrap();
    assert_eq!(serde_json::from_str::<EpochMetrics>(&line).unwrap().step, 3);
}

#[test]
fn accumulated_batches_are_one_big_batch() {
    // No batch norm, whose statistics are each batch's own. 100 samples, ragged on both sides:
    // batches of 16 by threes (48, 48, 4) against batches of 48.
    let spec_of = |batch_size, accumulate| TrainSpec {
        batch_size,
        accumulate,
        schedule: ScheduleSpec::Constant,
        optimizer: serde_json::from_str(r#"{"kind": "sgd", "lr": 0.1}"#).unwrap(),
        ..spec(2, &[LABELS])
    };
    let data = digits(&[Augment::Crop(1)], 200);
    let data = DataSet { train: data.train.select(&(0..100).collect::<Vec<_>>()), ..data };
    let graph = crate::network::NetworkSpec {
        layers: Some(vec!["conv 4 3x3".into(), "relu".into(), "linear 16".into(), "relu".into()]),
        ..crate::network::NetworkSpec::default()
    };
    let graph = graph.build(&[1, 8, 8], 10, 1).unwrap();
    let parts = plain(&graph, &data, spec_of(16, 3)).train().unwrap();
    let whole = plain(&graph, &data, spec_of(48, 1)).train().unwrap();
    let values = |graph: &Graph| -> Vec<f32> {
        graph.tensors.values().flat_map(|t| t.f32s().unwrap().to_vec()).collect()
    };
    let (parts, whole, before) = (values(&parts), values(&whole), values(&graph));
    let far =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // Six steps whose sums are taken in another order: some units in the last place of 0.1.
    assert!(far(&parts, &whole) < 1e-6, "{}", far(&parts, &whole));
    assert!(far(&before, &whole) > 0.01);
}

#[test]
fn the_moving_average_is_what_is_validated_and_kept() {
    let (graph, data) = (network(4, 1), digits(&[], 200));
    let mut run = plain(&graph, &data, spec(2, &[LABELS]));
    let plain = run.trained().unwrap();
    // A decay of 0 follows at once: the same network. Another is another.
    run.spec.ema = Some(0.0);
    let followed = run.trained().unwrap();
    let near = |a: &Graph, b: &Graph| {
        a.tensors.iter().all(|(name, tensor)| {
            let (a, b) = (tensor.f32s().unwrap(), b.tensors[name].f32s().unwrap());
            a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() < 1e-5)
        })
    };
    assert!(near(&followed.last, &plain.last));
    run.spec.ema = Some(0.9);
    let averaged = run.trained().unwrap();
    assert!(!near(&averaged.last, &plain.last));
    let network = Network::new(&averaged.last, &Device::Cpu).unwrap();
    let split = data.validation.as_ref().unwrap();
    let logits = network_logits(&network, &data, split).unwrap();
    let reached = accuracy(&logits, split.labels.as_ref().unwrap());
    assert_eq!(averaged.summary.last.validation_accuracy, Some(reached));
}

#[test]
fn a_run_that_grows_no_more_stops_early_and_keeps_its_best_epoch() {
    let (graph, data) = (network(8, 1), digits(&[], 300));
    let mut run = plain(&graph, &data, spec(200, &[LABELS]));
    run.spec.optimizer = serde_json::from_str(r#"{"kind": "adamw", "lr": 5e-3}"#).unwrap();
    run.spec.schedule = ScheduleSpec::Constant;
    run.spec.early_stopping = Some(EarlyStopping { patience: 3, min_delta: 0.0 });
    run.spec.keep = Keep::Best;
    let folder = tempfile::tempdir().unwrap();
    let metrics = folder.path().join("metrics.jsonl");
    run.files.metrics = Some(&metrics);
    let trained = run.trained().unwrap();
    let text = std::fs::read_to_string(&metrics).unwrap();
    let scores: Vec<f64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<EpochMetrics>(line).unwrap().validation_accuracy.unwrap()
        })
        .collect();
    let summary = &trained.summary;
    assert_eq!(summary.stopped, StopReason::EarlyStopping);
    assert_eq!(summary.epochs.partial_cmp(&(scores.len() as f64)), Some(std::cmp::Ordering::Equal));
    let best = summary.best.unwrap();
    // By hand from the log: the first of the highest, three epochs before the end.
    let highest = scores.iter().copied().fold(0.0, f64::max);
    let first = scores.iter().position(|s| (s - highest).abs() < 1e-12).unwrap() + 1;
    assert_eq!((best.epoch, summary.last.epoch), (first, scores.len()));
    assert_eq!(scores.len(), first + 3);
    let of = |graph: &Graph| {
        let network = Network::new(graph, &Device::Cpu).unwrap();
        let split = data.validation.as_ref().unwrap();
        let logits = network_logits(&network, &data, split).unwrap();
        Some(accuracy(&logits, split.labels.as_ref().unwrap()))
    };
    assert_eq!(of(&trained.last), summary.last.validation_accuracy);
    assert_eq!(of(trained.best.as_ref().unwrap()), best.validation_accuracy);
    assert!(trained.other() == Some(&trained.last));
    assert_eq!(of(&trained.into_kept()), best.validation_accuracy);
}

#[test]
fn with_every_option_a_run_that_was_cut_short_ends_with_the_same_weights() {
    let (graph, data) = (network(5, 1), digits(&[Augment::Crop(1)], 200));
    let teacher = Mortal::new(usize::MAX);
    let mut whole = plain(&graph, &data, spec(60, &[&kd()[..], &[LABELS]].concat()));
    whole.spec.batch_size = 16;
    whole.spec.optimizer = serde_json::from_str(r#"{"kind": "sgd", "nesterov": true}"#).unwrap();
    whole.spec.accumulate = 3;
    whole.spec.ema = Some(0.9);
    whole.spec.early_stopping = Some(EarlyStopping { patience: 5, min_delta: 0.01 });
    whole.spec.keep = Keep::Best;
    whole.spec.schedule = serde_json::from_str(r#"{"kind": "one-cycle"}"#).unwrap();
    whole.teacher = Some(&teacher);
    let reference = whole.trained().unwrap();
    let summary = &reference.summary;
    assert_eq!(summary.stopped, StopReason::EarlyStopping);
    assert!(summary.last.epoch > 4 && reference.best.is_some(), "{summary:?}");
    let answers = 13 * summary.last.epoch;
    // 13 batches an epoch: cut within the first step, within an epoch, at a border, near the end.
    for answers in [1, 8, 13, 31, answers - 14, answers - 1] {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("s.safetensors");
        let mortal = Mortal::new(answers);
        let mut run = Run { teacher: Some(&mortal), ..whole.clone() };
        run.files = Files {
            checkpoint: Some(&state),
            resume: true,
            every: Some(Duration::ZERO),
            ..Files::default()
        };
        assert_eq!(run.error().kind(), ErrorKind::Teacher);
        run.teacher = Some(&teacher);
        let resumed = run.trained().unwrap();
        assert!(resumed.last == reference.last, "the last, cut after {answers} batches");
        assert!(resumed.best == reference.best, "the best, cut after {answers} batches");
        let times = (summary.seconds, summary.images_per_second);
        let found = resumed.summary.clone();
        let found = Summary { seconds: times.0, images_per_second: times.1, ..found };
        assert_eq!(found, *summary);
        assert!(run.trained().unwrap().into_kept() == resumed.into_kept());
    }
}

#[test]
fn a_run_ends_with_its_minutes_and_says_how_many_epochs_fitted() {
    let (graph, data) = (network(4, 1), digits(&[], 300));
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.safetensors");
    let mut run = plain(&graph, &data, spec(100_000, &[LABELS]));
    run.spec.minutes = Some(0.2 / 60.0);
    run.spec.schedule = ScheduleSpec::Linear { warmup: 0.0, final_fraction: 0.0 };
    run.files = Files { checkpoint: Some(&state), resume: true, ..Files::default() };
    let trained = run.trained().unwrap();
    let Summary { stopped, epochs, seconds, last, .. } = trained.summary;
    assert_eq!(stopped, StopReason::Minutes);
    assert!(epochs > 0.0 && epochs < 100_000.0 && seconds >= 0.2, "{epochs} in {seconds}");
    assert!((last.epoch as f64 - epochs) < 1.0 && last.epoch as f64 >= epochs);
    // Its time is over for good.
    let again = run.trained().unwrap();
    assert!(again.last == trained.last);
    assert_eq!(again.summary.stopped, StopReason::Minutes);
}

/// A teacher on a device with memory for ten samples.
struct Cramped(Mortal);

impl Teacher for Cramped {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        if images.dim(0)? > 10 {
            // As candle words an error of CUDA.
            let text = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
            return Err(candle_core::Error::Msg(text.into()).into());
        }
        self.0.logits(images)
    }

    fn classes(&self) -> usize {
        10
    }

    fn name(&self) -> &'static str {
        "cramped"
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        None
    }

    fn fingerprint(&self) -> String {
        "cramped".into()
    }
}

#[test]
fn where_memory_is_out_the_batch_that_fits_is_named() {
    let (graph, data) = (network(4, 1), digits(&[Augment::Crop(1)], 150));
    let teacher = Cramped(Mortal::new(usize::MAX));
    let mut run = plain(&graph, &data, spec(1, &kd()));
    run.teacher = Some(&teacher);
    run.spec.accumulate = 2;
    let error = run.error();
    assert_eq!(error.kind(), ErrorKind::Memory);
    let text = error.to_string();
    assert!(text.starts_with("student: out of memory in a batch of 32 samples ("), "{text}");
    // 16 are too many, 8 are not: four batches of 8 for each of 32.
    assert!(text.contains("set batch_size = 8 with accumulate = 8"), "{text}");
}

#[test]
fn a_loss_scale_changes_no_bit_and_goes_on_from_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    let (graph, data) = (network(5, 1), digits(&[], 200));
    let plain = plain(&graph, &data, spec(2, &[LABELS])).train().unwrap();
    // `train` refuses f16 on the CPU, where products stay in f32: what is left of it is the scale,
    // a power of two.
    let mut half = spec(2, &[LABELS]);
    half.precision = crate::nn::Precision::F16;
    let half = |resume| {
        let network = Network::new(&graph, &Device::Cpu).unwrap();
        let files = Files { checkpoint: Some(&checkpoint), resume, ..Files::default() };
        let training = Training {
            role: "student",
            graph: &graph,
            data: &data,
            calibration: None,
            teacher: None,
            spec: &half,
            seed: 3,
            device: &Device::Cpu,
            files,
        };
        let networks = [(network, None)];
        let mut run = super::run::Run::start(&training, &[], &networks).unwrap();
        run.epoch(&mut Silent).unwrap();
        if resume { Some(run.finish().unwrap().swap_remove(0).last) } else { None }
    };
    assert_eq!(half(false), None);
    assert_eq!(half(true), Some(plain));
}

#[test]
fn half_precision_is_refused_where_there_is_no_gpu_for_it() {
    let (graph, data) = (network(4, 1), digits(&[], 100));
    let mut run = plain(&graph, &data, spec(1, &[LABELS]));
    run.spec.precision = crate::nn::Precision::Bf16;
    let error = run.error();
    assert_eq!((error.kind(), error.at()), (ErrorKind::Config, "precision"));
    let wanted = "\"bf16\" is for NVIDIA GPUs, this run is on the CPU";
    assert!(error.to_string().contains(wanted), "{error}");
}
