//! The objective of a run: a weighted sum of losses.

use candle_core::Tensor;

use super::{DistillationLoss, LossInput, LossSpec};
use crate::{Error, ErrorKind, Result};

/// Losses with their weights.
pub struct WeightedSum {
    terms: Vec<(f64, Box<dyn DistillationLoss>)>,
}

/// The objective for one batch.
pub struct LossValue {
    /// The weighted sum, a scalar that carries the gradient.
    pub total: Tensor,
    /// Each term before its weight, by name, in the recipe's order; scalars without gradient.
    pub terms: Vec<(&'static str, Tensor)>,
}

impl WeightedSum {
    /// Fails when the list is empty, a number is out of range or all weights are 0.
    pub fn new(specs: &[LossSpec]) -> Result<Self> {
        let terms = specs
            .iter()
            .map(|spec| Ok((spec.weight(), spec.build()?)))
            .collect::<Result<Vec<_>>>()?;
        if terms.iter().all(|(weight, _)| *weight == 0.0) {
            let message = "no term has a weight above 0: there is nothing to train";
            return Err(Error::new(ErrorKind::Config, "loss", message));
        }
        Ok(Self { terms })
    }

    /// Whether any term needs the teacher's logits.
    pub fn needs_teacher(&self) -> bool {
        self.terms.iter().any(|(_, loss)| loss.needs_teacher())
    }

    /// Whether any term needs labels.
    pub fn needs_labels(&self) -> bool {
        self.terms.iter().any(|(_, loss)| loss.needs_labels())
    }

    /// The objective and its terms for one batch.
    pub fn forward(&self, input: &LossInput<'_>) -> Result<LossValue> {
        let mut total =
            Tensor::zeros((), input.student_logits.dtype(), input.student_logits.device())?;
        let mut terms = Vec::with_capacity(self.terms.len());
        for (weight, loss) in &self.terms {
            let value = loss.forward(input)?;
            terms.push((loss.name(), value.detach()));
            total = (total + (value * *weight)?)?;
        }
        Ok(LossValue { total, terms })
    }
}
