//! Cross-entropy with the labels, optionally smoothed (Szegedy et al. 2016).

use candle_core::Tensor;

use super::{DistillationLoss, LossInput};
use crate::Result;
use crate::nn::log_softmax;

/// `-Σ target · ln softmax(student)`, mean over the batch.
///
/// The target is `1 - ε` on the label plus `ε / c` on each of the `c` classes, as in PyTorch.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy {
    /// `ε` in `[0, 1)`.
    pub label_smoothing: f64,
}

impl DistillationLoss for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn needs_teacher(&self) -> bool {
        false
    }

    fn needs_labels(&self) -> bool {
        true
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let log_probabilities = log_softmax(input.student_logits)?;
        let hard = input.labelled(self.name(), |labels| {
            Ok(log_probabilities.gather(&labels.unsqueeze(1)?, 1)?.squeeze(1)?.neg()?)
        })?;
        if self.label_smoothing == 0.0 {
            return Ok(hard);
        }
        let even = log_probabilities.mean_all()?.neg()?;
        Ok(((hard * (1.0 - self.label_smoothing))? + (even * self.label_smoothing)?)?)
    }
}
