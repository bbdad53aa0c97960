//! Knowledge distillation by softened probabilities (Hinton, Vinyals & Dean 2015), on plain or
//! standardised logits (Sun et al. 2024).

use candle_core::{D, Tensor};

use super::{DistillationLoss, LossInput, TemperatureSchedule};
use crate::Result;
use crate::nn::log_softmax;

/// `T² · KL(softmax(teacher / T) ‖ softmax(student / T))`, summed over classes, mean over the batch.
///
/// `T²` keeps the gradient's size when `T` changes, as the paper advises.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kd {
    /// `T`.
    pub temperature: TemperatureSchedule,
    /// Whether each row of logits is first made to have mean 0 and standard deviation 1 (Sun et
    /// al. 2024): the student then learns the teacher's relations, not its scale.
    pub standardise: bool,
}

impl DistillationLoss for Kd {
    fn name(&self) -> &'static str {
        if self.standardise { "logit-standardisation" } else { "kd" }
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let t = self.temperature.at(input.moment);
        let (mut teacher, mut student) =
            (input.teacher(self.name())?, input.student_logits.clone());
        if self.standardise {
            (teacher, student) = (z_scores(&teacher)?, z_scores(&student)?);
        }
        let divergence = divergence(&(teacher / t)?, &(student / t)?)?;
        Ok((divergence.mean_all()? * (t * t))?)
    }
}

/// `KL(softmax(teacher) ‖ softmax(student))` of each row, `[n]`.
pub(super) fn divergence(teacher: &Tensor, student: &Tensor) -> Result<Tensor> {
    let (teacher, student) = (log_softmax(teacher)?, log_softmax(student)?);
    Ok((teacher.exp()? * (&teacher - student)?)?.sum(D::Minus1)?)
}

/// Each row minus its mean, divided by its standard deviation of `c - 1` degrees of freedom plus
/// 1e-7, as the paper's code has it.
fn z_scores(logits: &Tensor) -> Result<Tensor> {
    let free = logits.dim(D::Minus1)?.saturating_sub(1).max(1) as f64;
    let centred = logits.broadcast_sub(&logits.mean_keepdim(D::Minus1)?)?;
    // Inside the root far below any f32 variance that matters: the gradient of equal logits is 0.
    let variance = ((centred.sqr()?.sum_keepdim(D::Minus1)? / free)? + 1e-30)?;
    Ok(centred.broadcast_div(&(variance.sqrt()? + 1e-7)?)?)
}
