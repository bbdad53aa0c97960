//! Regression of the teacher's logits (Ba & Caruana 2014).

use candle_core::Tensor;

use super::{DistillationLoss, LossInput};
use crate::Result;

/// Squared difference of logits, mean over samples *and* classes (PyTorch's `nn.MSELoss`).
///
/// With more classes the same error per sample therefore weighs less; scale the weight if networks
/// of different class counts are to be compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mse;

impl DistillationLoss for Mse {
    fn name(&self) -> &'static str {
        "mse"
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        Ok((input.student_logits - input.teacher(self.name())?)?.sqr()?.mean_all()?)
    }
}
