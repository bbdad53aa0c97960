//! Sums over the steps of an epoch, kept in checkpoints, and the metrics they become.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::EpochMetrics;
use super::update::Step;

/// Sums over samples, each step weighted with its batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) samples: usize,
    pub(super) loss: f64,
    pub(super) terms: BTreeMap<String, f64>,
    /// Samples whose best class was the label; `None` without labels.
    pub(super) right: Option<usize>,
    pub(super) gradient_norm: Option<f64>,
    /// Samples behind `gradient_norm`.
    pub(super) normed: usize,
    pub(super) lr_factor: f64,
    pub(super) seconds: f64,
}

/// What one step found.
pub(super) struct StepResult {
    pub(super) samples: usize,
    pub(super) loss: f64,
    pub(super) terms: Vec<(&'static str, f64)>,
    pub(super) right: Option<usize>,
    /// The step that the batch completed, if it did.
    pub(super) update: Option<Step>,
}

impl Sums {
    pub(super) fn add(&mut self, step: &StepResult) {
        let weight = step.samples as f64;
        self.samples += step.samples;
        self.loss += step.loss * weight;
        for (name, value) in &step.terms {
            *self.terms.entry((*name).to_string()).or_default() += value * weight;
        }
        if let Some(right) = step.right {
            *self.right.get_or_insert(0) += right;
        }
        if let Some(Step { lr_factor, gradient_norm }) = step.update {
            self.lr_factor = lr_factor;
            if let Some(norm) = gradient_norm {
                *self.gradient_norm.get_or_insert(0.0) += norm * weight;
                self.normed += step.samples;
            }
        }
    }

    /// Means, for epoch `epoch` (from 1) that ended at `step`; `lr` is the optimizer's.
    pub(super) fn metrics(
        &self,
        epoch: usize,
        step: u64,
        lr: f64,
        validation: Option<f64>,
    ) -> EpochMetrics {
        let mean = |sum: f64| sum / self.samples.max(1) as f64;
        EpochMetrics {
            epoch,
            step,
            loss: mean(self.loss),
            terms: self.terms.iter().map(|(name, &sum)| (name.clone(), mean(sum))).collect(),
            train_accuracy: self.right.map(|right| mean(right as f64)),
            validation_accuracy: validation,
            lr_factor: self.lr_factor,
            lr: lr * self.lr_factor,
            gradient_norm: self.gradient_norm.map(|sum| sum / self.normed.max(1) as f64),
            images_per_second: self.samples as f64 / self.seconds.max(1e-9),
        }
    }
}
