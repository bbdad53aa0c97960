//! Training: batches, the teacher's soft targets, the objective, steps, checkpoints.
//!
//! One loop for teacher, student, its peers and control. On the CPU the result is a pure function of network,
//! data, teacher, options and seed, whether or not the run was interrupted.

mod checkpoint;
mod clock;
mod epoch;
mod events;
mod learner;
mod lesson;
mod memory;
mod metrics;
mod monitor;
mod run;
mod spec;
mod step;
mod summary;
#[cfg(test)]
mod tests;
mod update;

use std::path::Path;
use std::time::Duration;

use candle_core::Device;
use hipflask_quantize::Calibration;
use hipflask_runtime::graph::Graph;

use self::run::Run;
use crate::data::DataSet;
use crate::interpreter::Network;
use crate::teacher::Teacher;
use crate::{Error, ErrorKind, Result};

pub use monitor::{EpochMetrics, Monitor, Silent};
pub use spec::{EarlyStopping, Keep, TrainSpec};
pub use summary::{EpochScore, StopReason, Summary, Trained};

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
    /// The ranges of the graph's values, for quantization-aware training: the network then computes as
    /// its int8 form will, learns their scales too, and is handed out in int8 (see
    /// [`Network::rounded`]).
    pub calibration: Option<&'a Calibration>,
    /// Budget and rules.
    pub spec: &'a TrainSpec,
    /// Decides the order of samples and their augmentation.
    pub seed: u64,
    /// Where it is trained.
    pub device: &'a Device,
    /// What is kept on disk.
    pub files: Files<'a>,
}

/// A network that is trained together with another (Zhang et al. 2018, "Deep Mutual Learning"): on the
/// same batches, under the same options.
#[derive(Clone, Copy)]
pub struct Peer<'a> {
    /// What it is, as `peer-1`, for messages.
    pub role: &'a str,
    /// The network with its initial weights, in PyTorch's layout.
    pub graph: &'a Graph,
    /// One JSON line an epoch.
    pub metrics: Option<&'a Path>,
    /// Folder for TensorBoard's event files.
    pub events: Option<&'a Path>,
}

/// Files of a training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// State to go on from; none is kept without it.
    pub checkpoint: Option<&'a Path>,
    /// One JSON line an epoch.
    pub metrics: Option<&'a Path>,
    /// Folder for TensorBoard's event files.
    pub events: Option<&'a Path>,
    /// Whether to go on from the checkpoint, if it is there.
    pub resume: bool,
    /// Folder of the teacher's answers, shared by all runs that ask the same; kept only where
    /// [`TrainSpec::views`] limits them.
    pub soft_targets: Option<&'a Path>,
    /// Time between checkpoints within an epoch; see [`CHECKPOINT_EVERY`].
    pub every: Option<Duration>,
}

/// Trains `training.graph`.
///
/// Fails with [`ErrorKind::Diverged`] when a loss, gradient or weight becomes NaN or infinite; the
/// last checkpoint on disk is then from before. Fails with [`ErrorKind::Memory`] when the device has
/// too little memory for a batch; the message says which would fit.
pub fn train(training: &Training<'_>, monitor: &mut dyn Monitor) -> Result<Trained> {
    Ok(train_with_peers(training, &[], monitor)?.swap_remove(0))
}

/// Trains `training.graph` together with `peers`; gives what became of it, then of each of them.
///
/// In every step all networks see the same batch, and each learns, by the term `mutual` of the
/// objective, from what the others said of it before any of them learnt. They share one checkpoint;
/// `training.graph`'s validation accuracy decides on stopping early. Fails as [`train`] does.
pub fn train_with_peers(
    training: &Training<'_>,
    peers: &[Peer<'_>],
    monitor: &mut dyn Monitor,
) -> Result<Vec<Trained>> {
    let peers = peers.iter().map(|peer| {
        let files = Files { metrics: peer.metrics, events: peer.events, ..training.files };
        Training { role: peer.role, graph: peer.graph, calibration: None, files, ..*training }
    });
    let peers: Vec<Training<'_>> = peers.collect();
    let all = || std::iter::once(training).chain(&peers);
    all().try_for_each(check)?;
    let network = |training: &Training<'_>| {
        let new = || {
            let network = Network::new(training.graph, training.device)?;
            match training.calibration {
                Some(calibration) => network.rounded(calibration),
                None => Ok(network),
            }
        };
        let network = new()?;
        let averaged = training.spec.ema.map(|_| new());
        Ok((network.in_precision(training.spec.precision), averaged.transpose()?))
    };
    let networks = all().map(network).collect::<Result<Vec<_>>>()?;
    let mut run = Run::start(training, &peers, &networks)?;
    while !run.is_over() {
        run.epoch(monitor)?;
    }
    run.finish()
}

/// Refuses what cannot be trained, before anything is.
fn check(training: &Training<'_>) -> Result<()> {
    let Training { role, graph, data, teacher, spec, device, .. } = training;
    spec.check()?;
    spec.precision.check(device)?;
    let fail = |kind, message: String| Err(Error::new(kind, *role, message));
    if data.train.is_empty() {
        let message = "the data has no training samples: name files in data.train";
        return fail(ErrorKind::Data, message.into());
    }
    let sample = [vec![1], data.shape()?].concat();
    let input = graph.inputs.first().map(|&id| &graph.value(id).shape);
    if input.is_none_or(|shape| shape[..] != sample) {
        let shape = input.map_or("nothing".into(), ToString::to_string);
        let message = format!(
            "network {:?} takes {shape}, the data gives {sample:?} (an image is channels, height, \
             width): declare a network for this data, or resize images with data.resize",
            graph.name
        );
        return fail(ErrorKind::Shape, message);
    }
    if let Some(mix) = spec.mix {
        mix.check_samples(&data.train.samples, &sample[1..])?;
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
    let has_scores = data.validation.as_ref().is_some_and(|v| v.labels.is_some() && !v.is_empty());
    if let Some(key) = spec.needs_validation().filter(|_| !has_scores) {
        let message = format!(
            "{key} goes by the validation accuracy, the data has no labelled validation samples: hold \
             some out of the training samples with data.validation (the test samples are never used \
             for that)"
        );
        return fail(ErrorKind::Config, message);
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
