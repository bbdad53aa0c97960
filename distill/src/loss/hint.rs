//! FitNets (Romero et al. 2015): an inner value of the teacher as a hint for one of the student's.

use candle_core::Tensor;

use super::adapter::Adapter;
use super::features::{Bound, NodePair, Surroundings, bound};
use super::{DistillationLoss, LossInput};
use crate::optim::Parameter;
use crate::{Error, ErrorKind, Result};

/// `(adapter(student) - teacher)²`, mean over all elements.
///
/// The adapter is a 1×1 convolution with bias where the values are images, a linear map otherwise.
/// Images of different sizes: the larger one is averaged down to the smaller
/// (PyTorch's `adaptive_avg_pool2d`).
pub struct Hint {
    nodes: NodePair,
    parts: Option<(Bound, Adapter)>,
}

impl Hint {
    /// Between the nodes of this name.
    pub fn new(nodes: NodePair) -> Self {
        Self { nodes, parts: None }
    }
}

impl DistillationLoss for Hint {
    fn name(&self) -> &'static str {
        "hint"
    }

    fn needs_features(&self) -> bool {
        true
    }

    fn bind(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let bound = self.nodes.bind(around)?;
        let channels = match (&bound.student.shape[..], &bound.teacher.shape[..]) {
            (&[inputs, _, _], &[outputs, _, _]) => Some((inputs, outputs)),
            ([rest_a @ .., inputs], [rest_b @ .., outputs]) if rest_a == rest_b => {
                Some((*inputs, *outputs))
            }
            _ => None,
        };
        let Some(channels) = channels else {
            let message = format!(
                "{}: a hint needs two images, or values that differ in the last dimension only",
                bound.shapes()
            );
            return Err(Error::new(ErrorKind::Shape, self.name(), message));
        };
        let name = format!("hint.{}.{}", bound.student.name, bound.teacher.name);
        let adapter = Adapter::new(&name, channels, around.seed, around.device)?;
        self.parts = Some((bound, adapter));
        Ok(())
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.parts.iter().flat_map(|(_, adapter)| adapter.parameters()).collect()
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let (nodes, adapter) = bound(self.parts.as_ref(), self.name())?;
        let (student, teacher) = nodes.same_size(input)?;
        Ok((adapter.forward(&student)? - teacher)?.sqr()?.mean_all()?)
    }
}
