//! One run of a training: its epochs, what is kept of them, and its state on disk.

use std::time::Instant;

use hipflask_runtime::format::{Card, ModelFile};

use super::checkpoint::{Checkpoint, Progress, RunId, Tensors};
use super::events::EventLog;
use super::metrics::MetricsLog;
use super::step::Stepper;
use super::summary::Hits;
use super::{CHECKPOINT_EVERY, EpochScore, Files, Monitor, StopReason, Summary, Trained, Training};
use crate::Result;
use crate::data::{Batch, prefetched};
use crate::evaluate::{hits, network_logits};
use crate::fingerprint::Fingerprint;
use crate::interpreter::Network;
use crate::optim::Average;
use crate::teacher::Teacher;

/// Batches that are made while one is learnt.
const BATCHES_AHEAD: usize = 3;

/// A training under way.
pub(super) struct Run<'a> {
    training: &'a Training<'a>,
    network: &'a Network,
    /// The moving average of `network`, where there is one.
    averaged: Option<&'a Network>,
    stepper: Stepper<'a>,
    progress: Progress,
    /// The best epoch's tensors; none without a validation accuracy.
    best: Tensors,
    id: RunId,
    log: Option<MetricsLog>,
    events: Option<EventLog>,
}

impl<'a> Run<'a> {
    /// A new run, or the one that the checkpoint has.
    pub(super) fn start(
        training: &'a Training<'a>,
        network: &'a Network,
        averaged: Option<&'a Network>,
    ) -> Result<Self> {
        let mut stepper = Stepper::new(training, network, averaged)?;
        let id = run_id(training);
        let Files { checkpoint, metrics, events, resume, .. } = training.files;
        let (mut progress, mut best) = (Progress::default(), Tensors::new());
        if let Some(path) = checkpoint.filter(|_| resume)
            && let Some(saved) = Checkpoint::load(path, &id)?
        {
            network.load_state(&saved.network)?;
            stepper.objective.load_state(&saved.objective)?;
            stepper.update.optimizer.load_state(saved.optimizer_steps, &saved.optimizer)?;
            if let (Some(averaged), Some(average)) = (averaged, &mut stepper.update.average) {
                averaged.load_state(&saved.average)?;
                average.set_updates(saved.average_updates);
            }
            stepper.update.scale = saved.progress.scale;
            stepper.has_checkpoint = true;
            stepper.clock.resume(saved.progress.seconds);
            (progress, best) = (saved.progress, saved.best);
        }
        let log = metrics.map(|path| MetricsLog::open(path, progress.epochs)).transpose()?;
        let steps = stepper.update.optimizer.steps();
        let begun = stepper.has_checkpoint.then_some(steps);
        let events = events.map(|folder| EventLog::open(folder, begun)).transpose()?;
        Ok(Self { training, network, averaged, stepper, progress, best, id, log, events })
    }

    pub(super) fn is_over(&self) -> bool {
        self.progress.stopped.is_some()
    }

    /// The network that is validated and kept.
    fn outcome(&self) -> &'a Network {
        self.averaged.unwrap_or(self.network)
    }

    /// Trains to the end of the present epoch, or until time is over.
    pub(super) fn epoch(&mut self, monitor: &mut dyn Monitor) -> Result<()> {
        let Training { data, spec, seed, .. } = *self.training;
        let epoch = self.progress.epochs;
        let per_epoch = self.stepper.steps_per_epoch;
        monitor.epoch_started(epoch + 1, spec.epochs, per_epoch, self.progress.steps);
        let view = self.stepper.begin_epoch(epoch, monitor)?;
        let batches = data
            .training_batches(seed, epoch as u64, spec.batch_size)?
            .augmented(&data.augment, view.seed, view.number)
            .mixed(spec.mix)
            .starting_at(self.progress.steps)
            .take(per_epoch - self.progress.steps);
        prefetched(batches, BATCHES_AHEAD, |batches| self.learn(batches, epoch, monitor))?;
        self.stepper.check_weights(epoch, self.progress.steps)?;
        self.end_epoch(epoch + 1, monitor)
    }

    /// Learns from the batches of epoch `epoch`, from 0, until time is over.
    fn learn(
        &mut self,
        batches: &mut dyn Iterator<Item = Batch>,
        epoch: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<()> {
        let per_epoch = self.stepper.steps_per_epoch;
        let every = self.training.files.every.unwrap_or(CHECKPOINT_EVERY);
        let (mut saved, mut clock) = (Instant::now(), Instant::now());
        for batch in batches {
            let steps = self.progress.steps;
            let result = self.stepper.step(&batch, epoch, steps);
            let result =
                result.map_err(|error| self.stepper.explained(error, &batch, epoch, steps))?;
            self.progress.sums.add(&result);
            self.progress.steps += 1;
            self.progress.batches += 1;
            monitor.step(result.loss);
            if let (Some(events), Some(update)) = (&mut self.events, &result.update) {
                let lr = self.training.spec.optimizer.lr() * update.lr_factor;
                events.step(self.stepper.update.optimizer.steps(), result.loss, lr)?;
            }
            if !self.stepper.update.is_between_steps() || self.progress.steps == per_epoch {
                continue;
            }
            if self.stepper.clock.fraction() >= 1.0 {
                break;
            }
            if saved.elapsed() >= every {
                self.progress.sums.seconds += clock.elapsed().as_secs_f64();
                self.stepper.check_weights(epoch, self.progress.steps)?;
                self.save()?;
                (saved, clock) = (Instant::now(), Instant::now());
            }
        }
        self.progress.sums.seconds += clock.elapsed().as_secs_f64();
        Ok(())
    }

    /// Validates, decides whether to go on, and writes down what epoch `number`, from 1, brought.
    fn end_epoch(&mut self, number: usize, monitor: &mut dyn Monitor) -> Result<()> {
        let spec = self.training.spec;
        let scored = self.validate(number)?;
        let score =
            scored.map_or(EpochScore { epoch: number, ..EpochScore::default() }, Hits::score);
        if let Some(hits) = scored
            && self.progress.selection.add(hits, spec.early_stopping)
        {
            self.best = self.outcome().state()?.into_iter().collect();
        }
        let steps = self.stepper.update.optimizer.steps();
        let lr = spec.optimizer.lr();
        let metrics = self.progress.sums.metrics(number, steps, lr, score.validation_accuracy);
        if let Some(log) = &self.log {
            log.append(&metrics)?;
        }
        if let Some(events) = &mut self.events {
            events.epoch(&metrics)?;
        }
        let progress = &mut self.progress;
        progress.samples += progress.sums.samples;
        progress.learning_seconds += progress.sums.seconds;
        (progress.epochs, progress.steps, progress.last) = (number, 0, score);
        progress.sums = super::epoch::Sums::default();
        progress.stopped = if self.stepper.clock.fraction() >= 1.0 {
            Some(StopReason::Minutes)
        } else if number >= spec.epochs {
            Some(StopReason::Epochs)
        } else if progress.selection.is_over(number, spec.early_stopping) {
            Some(StopReason::EarlyStopping)
        } else {
            None
        };
        self.save()?;
        monitor.epoch_ended(&metrics);
        Ok(())
    }

    /// How many held-out samples are recognised; `None` where none have labels.
    fn validate(&self, epoch: usize) -> Result<Option<Hits>> {
        let data = self.training.data;
        let Some((split, labels)) =
            data.validation.as_ref().and_then(|v| Some((v, v.labels.as_ref()?)))
        else {
            return Ok(None);
        };
        let logits = network_logits(self.outcome(), data, split)?;
        Ok(Some(Hits { epoch, right: hits(&logits, labels), of: labels.len() }))
    }

    fn save(&mut self) -> Result<()> {
        self.progress.seconds = self.stepper.clock.seconds();
        self.progress.scale = self.stepper.update.scale;
        let Some(path) = self.training.files.checkpoint else { return Ok(()) };
        let update = &self.stepper.update;
        let averaged = self.averaged.map(Network::state).transpose()?;
        let state = Checkpoint {
            progress: self.progress.clone(),
            optimizer_steps: update.optimizer.steps(),
            average_updates: update.average.as_ref().map_or(0, Average::updates),
            network: self.network.state()?.into_iter().collect(),
            optimizer: update.optimizer.state()?.into_iter().collect(),
            objective: self.stepper.objective.state()?,
            average: averaged.unwrap_or_default().into_iter().collect(),
            best: self.best.clone(),
        };
        if let Some(events) = &mut self.events {
            events.flush()?;
        }
        state.save(path, &self.id)?;
        self.stepper.has_checkpoint = true;
        Ok(())
    }

    /// The networks of the last and the best epoch, and how it went.
    pub(super) fn finish(self) -> Result<Trained> {
        let Progress {
            batches, samples, learning_seconds, seconds, selection, last, stopped, ..
        } = &self.progress;
        let best = selection.best.map(Hits::score);
        let summary = Summary {
            epochs: *batches as f64 / self.stepper.steps_per_epoch.max(1) as f64,
            stopped: stopped.unwrap_or(StopReason::Epochs),
            kept: self.training.spec.keep,
            last: *last,
            best,
            seconds: *seconds,
            images_per_second: *samples as f64 / learning_seconds.max(1e-9),
        };
        let network = self.outcome();
        let last_graph = network.to_graph()?;
        let best = match best.filter(|best| best.epoch != last.epoch) {
            Some(_) => {
                network.load_state(&self.best)?;
                Some(network.to_graph()?)
            }
            None => None,
        };
        Ok(Trained { last: last_graph, best, summary })
    }
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
