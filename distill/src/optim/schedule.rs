//! Learning-rate schedules: pure functions of the step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// How the learning rate changes over a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleSpec {
    /// The same from first to last.
    #[default]
    Constant,
    /// Half a cosine from 1 to `final_fraction` (Loshchilov & Hutter 2017).
    Cosine {
        /// Epochs of linear growth before it.
        #[serde(default)]
        warmup: f64,
        /// Where it ends.
        #[serde(default)]
        final_fraction: f64,
    },
    /// Times `gamma` at the start of each epoch in `milestones`.
    Step {
        /// Epochs of linear growth at the start.
        #[serde(default)]
        warmup: f64,
        /// Epochs, counted from 0.
        milestones: Vec<f64>,
        /// Factor at each.
        #[serde(default = "tenth")]
        gamma: f64,
    },
}

fn tenth() -> f64 {
    0.1
}

impl ScheduleSpec {
    /// Fails when a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let numbers = match self {
            Self::Constant => return Ok(()),
            Self::Cosine { warmup, final_fraction } => vec![*warmup, *final_fraction],
            Self::Step { warmup, milestones, gamma } => {
                let mut numbers = vec![*warmup, *gamma];
                numbers.extend(milestones);
                numbers
            }
        };
        match numbers.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
            Some(bad) => {
                let message = format!("{bad} must be finite and not negative");
                Err(Error::new(ErrorKind::Config, "schedule", message))
            }
            None => Ok(()),
        }
    }

    /// The factor of the learning rate for `step`, counted from 0, of a run of
    /// `epochs · steps_per_epoch` steps. Steps beyond the run keep the last factor.
    ///
    /// Warm-up over `w` steps gives `(step + 1) / w`.
    pub fn factor(&self, step: u64, steps_per_epoch: u64, epochs: u64) -> f64 {
        let per_epoch = steps_per_epoch as f64;
        let ramp = |warmup: f64| {
            let steps = warmup * per_epoch;
            if (step as f64) < steps { ((step + 1) as f64 / steps).min(1.0) } else { 1.0 }
        };
        match self {
            Self::Constant => 1.0,
            Self::Cosine { warmup, final_fraction } => {
                let start = warmup * per_epoch;
                let length = (epochs as f64 * per_epoch - start).max(1.0);
                let progress = ((step as f64 - start) / length).clamp(0.0, 1.0);
                let cosine = 0.5 * (1.0 + (PI * progress).cos());
                ramp(*warmup) * (final_fraction + (1.0 - final_fraction) * cosine)
            }
            Self::Step { warmup, milestones, gamma } => {
                let passed = milestones.iter().filter(|&&epoch| step as f64 >= epoch * per_epoch);
                ramp(*warmup) * passed.fold(1.0, |factor, _| factor * gamma)
            }
        }
    }
}
