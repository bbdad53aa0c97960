//! Training: batches, the teacher's soft targets, the objective, steps, checkpoints.
//!
//! One loop for teacher, student and control. On the CPU the result is a pure function of network,
//! data, teacher, options and seed, whether or not the run was interrupted.

mod checkpoint;
mod epoch;
mod metrics;
mod monitor;
mod spec;
mod step;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::Device;
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::Graph;

use self::checkpoint::{Checkpoint, Progress, RunId};
use self::metrics::MetricsLog;
use self::step::Stepper;
use crate::data::{DataSet, Split};
use crate::evaluate::{self, accuracy};
use crate::fingerprint::Fingerprint;
use crate::interpreter::Network;
use crate::teacher::Teacher;
use crate::{Error, ErrorKind, Result};

pub use monitor::{EpochMetrics, Monitor, Silent};
pub use spec::TrainSpec;

/// Time between checkpoints within an epoch; one is written after every epoch anyway.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// One network to train.
pub struct Training<'a> {
    /// What it is, as `student`, for messages.
    pub role: &'a str,
    /// The network with its initial weights, in PyTorch's layout.
    pub graph: &'a Graph,
    /// What it learns from.
    pub data: &'a DataSet,
    /// Whom it learns from, where the objective needs a teacher.
    pub teacher: Option<&'a dyn Teacher>,
    /// Budget and rules.
    pub spec: &'a TrainSpec,
    /// Decides the order of samples and their augmentation.
    pub seed: u64,
    /// Where it is trained.
    pub device: &'a Device,
    /// What is kept on disk.
    pub files: Files<'a>,
}

/// Files of a training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// State to go on from; none is kept without it.
    pub checkpoint: Option<&'a Path>,
    /// One JSON line an epoch.
    pub metrics: Option<&'a Path>,
    /// Whether to go on from the checkpoint, if it is there.
    pub resume: bool,
    /// Folder of the teacher's answers, shared by all runs that ask the same; kept only where
    /// [`TrainSpec::views`] limits them.
    pub soft_targets: Option<&'a Path>,
    /// Time between checkpoints within an epoch; see [`CHECKPOINT_EVERY`].
    pub every: Option<Duration>,
}

/// Trains `training.graph` and returns it with its last weights.
///
/// Fails with [`ErrorKind::Diverged`] when a loss, gradient or weight becomes NaN or infinite; the
/// last checkpoint on disk is then from before.
pub fn train(training: &Training<'_>, monitor: &mut dyn Monitor) -> Result<Graph> {
    check(training)?;
    let network = Network::new(training.graph, training.device)?;
    let mut stepper = Stepper::new(training, &network)?;
    let id = run_id(training);
    let Files { checkpoint, resume, .. } = training.files;
    let mut progress = Progress::default();
    if let Some(path) = checkpoint.filter(|_| resume)
        && let Some(saved) = Checkpoint::load(path, &id)?
    {
        network.load_state(&saved.network)?;
        stepper.optimizer.load_state(saved.optimizer_steps, &saved.optimizer)?;
        progress = saved.progress;
        stepper.has_checkpoint = true;
    }
    let log =
        training.files.metrics.map(|path| MetricsLog::open(path, progress.epochs)).transpose()?;
    let save = |progress: &Progress, stepper: &mut Stepper<'_>| -> Result<()> {
        let Some(path) = checkpoint else { return Ok(()) };
        let state = Checkpoint {
            progress: progress.clone(),
            optimizer_steps: stepper.optimizer.steps(),
            network: network.state()?.into_iter().collect(),
            optimizer: stepper.optimizer.state()?.into_iter().collect(),
        };
        state.save(path, &id)?;
        stepper.has_checkpoint = true;
        Ok(())
    };
    let every = training.files.every.unwrap_or(CHECKPOINT_EVERY);
    while progress.epochs < training.spec.epochs {
        let epoch = progress.epochs;
        let view = stepper.begin_epoch(epoch, monitor)?;
        let batches = training
            .data
            .training_batches(training.seed, epoch as u64, training.spec.batch_size)
            .augmented(&training.data.augment, view.seed, view.number)
            .starting_at(progress.steps);
        monitor.epoch_started(
            epoch + 1,
            training.spec.epochs,
            stepper.steps_per_epoch,
            progress.steps,
        );
        let mut saved = Instant::now();
        let mut clock = Instant::now();
        for batch in batches.take(stepper.steps_per_epoch - progress.steps) {
            let result = stepper.step(&batch, epoch, progress.steps)?;
            progress.sums.add(&result);
            progress.steps += 1;
            monitor.step(result.loss);
            if saved.elapsed() >= every && progress.steps < stepper.steps_per_epoch {
                progress.sums.seconds += clock.elapsed().as_secs_f64();
                stepper.check_weights(epoch, progress.steps)?;
                save(&progress, &mut stepper)?;
                (saved, clock) = (Instant::now(), Instant::now());
            }
        }
        progress.sums.seconds += clock.elapsed().as_secs_f64();
        stepper.check_weights(epoch, progress.steps)?;
        let held_out = training.data.validation.as_ref();
        let validation =
            held_out.map(|split| validate(&network, training.data, split)).transpose()?;
        let metrics =
            progress.sums.metrics(epoch + 1, stepper.optimizer.steps(), validation.flatten());
        if let Some(log) = &log {
            log.append(&metrics)?;
        }
        progress = Progress { epochs: epoch + 1, ..Progress::default() };
        save(&progress, &mut stepper)?;
        monitor.epoch_ended(&metrics);
    }
    network.to_graph()
}

/// Accuracy on held-out samples; `None` where they have no labels.
fn validate(network: &Network, data: &DataSet, split: &Split) -> Result<Option<f64>> {
    let Some(labels) = &split.labels else { return Ok(None) };
    let logits = evaluate::network_logits(network, data, split)?;
    Ok(Some(accuracy(&logits, labels)))
}

/// Refuses what cannot be trained, before anything is.
fn check(training: &Training<'_>) -> Result<()> {
    let Training { role, graph, data, teacher, spec, .. } = training;
    spec.check()?;
    let fail = |kind, message: String| Err(Error::new(kind, *role, message));
    if data.train.is_empty() {
        let message = "the data has no training samples: name files in data.train";
        return fail(ErrorKind::Data, message.into());
    }
    let [c, h, w] = data.shape();
    let input = graph.inputs.first().map(|&id| &graph.value(id).shape);
    if input.is_none_or(|shape| shape[..] != [1, c, h, w]) {
        let shape = input.map_or("nothing".into(), ToString::to_string);
        let message = format!(
            "network {:?} takes {shape}, the data's images are [1, {c}, {h}, {w}] (channels, height, \
             width): declare a network for this data, or resize the data with data.resize",
            graph.name
        );
        return fail(ErrorKind::Shape, message);
    }
    let classes = graph.outputs.first().and_then(|&id| graph.value(id).shape.last().copied());
    if classes != Some(data.classes) {
        let message = format!(
            "network {:?} tells {} classes apart, the data has {}",
            graph.name,
            classes.unwrap_or(0),
            data.classes
        );
        return fail(ErrorKind::Shape, message);
    }
    if let Some(teacher) = teacher
        && teacher.classes() != data.classes
    {
        let message = format!(
            "the teacher {} tells {} classes apart, the data has {}: a teacher and its student need \
             the same classes",
            teacher.name(),
            teacher.classes(),
            data.classes
        );
        return fail(ErrorKind::Teacher, message);
    }
    Ok(())
}

fn run_id(training: &Training<'_>) -> RunId {
    let Training { graph, data, teacher, spec, seed, device, .. } = training;
    let mut network = Fingerprint::new();
    let file = ModelFile { graph: (*graph).clone(), preprocess: None, card: Card::default() };
    network.bytes(&file.to_bytes());
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let mut samples = Fingerprint::new();
    samples.bytes(data.fingerprint.as_bytes());
    samples.bytes(json(serde_json::to_string(&data.augment)).as_bytes());
    samples.bytes(json(serde_json::to_string(&data.preprocess)).as_bytes());
    RunId {
        network: network.finish(),
        data: samples.finish(),
        teacher: teacher.map(Teacher::fingerprint),
        options: json(serde_json::to_string(spec)),
        seed: *seed,
        device: format!("{:?}", device.location()),
    }
}
