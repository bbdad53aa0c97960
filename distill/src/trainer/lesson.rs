//! What all networks of a training are given for one batch: samples, labels, the teacher's answer.

use candle_core::{Device, Tensor};

use super::{Monitor, Training};
use crate::data::Batch;
use crate::loss::{OtherLabels, WeightedSum};
use crate::soft_targets::{SoftTargets, View};
use crate::teacher::Answer;
use crate::{Error, ErrorKind, Result};

/// A batch on the device.
pub(super) struct Lesson<'a> {
    pub(super) batch: &'a Batch,
    pub(super) images: Tensor,
    pub(super) labels: Option<Tensor>,
    /// What else is in the samples, where they are mixtures.
    pub(super) others: Option<OtherLabels>,
    pub(super) answer: Option<Answer>,
}

/// Makes the lessons of a training.
pub(super) struct Lessons<'a> {
    device: &'a Device,
    targets: Option<SoftTargets<'a>>,
    /// The teacher's nodes whose values the objective compares.
    asked: Vec<String>,
}

impl<'a> Lessons<'a> {
    /// Those of `training`, whose objective compares the teacher's nodes `asked`.
    pub(super) fn new(training: &Training<'a>, asked: Vec<String>) -> Result<Self> {
        let Training { role, data, spec, .. } = *training;
        let objective = WeightedSum::new(&spec.loss)?;
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
        Ok(Self { device: training.device, targets, asked })
    }

    /// Makes ready for an epoch that shows `view`.
    pub(super) fn prepare(&mut self, view: View, monitor: &mut dyn Monitor) -> Result<()> {
        match &mut self.targets {
            Some(targets) => targets.prepare(view, monitor),
            None => Ok(()),
        }
    }

    /// That of `batch`.
    pub(super) fn of<'b>(&self, batch: &'b Batch) -> Result<Lesson<'b>> {
        let device = self.device;
        let images = Tensor::from_vec(batch.values.clone(), &batch.shape[..], device)?;
        let asked: Vec<&str> = self.asked.iter().map(String::as_str).collect();
        let answer = self.targets.as_ref().map(|t| t.answer(batch, &images, device, &asked));
        let answer = answer.transpose()?;
        let on_device = |l: &Vec<u32>| Tensor::from_slice(l, l.len(), device);
        let labels = batch.labels.as_ref().map(on_device).transpose()?;
        let others = batch.mixed.as_ref().and_then(|mixed| mixed.labels.as_ref().zip(Some(mixed)));
        let others = others.map(|(labels, mixed)| {
            let shares: Vec<f32> = mixed.blends.iter().map(|blend| blend.share).collect();
            let shares = Tensor::from_vec(shares, labels.len(), device)?;
            Ok::<_, Error>(OtherLabels { labels: on_device(labels)?, shares })
        });
        Ok(Lesson { batch, images, labels, others: others.transpose()?, answer })
    }
}
