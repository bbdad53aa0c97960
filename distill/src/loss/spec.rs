//! Losses as a recipe writes them: `{ kind = "kd", temperature = 4.0, weight = 0.9 }`.

use serde::{Deserialize, Serialize};

use super::{CrossEntropy, DistillationLoss, Kd, Mse, Temperature};
use crate::{Error, ErrorKind, Result};

/// One term of the objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LossSpec {
    /// [`Kd`].
    Kd {
        /// Softness of both probability vectors.
        #[serde(default)]
        temperature: Temperature,
        /// Factor in the sum.
        #[serde(default = "one")]
        weight: f64,
    },
    /// [`Mse`].
    Mse {
        /// Factor in the sum.
        #[serde(default = "one")]
        weight: f64,
    },
    /// [`CrossEntropy`].
    CrossEntropy {
        /// Factor in the sum.
        #[serde(default = "one")]
        weight: f64,
        /// Share of the target spread over all classes, in `[0, 1)`.
        #[serde(default)]
        label_smoothing: f64,
    },
}

fn one() -> f64 {
    1.0
}

impl LossSpec {
    /// Factor in the sum.
    pub fn weight(&self) -> f64 {
        match *self {
            Self::Kd { weight, .. } | Self::Mse { weight } | Self::CrossEntropy { weight, .. } => {
                weight
            }
        }
    }

    /// The loss, after checking the numbers.
    pub fn build(&self) -> Result<Box<dyn DistillationLoss>> {
        let loss: Box<dyn DistillationLoss> = match *self {
            Self::Kd { temperature, .. } => Box::new(Kd { temperature }),
            Self::Mse { .. } => Box::new(Mse),
            Self::CrossEntropy { label_smoothing, .. } => {
                if !(0.0..1.0).contains(&label_smoothing) {
                    let message = format!("{label_smoothing} must be at least 0 and below 1");
                    return Err(Error::new(ErrorKind::Config, "label_smoothing", message));
                }
                Box::new(CrossEntropy { label_smoothing })
            }
        };
        if !(self.weight().is_finite() && self.weight() >= 0.0) {
            let message = format!("weight {} must be finite and not negative", self.weight());
            return Err(Error::new(ErrorKind::Config, loss.name(), message));
        }
        Ok(loss)
    }
}
