//! How a network is trained.

use serde::{Deserialize, Serialize};

use crate::loss::LossSpec;
use crate::optim::{OptimizerSpec, ScheduleSpec};
use crate::soft_targets::Views;
use crate::{Error, ErrorKind, Result};

/// The budget and the rules of one training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// Passes over the training samples.
    pub epochs: usize,
    /// Samples a step.
    pub batch_size: usize,
    /// Optimizer and its constants.
    pub optimizer: OptimizerSpec,
    /// How the learning rate changes.
    pub schedule: ScheduleSpec,
    /// Largest joint L2 norm of the gradients; unlimited without it.
    pub clip_norm: Option<f64>,
    /// The objective, a weighted sum.
    pub loss: Vec<LossSpec>,
    /// The views of the samples that come back epoch after epoch; new ones every epoch without it.
    pub views: Option<Views>,
}

impl TrainSpec {
    /// The same budget with nothing but the labels to learn from: the control of a distillation.
    #[must_use]
    pub fn labels_only(&self) -> Self {
        let loss = vec![LossSpec::CrossEntropy { weight: 1.0, label_smoothing: 0.0 }];
        Self { loss, ..self.clone() }
    }

    /// Fails when a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |at: &str, message: String| Err(Error::new(ErrorKind::Config, at, message));
        if self.epochs == 0 {
            return wrong("epochs", "0 epochs train nothing: give at least 1".into());
        }
        if self.batch_size == 0 {
            return wrong("batch_size", "must be at least 1".into());
        }
        if let Some(norm) = self.clip_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            return wrong("clip_norm", format!("{norm} must be finite and above 0"));
        }
        if let Some(views) = &self.views {
            views.check()?;
        }
        self.optimizer.check()?;
        self.schedule.check()
    }
}
