//! What a training reports while it runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Listens to a training: progress bars, logs.
pub trait Monitor {
    /// An epoch of `steps` batches begins, or goes on after `done` of them; epochs count from 1.
    fn epoch_started(&mut self, epoch: usize, epochs: usize, steps: usize, done: usize) {
        let _ = (epoch, epochs, steps, done);
    }

    /// One batch was learnt from; `loss` is its own, of the network that is trained, not its peers'.
    fn step(&mut self, loss: f64) {
        let _ = loss;
    }

    /// The teacher was asked for `done` of `samples` samples of view `view`, from 1, whose answers
    /// are kept.
    fn asked(&mut self, view: usize, done: usize, samples: usize) {
        let _ = (view, done, samples);
    }

    /// Something that a user should know, as a sentence.
    fn note(&mut self, text: &str) {
        let _ = text;
    }

    /// An epoch ended; `metrics` are those of the network `role`, as `student` or its `peer-1`.
    fn epoch_ended(&mut self, role: &str, metrics: &EpochMetrics) {
        let _ = (role, metrics);
    }
}

/// Hears nothing.
pub struct Silent;

impl Monitor for Silent {}

/// What one epoch brought; means over its samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Steps taken since the run began.
    pub step: u64,
    /// The objective.
    pub loss: f64,
    /// Each term of the objective before its weight.
    pub terms: BTreeMap<String, f64>,
    /// Share of the training samples, as augmented, whose best class was the label.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub train_accuracy: Option<f64>,
    /// Share of the validation samples whose best class is the label after the epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub validation_accuracy: Option<f64>,
    /// Factor of the learning rate at the epoch's last step.
    pub lr_factor: f64,
    /// The learning rate itself at that step.
    pub lr: f64,
    /// Mean L2 norm of the gradient before clipping; only with `clip_norm`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gradient_norm: Option<f64>,
    /// Training samples a second, the teacher's time included.
    pub images_per_second: f64,
}
