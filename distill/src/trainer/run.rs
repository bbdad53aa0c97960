//! One run of a training: its epochs, when it ends, and its state on disk.

use std::time::Instant;

use candle_core::Tensor;
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::Graph;

use super::checkpoint::{Checkpoint, Progress, RunId};
use super::clock::Clock;
use super::epoch::StepResult;
use super::learner::Learner;
use super::lesson::Lessons;
use super::step::{Turn, steps_per_epoch};
use super::{CHECKPOINT_EVERY, Monitor, StopReason, Trained, Training};
use crate::Result;
use crate::data::{Batch, prefetched};
use crate::fingerprint::Fingerprint;
use crate::interpreter::{Forward, Network};
use crate::soft_targets::View;
use crate::teacher::Teacher;

/// Batches that are made while one is learnt.
const BATCHES_AHEAD: usize = 3;

/// A training under way.
pub(super) struct Run<'a> {
    pub(super) training: &'a Training<'a>,
    /// The network that is trained, then its peers.
    learners: Vec<Learner<'a>>,
    lessons: Lessons<'a>,
    progress: Progress,
    clock: Clock,
    /// Batches of an epoch.
    steps_per_epoch: usize,
    id: RunId,
}

impl<'a> Run<'a> {
    /// A new run of `training` and those of its peers, or the one that the checkpoint has. Each comes
    /// with its network, and for `ema` the one that follows it.
    pub(super) fn start(
        training: &'a Training<'a>,
        peers: &'a [Training<'a>],
        networks: &'a [(Network, Option<Network>)],
    ) -> Result<Self> {
        let mut learners = std::iter::once(training)
            .chain(peers)
            .zip(networks)
            .map(|(training, (network, averaged))| {
                Learner::new(training, network, averaged.as_ref(), peers.len())
            })
            .collect::<Result<Vec<_>>>()?;
        let asked = learners.first().map_or(&[][..], |learner| learner.stepper.asked());
        let lessons = Lessons::new(training, asked.to_vec())?;
        let id = run_id(training, peers);
        let mut clock = Clock::start(training.spec.minutes);
        let mut progress = Progress::default();
        if let Some(path) = training.files.checkpoint.filter(|_| training.files.resume)
            && let Some(saved) = Checkpoint::load(path, &id)?
        {
            for (learner, state) in learners.iter_mut().zip(saved.networks) {
                learner.load(state)?;
            }
            clock.resume(saved.progress.seconds);
            progress = saved.progress;
        }
        learners.iter_mut().try_for_each(|learner| learner.open_logs(progress.epochs))?;
        let steps_per_epoch = steps_per_epoch(training);
        Ok(Self { training, learners, lessons, progress, clock, steps_per_epoch, id })
    }

    pub(super) fn is_over(&self) -> bool {
        self.progress.stopped.is_some()
    }

    /// Trains to the end of the present epoch, or until time is over.
    pub(super) fn epoch(&mut self, monitor: &mut dyn Monitor) -> Result<()> {
        let Training { data, spec, seed, .. } = *self.training;
        let epoch = self.progress.epochs;
        let per_epoch = self.steps_per_epoch;
        monitor.epoch_started(epoch + 1, spec.epochs, per_epoch, self.progress.steps);
        let random = !data.augment.is_empty() || spec.mix.is_some();
        let view = View::of(epoch, seed, spec.views.as_ref(), random);
        self.lessons.prepare(view, monitor)?;
        let batches = data
            .training_batches(seed, epoch as u64, spec.batch_size)?
            .augmented(&data.augment, view.seed, view.number)
            .mixed(spec.mix)
            .starting_at(self.progress.steps)
            .take(per_epoch - self.progress.steps);
        prefetched(batches, BATCHES_AHEAD, |batches| self.learn(batches, epoch, monitor))?;
        self.check_weights(epoch)?;
        self.end_epoch(epoch + 1, monitor)
    }

    /// Learns from the batches of epoch `epoch`, from 0, until time is over.
    fn learn(
        &mut self,
        batches: &mut dyn Iterator<Item = Batch>,
        epoch: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<()> {
        let every = self.training.files.every.unwrap_or(CHECKPOINT_EVERY);
        let (mut saved, mut clock) = (Instant::now(), Instant::now());
        for batch in batches {
            let step = self.progress.steps;
            let results = self.step(&batch, epoch, step);
            let results = results.map_err(|error| self.explained(error, &batch, epoch, step))?;
            self.progress.steps += 1;
            self.progress.batches += 1;
            for (learner, result) in self.learners.iter_mut().zip(&results) {
                learner.took(result)?;
            }
            results.first().into_iter().for_each(|own| monitor.step(own.loss));
            if !self.is_between_steps() || self.progress.steps == self.steps_per_epoch {
                continue;
            }
            if self.clock.fraction() >= 1.0 {
                break;
            }
            if saved.elapsed() >= every {
                self.add_seconds(&clock);
                self.check_weights(epoch)?;
                self.save()?;
                (saved, clock) = (Instant::now(), Instant::now());
            }
        }
        self.add_seconds(&clock);
        Ok(())
    }

    /// Lets every network learn from batch `step` of epoch `epoch`, both from 0.
    pub(super) fn step(
        &mut self,
        batch: &Batch,
        epoch: usize,
        step: usize,
    ) -> Result<Vec<StepResult>> {
        let turn = Turn { epoch, step, elapsed: self.clock.fraction() };
        let lesson = self.lessons.of(batch)?;
        let said = self.learners.iter().map(|learner| learner.stepper.forward(&lesson));
        let said = said.collect::<Result<Vec<Forward>>>()?;
        // All learn from what the others said before any of them learnt: their order changes nothing.
        let logits: Vec<Tensor> = said.iter().map(|said| said.output.detach()).collect();
        let learners = self.learners.iter_mut().zip(said).enumerate();
        learners
            .map(|(own, (learner, said))| {
                let others = logits.iter().enumerate().filter(|(i, _)| *i != own);
                let others: Vec<Tensor> = others.map(|(_, logits)| logits.clone()).collect();
                learner.stepper.learn(&lesson, &said, &others, turn)
            })
            .collect()
    }

    /// Whether no gradients wait for their step: all networks take theirs after the same batches.
    fn is_between_steps(&self) -> bool {
        self.learners.iter().all(|learner| learner.stepper.update.is_between_steps())
    }

    fn add_seconds(&mut self, since: &Instant) {
        let seconds = since.elapsed().as_secs_f64();
        self.learners.iter_mut().for_each(|learner| learner.record.sums.seconds += seconds);
    }

    fn check_weights(&self, epoch: usize) -> Result<()> {
        let steps = self.progress.steps;
        self.learners.iter().try_for_each(|learner| learner.stepper.check_weights(epoch, steps))
    }

    /// Validates, decides whether to go on, and writes down what epoch `number`, from 1, brought.
    fn end_epoch(&mut self, number: usize, monitor: &mut dyn Monitor) -> Result<()> {
        let spec = self.training.spec;
        let progress = &mut self.progress;
        if let Some(learner) = self.learners.first() {
            progress.samples += learner.record.sums.samples;
            progress.learning_seconds += learner.record.sums.seconds;
        }
        let metrics = self.learners.iter_mut().map(|learner| learner.end_epoch(number));
        let metrics = metrics.collect::<Result<Vec<_>>>()?;
        (progress.epochs, progress.steps) = (number, 0);
        // Peers go on as long as the network that they are trained for.
        let selection = self.learners.first().map(|learner| &learner.record.selection);
        progress.stopped = if self.clock.fraction() >= 1.0 {
            Some(StopReason::Minutes)
        } else if number >= spec.epochs {
            Some(StopReason::Epochs)
        } else if selection.is_some_and(|s| s.is_over(number, spec.early_stopping)) {
            Some(StopReason::EarlyStopping)
        } else {
            None
        };
        self.save()?;
        for (learner, metrics) in self.learners.iter().zip(&metrics) {
            monitor.epoch_ended(learner.training.role, metrics);
        }
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.progress.seconds = self.clock.seconds();
        let Some(path) = self.training.files.checkpoint else { return Ok(()) };
        let networks = self.learners.iter_mut().map(Learner::state).collect::<Result<_>>()?;
        Checkpoint { progress: self.progress.clone(), networks }.save(path, &self.id)?;
        for learner in &mut self.learners {
            learner.stepper.has_checkpoint = true;
        }
        Ok(())
    }

    /// What became of the network and of its peers.
    pub(super) fn finish(self) -> Result<Vec<Trained>> {
        let finish = |learner: &Learner<'_>| learner.finish(&self.progress, self.steps_per_epoch);
        self.learners.iter().map(finish).collect()
    }
}

fn run_id(training: &Training<'_>, peers: &[Training<'_>]) -> RunId {
    let Training { graph, data, teacher, calibration, spec, seed, device, .. } = training;
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let mut samples = Fingerprint::new();
    samples.bytes(data.fingerprint.as_bytes());
    samples.bytes(json(serde_json::to_string(&data.augment)).as_bytes());
    samples.bytes(json(serde_json::to_string(&data.preprocess)).as_bytes());
    let ranges = calibration.map(|own| json(serde_json::to_string(&own.ranges)));
    let ranges = ranges.unwrap_or_default();
    RunId {
        network: fingerprint(graph),
        peers: peers.iter().map(|peer| fingerprint(peer.graph)).collect(),
        data: samples.finish(),
        teacher: teacher.map(Teacher::fingerprint),
        options: json(serde_json::to_string(spec)) + &ranges,
        seed: *seed,
        device: format!("{:?}", device.location()),
    }
}

/// Of a network with its weights.
fn fingerprint(graph: &Graph) -> String {
    let mut network = Fingerprint::new();
    let file = ModelFile { graph: graph.clone(), preprocess: None, card: Card::default() };
    network.bytes(&file.to_bytes());
    network.finish()
}
