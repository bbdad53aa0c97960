//! One network and one batch: what it says, objective, gradients, and the update that they complete.

use candle_core::Tensor;

use super::epoch::StepResult;
use super::lesson::Lesson;
use super::update::Update;
use super::{TrainSpec, Training};
use crate::evaluate::best;
use crate::interpreter::{Forward, Mode, Network};
use crate::loss::{LossInput, LossSpec, Moment, Surroundings, Wanted, WeightedSum};
use crate::optim::Position;
use crate::teacher::{self, Teacher};
use crate::{Error, ErrorKind, Result};

/// Names of the nodes of both networks whose values an objective compares.
#[derive(Default)]
struct Features {
    student: Vec<String>,
    teacher: Vec<String>,
}

/// One network that learns from the batches of a training.
pub(super) struct Stepper<'a> {
    training: &'a Training<'a>,
    network: &'a Network,
    pub(super) objective: WeightedSum,
    /// The nodes whose values the objective compares.
    features: Features,
    pub(super) update: Update<'a>,
    /// Batches of an epoch.
    steps_per_epoch: usize,
    /// Whether the checkpoint on disk is of this run.
    pub(super) has_checkpoint: bool,
}

/// When in a run a batch is learnt.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    /// Epoch, from 0.
    pub(super) epoch: usize,
    /// Batch of the epoch, from 0.
    pub(super) step: usize,
    /// Share of the time that is used; 0 without a budget of minutes.
    pub(super) elapsed: f64,
}

impl<'a> Stepper<'a> {
    /// `averaged` is the network that follows `network`, for `ema`; `peers` says how many others learn
    /// beside it.
    pub(super) fn new(
        training: &'a Training<'a>,
        network: &'a Network,
        averaged: Option<&Network>,
        peers: usize,
    ) -> Result<Self> {
        let Training { role, data, spec, .. } = *training;
        let refuse = |message| Err(Error::new(ErrorKind::Config, role, message));
        let mut objective = WeightedSum::new(&spec.loss)?;
        if objective.needs_labels() && data.train.labels.is_none() {
            return refuse(
                "the objective needs labels, the training data has none: name a labels file in \
                 data.train, or use kd, mse or dist alone",
            );
        }
        if objective.needs_peers() && peers == 0 {
            return refuse("the objective needs peers, the run has none: leave mutual out of it");
        }
        let features = match training.teacher {
            Some(teacher) if objective.needs_features().is_some() => {
                bind(&mut objective, training, network, teacher)?
            }
            _ => Features::default(),
        };
        if spec.mix.is_some() && spec.loss.iter().any(|loss| matches!(loss, LossSpec::Crd { .. })) {
            return refuse(
                "crd remembers single samples and cannot be trained on mixtures: leave crd or mix out",
            );
        }
        Ok(Self {
            update: Update::new(spec, network, &objective.parameters(), averaged)?,
            steps_per_epoch: steps_per_epoch(training),
            has_checkpoint: false,
            training,
            network,
            objective,
            features,
        })
    }

    /// The teacher's nodes whose values it wants to know.
    pub(super) fn asked(&self) -> &[String] {
        &self.features.teacher
    }

    /// What the network says of a batch before it learns from it.
    pub(super) fn forward(&self, lesson: &Lesson<'_>) -> Result<Forward> {
        let wanted: Vec<&str> = self.features.student.iter().map(String::as_str).collect();
        let images = &lesson.images;
        // In scopes, that is on one of the pool's own threads: each operator would else wake one and
        // wait for it.
        rayon::scope(|_| self.network.forward_with(images, Mode::Train, &wanted))
    }

    /// Learns from a batch, of which the network said `said` and its peers `peer_logits`.
    pub(super) fn learn(
        &mut self,
        lesson: &Lesson<'_>,
        said: &Forward,
        peer_logits: &[Tensor],
        turn: Turn,
    ) -> Result<StepResult> {
        let Forward { output: logits, features } = said;
        let (answer, batch) = (lesson.answer.as_ref(), lesson.batch);
        let value = self.objective.forward(&LossInput {
            student_logits: logits,
            teacher_logits: answer.map(|a| &a.logits),
            peer_logits,
            student_features: features,
            teacher_features: answer.map_or(&[], |a| &a.features),
            indices: &batch.indices,
            labels: lesson.labels.as_ref(),
            others: lesson.others.as_ref(),
            moment: Moment {
                epoch: turn.epoch as f64 + turn.step as f64 / self.steps_per_epoch as f64,
                epochs: self.training.spec.epochs as f64,
            },
        })?;
        let loss = f64::from(value.total.to_scalar::<f32>()?);
        if !loss.is_finite() {
            return Err(self.diverged("the loss", loss, turn.epoch, turn.step));
        }
        let samples = batch.indices.len();
        let total = match self.update.scale {
            Some(scale) => &(&value.total * scale.factor())?,
            None => &value.total,
        };
        let gradients = rayon::scope(|_| total.backward())?;
        let (completes, at) = (self.completes(turn.step), self.position(turn.elapsed));
        let update = self.update.add(gradients, samples, completes, &at)?;
        if let Some(norm) = update.as_ref().and_then(|u| u.gradient_norm).filter(|n| !n.is_finite())
        {
            return Err(self.diverged("the gradient's norm", norm, turn.epoch, turn.step));
        }
        if let Some(scale) = self.update.scale.filter(|scale| scale.is_spent()) {
            let what = format!("in f16, with the loss times {}, a gradient", scale.factor());
            return Err(self.diverged(&what, f64::INFINITY, turn.epoch, turn.step));
        }
        let scalar =
            |(name, term): (&'static str, Tensor)| Ok((name, f64::from(term.to_scalar::<f32>()?)));
        let right = batch.labels.as_ref().map(|labels| right(logits, labels)).transpose()?;
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

    /// Where in its run the next update is, of whose time the share `elapsed` is used.
    fn position(&self, elapsed: f64) -> Position {
        let TrainSpec { epochs, accumulate, .. } = *self.training.spec;
        Position {
            step: self.update.optimizer.steps(),
            steps_per_epoch: self.steps_per_epoch.div_ceil(accumulate) as u64,
            epochs: epochs as u64,
            elapsed,
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

/// Batches of an epoch of `training`.
pub(super) fn steps_per_epoch(training: &Training<'_>) -> usize {
    let (samples, size) = (training.data.train.len(), training.spec.batch_size);
    // A last batch of one sample has no variance to normalise with: the shuffle gives that
    // sample its turn in another epoch.
    let lonely = samples > 1 && size > 1 && samples % size == 1;
    samples.div_ceil(size) - usize::from(lonely)
}

/// Lets the terms of `objective` choose among the nodes of both networks.
fn bind(
    objective: &mut WeightedSum,
    training: &Training<'_>,
    network: &Network,
    teacher: &dyn Teacher,
) -> Result<Features> {
    let nodes = teacher.nodes().ok_or_else(|| teacher::shut(teacher.name()))?;
    let mut around = Surroundings {
        student: Wanted::new(network.nodes()),
        teacher: Wanted::new(nodes),
        samples: training.data.train.len(),
        labels: training.data.train.labels.as_deref(),
        seed: training.seed,
        device: training.device,
    };
    objective.bind(&mut around)?;
    Ok(Features { student: around.student.into_names(), teacher: around.teacher.into_names() })
}

/// How many rows of `logits [n, c]` have their best class at the label.
fn right(logits: &Tensor, labels: &[u32]) -> Result<usize> {
    let rows = logits.to_vec2::<f32>()?;
    Ok(rows.iter().zip(labels).filter(|(row, label)| best(row) == **label as usize).count())
}
