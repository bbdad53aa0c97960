//! Relational knowledge distillation (Park et al. 2019): distances and angles between samples.

use candle_core::Tensor;

use super::features::{Bound, NodePair, Surroundings, bound};
use super::rows::{flat, unit};
use super::{DistillationLoss, LossInput};
use crate::Result;
use crate::nn::linear;

/// `distance · huber(d) + angle · huber(a)`, each a mean over all pairs or triples of the batch.
///
/// `d` are the Euclidean distances between two samples' values, divided by their mean; `a` the
/// cosines of the angles at one sample between two others. A batch of `n` samples of `f` values
/// takes `n² · (f + n)` numbers of memory a few times over.
pub struct Rkd {
    nodes: NodePair,
    distance: f64,
    angle: f64,
    parts: Option<Bound>,
}

impl Rkd {
    /// Between the nodes of this name, with the factors of distances and angles.
    pub fn new(nodes: NodePair, distance: f64, angle: f64) -> Self {
        Self { nodes, distance, angle, parts: None }
    }
}

impl DistillationLoss for Rkd {
    fn name(&self) -> &'static str {
        "rkd"
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
        let (student, teacher) = (flat(&student)?, flat(&teacher)?);
        let term = |factor: f64, relations: fn(&Tensor) -> Result<Tensor>| -> Result<Tensor> {
            Ok((huber(&(relations(&student)? - relations(&teacher)?)?)? * factor)?)
        };
        match (self.distance, self.angle) {
            (distance, 0.0) => term(distance, distances),
            (0.0, angle) => term(angle, angles),
            (distance, angle) => Ok((term(distance, distances)? + term(angle, angles)?)?),
        }
    }
}

/// `[n, n]`: distances between rows, divided by the mean of those between two samples.
fn distances(x: &Tensor) -> Result<Tensor> {
    let n = x.dim(0)?;
    let squares = x.sqr()?.sum(1)?;
    let pairs = squares.unsqueeze(1)?.broadcast_add(&squares.unsqueeze(0)?)?;
    let squared = (pairs - (linear(x, x, None)? * 2.0)?)?;
    // Rounding may leave a small negative number; the root needs a slope that is finite.
    let lengths = squared.maximum(1e-12)?.sqrt()?;
    let between: Vec<f32> = (0..n * n).map(|i| f32::from(i / n != i % n)).collect();
    let lengths = (lengths * Tensor::from_vec(between, (n, n), x.device())?)?;
    let mean = (lengths.sum_all()? / (n * n.saturating_sub(1)).max(1) as f64)?;
    Ok(lengths.broadcast_div(&(mean + 1e-12)?)?)
}

/// `[n, n, n]`: the cosine of the angle at the first sample between the two others.
fn angles(x: &Tensor) -> Result<Tensor> {
    let directions = unit(&x.unsqueeze(0)?.broadcast_sub(&x.unsqueeze(1)?)?)?;
    Ok(directions.matmul(&directions.transpose(1, 2)?.contiguous()?)?)
}

/// Mean of `½x²` where `|x| < 1`, else `|x| - ½` (Huber 1964; PyTorch's `smooth_l1_loss`).
fn huber(x: &Tensor) -> Result<Tensor> {
    let size = x.abs()?;
    let small = size.minimum(1.0)?;
    Ok(((small.sqr()? * 0.5)? + (size - small)?)?.mean_all()?)
}
