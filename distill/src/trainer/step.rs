//! One batch: soft targets, objective, gradients, and the update that they complete.

use candle_core::Tensor;

use super::clock::Clock;
use super::epoch::StepResult;
use super::update::Update;
use super::{Monitor, TrainSpec, Training};
use crate::data::Batch;
use crate::evaluate::best;
use crate::interpreter::{Forward, Mode, Network};
use crate::loss::{LossInput, LossSpec, Moment, OtherLabels, Surroundings, Wanted, WeightedSum};
use crate::optim::Position;
use crate::soft_targets::{SoftTargets, View};
use crate::teacher::{self, Teacher};
use crate::{Error, ErrorKind, Result};

/// Names of the nodes of both networks whose values an objective compares.
#[derive(Default)]
struct Features {
    student: Vec<String>,
    teacher: Vec<String>,
}

/// What learns from the batches of one training.
pub(super) struct Stepper<'a> {
    pub(super) training: &'a Training<'a>,
    network: &'a Network,
    pub(super) objective: WeightedSum,
    targets: Option<SoftTargets<'a>>,
    /// The nodes whose values the objective compares.
    features: Features,
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
        let mut objective = WeightedSum::new(&spec.loss)?;
        if objective.needs_labels() && data.train.labels.is_none() {
            let message = "the objective needs labels, the training data has none: name a labels \
                           file in data.train, or use kd, mse or dist alone";
            return Err(Error::new(ErrorKind::Config, role, message));
        }
        let targets = match training.teacher {
            Some(teacher) if objective.needs_teacher() => {
                let (views, folder) = (spec.views.as_ref(), training.files.soft_targets);
                // Inner values are not kept, and the logits come with them.
                let folder = folder.filter(|_| objective.needs_features().is_none());
                Some(SoftTargets::new(teacher, data, spec.mix, views, folder))
            }
            None if objective.needs_teacher() => {
                let message = "the objective needs a teacher, the run has none";
                return Err(Error::new(ErrorKind::Config, role, message));
            }
            _ => None,
        };
        let features = match training.teacher {
            Some(teacher) if objective.needs_features().is_some() => {
                bind(&mut objective, training, network, teacher)?
            }
            _ => Features::default(),
        };
        if spec.mix.is_some() && spec.loss.iter().any(|loss| matches!(loss, LossSpec::Crd { .. })) {
            let message = "crd remembers single samples and cannot be trained on mixtures: leave crd \
                           or mix out";
            return Err(Error::new(ErrorKind::Config, role, message));
        }
        let (samples, size) = (data.train.len(), spec.batch_size);
        // A last batch of one sample has no variance to normalise with: the shuffle gives that
        // sample its turn in another epoch.
        let lonely = samples > 1 && size > 1 && samples % size == 1;
        Ok(Self {
            update: Update::new(spec, network, &objective.parameters(), averaged)?,
            clock: Clock::start(spec.minutes),
            steps_per_epoch: samples.div_ceil(size) - usize::from(lonely),
            has_checkpoint: false,
            training,
            network,
            objective,
            targets,
            features,
        })
    }

    /// Makes ready for epoch `epoch`, from 0; returns what it shows of the samples.
    pub(super) fn begin_epoch(&mut self, epoch: usize, monitor: &mut dyn Monitor) -> Result<View> {
        let Training { data, spec, seed, .. } = *self.training;
        let random = !data.augment.is_empty() || spec.mix.is_some();
        let view = View::of(epoch, seed, spec.views.as_ref(), random);
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
        let Features { student: wanted, teacher: asked } = &self.features;
        let [wanted, asked] =
            [wanted, asked].map(|l| l.iter().map(String::as_str).collect::<Vec<_>>());
        let answer = targets.map(|t| t.answer(batch, &images, device, &asked)).transpose()?;
        let on_device = |l: &Vec<u32>| Tensor::from_slice(l, l.len(), device);
        let labels = batch.labels.as_ref().map(on_device).transpose()?;
        let others = batch.mixed.as_ref().and_then(|mixed| mixed.labels.as_ref().zip(Some(mixed)));
        let others = others.map(|(labels, mixed)| {
            let shares: Vec<f32> = mixed.blends.iter().map(|blend| blend.share).collect();
            let shares = Tensor::from_vec(shares, labels.len(), device)?;
            Ok::<_, Error>(OtherLabels { labels: on_device(labels)?, shares })
        });
        let others = others.transpose()?;
        // In scopes, that is on one of the pool's own threads: each operator would else wake one and
        // wait for it.
        let Forward { output: logits, features } =
            rayon::scope(|_| self.network.forward_with(&images, Mode::Train, &wanted))?;
        let value = self.objective.forward(&LossInput {
            student_logits: &logits,
            teacher_logits: answer.as_ref().map(|a| &a.logits),
            student_features: &features,
            teacher_features: answer.as_ref().map_or(&[], |a| &a.features),
            indices: &batch.indices,
            labels: labels.as_ref(),
            others: others.as_ref(),
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
        let total = match self.update.scale {
            Some(scale) => &(&value.total * scale.factor())?,
            None => &value.total,
        };
        let gradients = rayon::scope(|_| total.backward())?;
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
