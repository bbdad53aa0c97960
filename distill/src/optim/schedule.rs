//! Learning-rate schedules: pure functions of the place in a run.

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
    /// A straight line from 1 to `final_fraction`.
    Linear {
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
    /// Up to 1 and down again by half cosines (Smith 2018), with the shape and the defaults of
    /// PyTorch's `OneCycleLR`; the momentum stays as it is.
    OneCycle {
        /// Share of the run in which the rate grows, in `(0, 1)`.
        #[serde(default = "three_tenths")]
        rise: f64,
        /// Where it begins: 1/25.
        #[serde(default = "twenty_fifth")]
        start_fraction: f64,
        /// Where it ends: a ten-thousandth of the beginning.
        #[serde(default = "vanishing")]
        final_fraction: f64,
    },
}

fn tenth() -> f64 {
    0.1
}

fn three_tenths() -> f64 {
    0.3
}

fn twenty_fifth() -> f64 {
    0.04
}

fn vanishing() -> f64 {
    4e-6
}

/// Where in its run a step is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Steps taken before it.
    pub step: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Most epochs of the run.
    pub epochs: u64,
    /// Share of the run's time budget that is used; 0 for a run without one.
    pub elapsed: f64,
}

impl Position {
    /// How far the run is, from 0 to 1: by its epochs or by its time, whichever is further.
    pub fn fraction(&self) -> f64 {
        (self.step as f64 / self.steps()).max(self.elapsed).clamp(0.0, 1.0)
    }

    /// Steps of the whole run, were time no limit.
    fn steps(&self) -> f64 {
        ((self.epochs * self.steps_per_epoch) as f64).max(1.0)
    }
}

/// Half a cosine from `a` to `b` as `progress` goes from 0 to 1.
fn cosine(a: f64, b: f64, progress: f64) -> f64 {
    b + (a - b) * 0.5 * (1.0 + (PI * progress.clamp(0.0, 1.0)).cos())
}

impl ScheduleSpec {
    /// Fails when a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Config, "schedule", message));
        let numbers = match self {
            Self::Constant => return Ok(()),
            Self::Cosine { warmup, final_fraction } | Self::Linear { warmup, final_fraction } => {
                vec![*warmup, *final_fraction]
            }
            Self::Step { warmup, milestones, gamma } => {
                let mut numbers = vec![*warmup, *gamma];
                numbers.extend(milestones);
                numbers
            }
            Self::OneCycle { rise, start_fraction, final_fraction } => {
                if !(*rise > 0.0 && *rise < 1.0) {
                    return wrong(format!("rise is {rise}: it must be above 0 and below 1"));
                }
                vec![*start_fraction, *final_fraction]
            }
        };
        match numbers.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
            Some(bad) => wrong(format!("{bad} must be finite and not negative")),
            None => Ok(()),
        }
    }

    /// The factor of the learning rate for the step at `at`. Steps beyond the run keep the last.
    ///
    /// Warm-up over `w` steps gives `(step + 1) / w`, whatever the time; all else follows
    /// [`Position::fraction`].
    pub fn factor(&self, at: &Position) -> f64 {
        let per_epoch = at.steps_per_epoch as f64;
        let (step, total) = (at.fraction() * at.steps(), at.steps());
        let ramp = |warmup: f64| {
            let steps = warmup * per_epoch;
            if (at.step as f64) < steps { ((at.step + 1) as f64 / steps).min(1.0) } else { 1.0 }
        };
        // From the end of the warm-up to the end of the run.
        let after = |warmup: f64| {
            let start = warmup * per_epoch;
            ((step - start) / (total - start).max(1.0)).clamp(0.0, 1.0)
        };
        match self {
            Self::Constant => 1.0,
            Self::Cosine { warmup, final_fraction } => {
                ramp(*warmup) * cosine(1.0, *final_fraction, after(*warmup))
            }
            Self::Linear { warmup, final_fraction } => {
                ramp(*warmup) * (1.0 + (final_fraction - 1.0) * after(*warmup))
            }
            Self::Step { warmup, milestones, gamma } => {
                let passed = milestones.iter().filter(|&&epoch| step >= epoch * per_epoch);
                ramp(*warmup) * passed.fold(1.0, |factor, _| factor * gamma)
            }
            Self::OneCycle { rise, start_fraction, final_fraction } => {
                // As in PyTorch: the last step of the rise and the last of all are exact.
                let (peak, end) = (rise * total - 1.0, (total - 1.0).max(1.0));
                if step < peak {
                    cosine(*start_fraction, 1.0, step / peak)
                } else {
                    cosine(1.0, *final_fraction, (step - peak) / (end - peak))
                }
            }
        }
    }
}
