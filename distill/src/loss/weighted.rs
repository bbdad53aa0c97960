//! The objective of a run: a weighted sum of losses.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{DistillationLoss, LossInput, LossSpec, Surroundings};
use crate::optim::Parameter;
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

    /// Whether any term learns from peers.
    pub fn needs_peers(&self) -> bool {
        self.terms.iter().any(|(_, loss)| loss.needs_peers())
    }

    /// Whether any term needs labels.
    pub fn needs_labels(&self) -> bool {
        self.terms.iter().any(|(_, loss)| loss.needs_labels())
    }

    /// The first term that compares inner values, by name.
    pub fn needs_features(&self) -> Option<&'static str> {
        self.terms.iter().find(|(_, loss)| loss.needs_features()).map(|(_, loss)| loss.name())
    }

    /// Lets every term choose its nodes; to be called before the first batch where
    /// [`needs_features`](Self::needs_features).
    pub fn bind(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        self.terms.iter_mut().try_for_each(|(_, loss)| loss.bind(around))
    }

    /// Variables of the terms that are trained with the student's, named `objective.{term}.{name}`.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.named(|loss| loss.parameters())
    }

    /// Copies of all that the terms keep from batch to batch, by name.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let kept = self.named(|loss| loss.state());
        kept.into_iter().map(|p| Ok((p.name, p.var.copy()?.detach()))).collect()
    }

    /// Puts a saved [`state`](Self::state) back. Fails when a tensor is missing or of another shape.
    pub fn load_state(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        for Parameter { name, var } in self.named(|loss| loss.state()) {
            let fail = |message: String| Error::new(ErrorKind::Checkpoint, &name, message);
            let tensor = tensors.get(&name).ok_or_else(|| fail("is missing".into()))?;
            if tensor.dims() != var.dims() {
                return Err(fail(format!("has shape {:?}, not {:?}", tensor.dims(), var.dims())));
            }
            var.set(&tensor.to_device(var.device())?)?;
        }
        Ok(())
    }

    fn named(&self, of: impl Fn(&dyn DistillationLoss) -> Vec<Parameter>) -> Vec<Parameter> {
        let terms = self.terms.iter().enumerate();
        let named = terms.flat_map(|(i, (_, loss))| {
            let rename =
                move |p: Parameter| Parameter { name: format!("objective.{i}.{}", p.name), ..p };
            of(loss.as_ref()).into_iter().map(rename)
        });
        named.collect()
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
