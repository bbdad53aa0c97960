//! One network of a training: its steps, what its epochs brought, its state.

use candle_core::Tensor;

use super::checkpoint::{NetworkState, Progress, Record, Tensors};
use super::epoch::StepResult;
use super::events::EventLog;
use super::metrics::MetricsLog;
use super::step::Stepper;
use super::summary::Hits;
use super::{EpochMetrics, EpochScore, StopReason, Summary, Trained, Training};
use crate::Result;
use crate::evaluate::{hits, network_logits};
use crate::interpreter::Network;
use crate::optim::Average;

/// A network under training.
pub(super) struct Learner<'a> {
    pub(super) training: &'a Training<'a>,
    network: &'a Network,
    /// The moving average of `network`, where there is one.
    averaged: Option<&'a Network>,
    pub(super) stepper: Stepper<'a>,
    pub(super) record: Record,
    /// The best epoch's tensors; none without a validation accuracy.
    best: Tensors,
    log: Option<MetricsLog>,
    events: Option<EventLog>,
}

impl<'a> Learner<'a> {
    /// A network that learns beside `peers` others, from the beginning.
    pub(super) fn new(
        training: &'a Training<'a>,
        network: &'a Network,
        averaged: Option<&'a Network>,
        peers: usize,
    ) -> Result<Self> {
        Ok(Self {
            training,
            network,
            averaged,
            stepper: Stepper::new(training, network, averaged, peers)?,
            record: Record::default(),
            best: Tensors::new(),
            log: None,
            events: None,
        })
    }

    /// Goes on from `saved`.
    pub(super) fn load(&mut self, saved: NetworkState) -> Result<()> {
        let Stepper { objective, update, has_checkpoint, .. } = &mut self.stepper;
        self.network.load_state(&saved.network)?;
        objective.load_state(&saved.objective)?;
        update.optimizer.load_state(saved.optimizer_steps, &saved.optimizer)?;
        if let (Some(averaged), Some(average)) = (self.averaged, &mut update.average) {
            averaged.load_state(&saved.average)?;
            average.set_updates(saved.average_updates);
        }
        update.scale = saved.record.scale;
        *has_checkpoint = true;
        (self.record, self.best) = (saved.record, saved.best);
        Ok(())
    }

    /// Opens its metrics and events, which hold `epochs` epochs of an earlier try.
    pub(super) fn open_logs(&mut self, epochs: usize) -> Result<()> {
        let files = self.training.files;
        self.log = files.metrics.map(|path| MetricsLog::open(path, epochs)).transpose()?;
        let begun = self.stepper.has_checkpoint.then_some(self.steps());
        self.events = files.events.map(|folder| EventLog::open(folder, begun)).transpose()?;
        Ok(())
    }

    /// Steps that the optimizer has taken.
    fn steps(&self) -> u64 {
        self.stepper.update.optimizer.steps()
    }

    /// The network that is validated and kept.
    fn outcome(&self) -> &'a Network {
        self.averaged.unwrap_or(self.network)
    }

    /// Writes down what a batch brought.
    pub(super) fn took(&mut self, result: &StepResult) -> Result<()> {
        self.record.sums.add(result);
        let steps = self.steps();
        if let (Some(events), Some(update)) = (&mut self.events, &result.update) {
            let lr = self.training.spec.optimizer.lr() * update.lr_factor;
            events.step(steps, result.loss, lr)?;
        }
        Ok(())
    }

    /// Validates, and writes down what epoch `number`, from 1, brought.
    pub(super) fn end_epoch(&mut self, number: usize) -> Result<EpochMetrics> {
        let spec = self.training.spec;
        let scored = self.validate(number)?;
        let score =
            scored.map_or(EpochScore { epoch: number, ..EpochScore::default() }, Hits::score);
        if let Some(hits) = scored
            && self.record.selection.add(hits, spec.early_stopping)
        {
            self.best = self.outcome().state()?.into_iter().collect();
        }
        let lr = spec.optimizer.lr();
        let sums = std::mem::take(&mut self.record.sums);
        let metrics = sums.metrics(number, self.steps(), lr, score.validation_accuracy);
        if let Some(log) = &self.log {
            log.append(&metrics)?;
        }
        if let Some(events) = &mut self.events {
            events.epoch(&metrics)?;
        }
        self.record.last = score;
        Ok(metrics)
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

    /// All that it needs to go on, with its events on disk.
    pub(super) fn state(&mut self) -> Result<NetworkState> {
        if let Some(events) = &mut self.events {
            events.flush()?;
        }
        let update = &self.stepper.update;
        self.record.scale = update.scale;
        let averaged = self.averaged.map(Network::state).transpose()?;
        let by_name = |tensors: Vec<(String, Tensor)>| tensors.into_iter().collect();
        Ok(NetworkState {
            record: self.record.clone(),
            optimizer_steps: update.optimizer.steps(),
            average_updates: update.average.as_ref().map_or(0, Average::updates),
            network: by_name(self.network.state()?),
            optimizer: by_name(update.optimizer.state()?),
            objective: self.stepper.objective.state()?,
            average: by_name(averaged.unwrap_or_default()),
            best: self.best.clone(),
        })
    }

    /// The networks of the last and the best epoch, and how it went.
    pub(super) fn finish(&self, progress: &Progress, steps_per_epoch: usize) -> Result<Trained> {
        let Progress { batches, samples, learning_seconds, seconds, stopped, .. } = *progress;
        let Record { selection, last, .. } = &self.record;
        let best = selection.best.map(Hits::score);
        let summary = Summary {
            epochs: batches as f64 / steps_per_epoch.max(1) as f64,
            stopped: stopped.unwrap_or(StopReason::Epochs),
            kept: self.training.spec.keep,
            last: *last,
            best,
            seconds,
            images_per_second: samples as f64 / learning_seconds.max(1e-9),
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
