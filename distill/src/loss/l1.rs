//! Regression of the teacher's logits by absolute differences, less moved by outliers than squares.

use candle_core::Tensor;

use super::{DistillationLoss, LossInput};
use crate::Result;

/// Absolute difference of logits, mean over samples *and* classes (PyTorch's `nn.L1Loss`).
#[derive(Clone, Copy, Debug, Default)]
pub struct L1;

impl DistillationLoss for L1 {
    fn name(&self) -> &'static str {
        "l1"
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        Ok((input.student_logits - input.teacher(self.name())?)?.abs()?.mean_all()?)
    }
}
