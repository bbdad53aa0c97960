//! DIST (Huang et al. 2022): correlation with a stronger teacher instead of equality.

use candle_core::{D, Tensor};

use super::{DistillationLoss, LossInput, TemperatureSchedule};
use crate::Result;
use crate::nn::softmax;

/// `τ² · (β · (1 - mean ρ of rows) + γ · (1 - mean ρ of columns))` of the softmaxes at `τ`.
///
/// `ρ` is Pearson's correlation between student and teacher: of a sample over the classes (rows),
/// and of a class over the batch (columns).
#[derive(Clone, Copy, Debug)]
pub struct Dist {
    /// `β`, of the relations within a sample.
    pub beta: f64,
    /// `γ`, of the relations within a class.
    pub gamma: f64,
    /// `τ`.
    pub temperature: TemperatureSchedule,
}

impl DistillationLoss for Dist {
    fn name(&self) -> &'static str {
        "dist"
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let t = self.temperature.at(input.moment);
        let teacher = softmax(&(input.teacher(self.name())? / t)?)?;
        let student = softmax(&(input.student_logits / t)?)?;
        let inter = unlike(&student, &teacher)?;
        let intra = unlike(&student.t()?, &teacher.t()?)?;
        Ok((((inter * self.beta)? + (intra * self.gamma)?)? * (t * t))?)
    }
}

/// `1 - mean ρ` over the rows.
fn unlike(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let [a, b] = [unit(a)?, unit(b)?];
    Ok((1.0 - (a * b)?.sum(D::Minus1)?.mean_all()?)?)
}

/// Each row less its mean, at length 1; a constant row becomes 0, and so does its gradient.
fn unit(x: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let length = (centred.sqr()?.sum_keepdim(D::Minus1)? + 1e-16)?.sqrt()?;
    Ok(centred.broadcast_div(&length)?)
}
