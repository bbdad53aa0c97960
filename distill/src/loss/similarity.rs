//! Similarity-preserving distillation (Tung & Mori 2019): which samples of a batch are alike.

use candle_core::Tensor;

use super::features::{Bound, NodePair, Surroundings, bound};
use super::rows::{flat, unit};
use super::{DistillationLoss, LossInput};
use crate::Result;
use crate::nn::linear;

/// `‖G(teacher) - G(student)‖² / n²`, where row `i` of `G [n, n]` holds the products of sample `i`'s
/// values with every sample's, at length 1.
pub struct Similarity {
    nodes: NodePair,
    parts: Option<Bound>,
}

impl Similarity {
    /// Between the nodes of this name.
    pub fn new(nodes: NodePair) -> Self {
        Self { nodes, parts: None }
    }
}

impl DistillationLoss for Similarity {
    fn name(&self) -> &'static str {
        "similarity"
    }

    fn needs_features(&self) -> bool {
        true
    }

    fn bind(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        self.parts = Some(self.nodes.bind(around)?);
        Ok(())
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let (student, teacher) = bound(self.parts.as_ref(), self.name())?.values(input)?;
        let difference = (similarities(&teacher)? - similarities(&student)?)?;
        Ok(difference.sqr()?.mean_all()?)
    }
}

fn similarities(x: &Tensor) -> Result<Tensor> {
    let x = flat(x)?;
    unit(&linear(&x, &x, None)?)
}
