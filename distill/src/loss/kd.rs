//! Knowledge distillation by softened probabilities (Hinton, Vinyals & Dean 2015).

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

use super::{DistillationLoss, LossInput};
use crate::nn::log_softmax;
use crate::{Error, ErrorKind, Result};

/// Divides logits before a softmax: finite and greater than 0. Higher is softer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Temperature(f64);

impl Temperature {
    /// Fails unless `value` is finite and greater than 0.
    pub fn new(value: f64) -> Result<Self> {
        if value.is_finite() && value > 0.0 {
            return Ok(Self(value));
        }
        let message = format!("{value} must be finite and greater than 0; 4 is a usual choice");
        Err(Error::new(ErrorKind::Config, "temperature", message))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Temperature {
    /// 4, the value of most published comparisons (CRD, DKD).
    fn default() -> Self {
        Self(4.0)
    }
}

impl TryFrom<f64> for Temperature {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self> {
        Self::new(value)
    }
}

impl From<Temperature> for f64 {
    fn from(temperature: Temperature) -> Self {
        temperature.0
    }
}

/// `T² · KL(softmax(teacher / T) ‖ softmax(student / T))`, summed over classes, mean over the batch.
///
/// `T²` keeps the gradient's size when `T` changes, as the paper advises.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kd {
    /// `T`.
    pub temperature: Temperature,
}

impl DistillationLoss for Kd {
    fn name(&self) -> &'static str {
        "kd"
    }

    fn needs_teacher(&self) -> bool {
        true
    }

    fn needs_labels(&self) -> bool {
        false
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let t = self.temperature.get();
        let teacher = log_softmax(&(input.teacher(self.name())? / t)?)?;
        let student = log_softmax(&(input.student_logits / t)?)?;
        let divergence = (teacher.exp()? * (&teacher - student)?)?.sum(D::Minus1)?;
        Ok((divergence.mean_all()? * (t * t))?)
    }
}
