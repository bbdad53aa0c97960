//! One batch: soft targets, objective, gradients, and the update that they complete.

use candle_core::Tensor;

use super::clock::Clock;
use super::epoch::StepResult;
use super::update::Update;
use super::{Monitor, TrainSpec, Training};
use crate::data::Batch;
use crate::evaluate::best;
use crate::interpreter::{Mode, Network};
use crate::loss::{LossInput, Moment, WeightedSum};
use crate::optim::Position;
use crate::soft_targets::{SoftTargets, View};
use crate::{Error, ErrorKind, Result};

/// What learns from the batches of one training.
pub(super) struct Stepper<'a> {
    pub(super) training: &'a Training<'a>,
    network: &'a Network,
    objective: WeightedSum,
    targets: Option<SoftTargets<'a>>,
    pub(super) update: Update<'a>,
    pub(super) clock: Clock,
    /// Batches of an epoch.
    pub(super) steps_per_epoch: usize,
    /// Whether the checkpoint on disk is of this run.
    pub(super) has_checkpoint: bool,
}

impl<'a> Stepper<'a> {
    /// `averaged` is the network that follows `network`, for `ema`.
    pub(super) fn new(
        training: &'a Training<'a>,
        network: &'a Network,
        averaged: Option<&Network>,
    ) -> Result<Self> {
        let Training { role, data, spec, .. } = *training;
        let objective = WeightedSum::new(&spec.loss)?;
        if objective.needs_labels() && data.train.labels.is_none() {
            let message = "the objective needs labels, the training data has none: name a labels \
                           file in data.train, or use kd, mse or dist alone";
            return Err(Error::new(ErrorKind::Config, role, message));
        }
        let targets = match training.teacher {
            Some(teacher) if objective.needs_teacher() => {
                let (views, folder) = (spec.views.as_ref(), training.files.soft_targets);
                Some(SoftTargets::new(teacher, data, views, folder))
            }
            None if objective.needs_teacher() => {
                let message = "the objective needs a teacher, the run has none";
                return Err(Error::new(ErrorKind::Config, role, message));
            }
            _ => None,
        };
        let (samples, size) = (data.train.len(), spec.batch_size);
        // A last batch of one sample has no variance to normalise with: the shuffle gives that
        // sample its turn in another epoch.
        let lonely = samples > 1 && size > 1 && samples % size == 1;
        Ok(Self {
            update: Update::new(spec, network, averaged)?,
            clock: Clock::start(spec.minutes),
            steps_per_epoch: samples.div_ceil(size) - usize::from(lonely),
            has_checkpoint: false,
            training,
            network,
            objective,
            targets,
        })
    }

    /// Makes ready for epoch `epoch`, from 0; returns what it shows of the samples.
    pub(super) fn begin_epoch(&mut self, epoch: usize, monitor: &mut dyn Monitor) -> Result<View> {
        let Training { data, spec, seed, .. } = *self.training;
        let view = View::of(epoch, seed, spec.views.as_ref(), !data.augment.is_empty());
        if let Some(targets) = &mut self.targets {
            targets.prepare(view, monitor)?;
        }
        Ok(view)
    }

    /// Learns from batch `step` of epoch `epoch`, both from 0.
    pub(super) fn step(&mut self, batch: &Batch, epoch: usize, step: usize) -> Result<StepResult> {
        let Training { device, spec, .. } = *self.training;
        let images = Tensor::from_vec(batch.values.clone(), &batch.shape[..], device)?;
        let targets = self.targets.as_ref();
        let teacher = targets.map(|t| t.logits(batch, &images, device)).transpose()?;
        let labels = batch.labels.as_ref();
        let labels = labels.map(|l| Tensor::from_slice(l, l.len(), device)).transpose()?;
        let logits = self.network.forward(&images, Mode::Train)?;
        let value = self.objective.forward(&LossInput {
            student_logits: &logits,
            teacher_logits: teacher.as_ref(),
            labels: labels.as_ref(),
            moment: Moment {
                epoch: epoch as f64 + step as f64 / self.steps_per_epoch as f64,
                epochs: spec.epochs as f64,
            },
        })?;
        let loss = f64::from(value.total.to_scalar::<f32>()?);
        if !loss.is_finite() {
            return Err(self.diverged("the loss", loss, epoch, step));
        }
        let samples = batch.indices.len();
        let gradients = match self.update.scale {
            Some(scale) => (&value.total * scale.factor())?.backward()?,
            None => value.total.backward()?,
        };
        let update = self.update.add(gradients, samples, self.completes(step), &self.position())?;
        if let Some(norm) = update.as_ref().and_then(|u| u.gradient_norm).filter(|n| !n.is_finite())
        {
            return Err(self.diverged("the gradient's norm", norm, epoch, step));
        }
        if let Some(scale) = self.update.scale.filter(|scale| scale.is_spent()) {
            let what = format!("in f16, with the loss times {}, a gradient", scale.factor());
            return Err(self.diverged(&what, f64::INFINITY, epoch, step));
        }
        let scalar =
            |(name, term): (&'static str, Tensor)| Ok((name, f64::from(term.to_scalar::<f32>()?)));
        let right = batch.labels.as_ref().map(|labels| right(&logits, labels)).transpose()?;
        Ok(StepResult {
            samples,
            loss,
            terms: value.terms.into_iter().map(scalar).collect::<Result<_>>()?,
            right,
            update,
        })
    }

    /// Whether the gradients of batch `step` of an epoch, from 0, are the last of an update.
    fn completes(&self, step: usize) -> bool {
        (step + 1).is_multiple_of(self.training.spec.accumulate) || step + 1 == self.steps_per_epoch
    }

    /// Where in its run the next update is.
    fn position(&self) -> Position {
        let TrainSpec { epochs, accumulate, .. } = *self.training.spec;
        Position {
            step: self.update.optimizer.steps(),
            steps_per_epoch: self.steps_per_epoch.div_ceil(accumulate) as u64,
            epochs: epochs as u64,
            elapsed: self.clock.fraction(),
        }
    }

    /// Fails when a weight is NaN or infinite, so that no such weight reaches a checkpoint.
    pub(super) fn check_weights(&self, epoch: usize, steps: usize) -> Result<()> {
        for (name, tensor) in self.network.state()? {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            if let Some(&found) = values.iter().find(|v| !v.is_finite()) {
                let what = format!("a weight of {name:?}");
                return Err(self.diverged(&what, f64::from(found), epoch, steps.saturating_sub(1)));
            }
        }
        Ok(())
    }

    fn diverged(&self, what: &str, found: f64, epoch: usize, step: usize) -> Error {
        let Training { role, spec, files, .. } = self.training;
        let kept = match files.checkpoint.filter(|_| self.has_checkpoint) {
            Some(path) => format!("the last good checkpoint is kept in {}; ", path.display()),
            None => String::new(),
        };
        let message = format!(
            "{what} became {found} at epoch {}, step {} of {}: training stopped; {kept}start \
             again with a lower optimizer.lr (now {:?}) or with clip_norm",
            epoch + 1,
            step + 1,
            self.steps_per_epoch,
            spec.optimizer.lr()
        );
        Error::new(ErrorKind::Diverged, *role, message)
    }
}

/// How many rows of `logits [n, c]` have their best class at the label.
fn right(logits: &Tensor, labels: &[u32]) -> Result<usize> {
    let rows = logits.to_vec2::<f32>()?;
    Ok(rows.iter().zip(labels).filter(|(row, label)| best(row) == **label as usize).count())
}
