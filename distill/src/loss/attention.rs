//! Attention transfer (Zagoruyko & Komodakis 2017): where in the image the activations are.

use candle_core::Tensor;

use super::features::{Bound, NodePair, Surroundings, bound};
use super::rows::unit;
use super::{DistillationLoss, LossInput};
use crate::{Error, ErrorKind, Result};

/// `(a(student) - a(teacher))²`, mean over samples and places, where `a` is the mean of squares
/// over the channels, as one row of length 1 a sample.
///
/// Images of different sizes: the larger one is averaged down to the smaller first.
pub struct AttentionTransfer {
    nodes: NodePair,
    parts: Option<Bound>,
}

impl AttentionTransfer {
    /// Between the nodes of this name.
    pub fn new(nodes: NodePair) -> Self {
        Self { nodes, parts: None }
    }
}

impl DistillationLoss for AttentionTransfer {
    fn name(&self) -> &'static str {
        "attention-transfer"
    }

    fn needs_features(&self) -> bool {
        true
    }

    fn bind(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let bound = self.nodes.bind(around)?;
        if bound.student.shape.len() != 3 || bound.teacher.shape.len() != 3 {
            let message = format!(
                "{}: attention is compared between two images [c, h, w]; name such nodes with \
                 student and teacher",
                bound.shapes()
            );
            return Err(Error::new(ErrorKind::Shape, self.name(), message));
        }
        self.parts = Some(bound);
        Ok(())
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let (student, teacher) = bound(self.parts.as_ref(), self.name())?.same_size(input)?;
        Ok((attention(&student)? - attention(&teacher)?)?.sqr()?.mean_all()?)
    }
}

/// `[n, h · w]`
fn attention(x: &Tensor) -> Result<Tensor> {
    unit(&x.sqr()?.mean(1)?.flatten_from(1)?)
}
