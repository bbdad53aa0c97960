//! How a network is trained.

use serde::{Deserialize, Serialize};

use crate::data::Mix;
use crate::loss::LossSpec;
use crate::nn::Precision;
use crate::optim::{OptimizerSpec, ScheduleSpec};
use crate::soft_targets::Views;
use crate::{Error, ErrorKind, Result};

/// The budget and the rules of one training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// Most passes over the training samples.
    pub epochs: usize,
    /// Most minutes, validation and the teacher's answers included; unlimited without it. The
    /// schedule then follows epochs or time, whichever is further.
    pub minutes: Option<f64>,
    /// Samples of a batch.
    pub batch_size: usize,
    /// Batches whose gradients are averaged for one step.
    pub accumulate: usize,
    /// Optimizer and its constants.
    pub optimizer: OptimizerSpec,
    /// How the learning rate changes.
    pub schedule: ScheduleSpec,
    /// Largest joint L2 norm of the gradients; unlimited without it.
    pub clip_norm: Option<f64>,
    /// Decay of the moving average of weights and running statistics, which is then what is
    /// validated and kept.
    pub ema: Option<f64>,
    /// When to stop before the last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// Which epoch's network is kept.
    pub keep: Keep,
    /// Of products on a GPU.
    pub precision: Precision,
    /// How samples are mixed with one another; not at all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Mix>,
    /// The objective, a weighted sum.
    pub loss: Vec<LossSpec>,
    /// The views of the samples that come back epoch after epoch; new ones every epoch without it.
    pub views: Option<Views>,
}

/// Stops a training whose validation accuracy grows no more (Prechelt 1998).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStopping {
    /// Epochs without an improvement after which training stops.
    pub patience: usize,
    /// What counts as one: this much more accuracy, a fraction, than at the last.
    pub min_delta: f64,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self { patience: 10, min_delta: 0.0 }
    }
}

/// Which epoch's network a training keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The last epoch's.
    #[default]
    Last,
    /// That of the first epoch with the highest validation accuracy.
    Best,
}

impl Default for TrainSpec {
    /// Ten epochs of AdamW in batches of 64 on the labels.
    fn default() -> Self {
        Self {
            epochs: 10,
            minutes: None,
            batch_size: 64,
            accumulate: 1,
            optimizer: OptimizerSpec::default(),
            schedule: ScheduleSpec::default(),
            clip_norm: None,
            ema: None,
            early_stopping: None,
            keep: Keep::default(),
            precision: Precision::default(),
            mix: None,
            loss: vec![LossSpec::CrossEntropy { weight: 1.0, label_smoothing: 0.0 }],
            views: None,
        }
    }
}

impl TrainSpec {
    /// The same budget with nothing but the labels to learn from: the control of a distillation.
    #[must_use]
    pub fn labels_only(&self) -> Self {
        Self { loss: Self::default().loss, ..self.clone() }
    }

    /// The key that asks for a validation accuracy, if one does.
    pub fn needs_validation(&self) -> Option<&'static str> {
        match (self.early_stopping, self.keep) {
            (Some(_), _) => Some("early_stopping"),
            (None, Keep::Best) => Some("keep"),
            (None, Keep::Last) => None,
        }
    }

    /// Fails when a number is out of its range; the error is at the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |at: &str, message: String| Err(Error::new(ErrorKind::Config, at, message));
        let above_zero = |value: f64| value.is_finite() && value > 0.0;
        if self.epochs == 0 {
            return wrong("epochs", "0 epochs train nothing: give at least 1".into());
        }
        for (at, count) in [("batch_size", self.batch_size), ("accumulate", self.accumulate)] {
            if count == 0 {
                return wrong(at, "must be at least 1".into());
            }
        }
        for (at, limit) in [("clip_norm", self.clip_norm), ("minutes", self.minutes)] {
            if let Some(limit) = limit.filter(|&limit| !above_zero(limit)) {
                let message = format!("{limit} must be finite and above 0; no limit without it");
                return wrong(at, message);
            }
        }
        if let Some(decay) = self.ema.filter(|decay| !(0.0..1.0).contains(decay)) {
            return wrong("ema", format!("{decay} must be at least 0 and below 1, as 0.999"));
        }
        if let Some(EarlyStopping { patience, min_delta }) = self.early_stopping {
            if patience == 0 {
                return wrong("early_stopping", "patience must be at least 1 epoch".into());
            }
            if !(0.0..1.0).contains(&min_delta) {
                let message =
                    format!("min_delta is {min_delta}: it must be a fraction, as 0.001 for 0.1 %");
                return wrong("early_stopping", message);
            }
        }
        if let Some(mix) = &self.mix {
            mix.check()?;
        }
        if let Some(views) = &self.views {
            views.check()?;
        }
        self.optimizer.check()?;
        self.schedule.check()
    }
}
