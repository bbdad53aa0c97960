//! From the gradients of batches to new weights: accumulation, clipping, the optimizer's step and
//! the moving average.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::TrainSpec;
use crate::Result;
use crate::interpreter::Network;
use crate::nn::Precision;
use crate::optim::{Average, LossScale, Optimizer, Parameter, Position, clip_grad_norm};

/// The updates of one training.
pub(super) struct Update<'a> {
    spec: &'a TrainSpec,
    pub(super) optimizer: Optimizer,
    /// Only with `ema`.
    pub(super) average: Option<Average>,
    /// Sum over the samples since the last step, one a parameter; only with `accumulate`.
    sums: Vec<Option<Tensor>>,
    samples: usize,
    /// Only where products are in f16.
    pub(super) scale: Option<LossScale>,
}

/// What a step was like.
pub(super) struct Step {
    pub(super) lr_factor: f64,
    /// L2 norm of the gradient before clipping; only with `clip_norm`. Where it is not finite, no
    /// step was taken.
    pub(super) gradient_norm: Option<f64>,
}

impl<'a> Update<'a> {
    /// `beside` is trained with the network, whose follower for `ema` is `averaged`.
    pub(super) fn new(
        spec: &'a TrainSpec,
        network: &Network,
        beside: &[Parameter],
        averaged: Option<&Network>,
    ) -> Result<Self> {
        let average = spec.ema.zip(averaged).map(|(decay, averaged)| {
            let pairs = network.variables().zip(averaged.variables());
            Average::new(decay, pairs.map(|(from, to)| (from.clone(), to.clone())).collect())
        });
        let parameters = [network.parameters(), beside].concat();
        Ok(Self {
            spec,
            sums: vec![None; parameters.len()],
            optimizer: Optimizer::new(&spec.optimizer, parameters)?,
            average,
            samples: 0,
            scale: (spec.precision == Precision::F16).then(LossScale::default),
        })
    }

    /// Whether no gradients wait for their step.
    pub(super) fn is_between_steps(&self) -> bool {
        self.samples == 0
    }

    /// Takes the mean gradients of a batch of `samples`, of the loss times `scale`; where they
    /// complete a step, takes it with the learning rate for `at`. A step whose scaled gradients are
    /// too large for their type is left out.
    pub(super) fn add(
        &mut self,
        mut gradients: GradStore,
        samples: usize,
        completes: bool,
        at: &Position,
    ) -> Result<Option<Step>> {
        if self.spec.accumulate > 1 {
            self.samples += samples;
            for (sum, parameter) in self.sums.iter_mut().zip(self.optimizer.parameters()) {
                if let Some(gradient) = gradients.remove(&parameter.var) {
                    let share = (gradient * samples as f64)?;
                    *sum = Some(match sum.take() {
                        Some(sum) => (sum + share)?,
                        None => share,
                    });
                }
            }
            if !completes {
                return Ok(None);
            }
            for (sum, parameter) in self.sums.iter_mut().zip(self.optimizer.parameters()) {
                if let Some(sum) = sum.take() {
                    gradients.insert(&parameter.var, (sum / self.samples as f64)?);
                }
            }
            self.samples = 0;
        }
        if let Some(scale) = &mut self.scale
            && !scale.unscale(&mut gradients, self.optimizer.parameters())?
        {
            return Ok(None);
        }
        let lr_factor = self.spec.schedule.factor(at);
        let gradient_norm = self
            .spec
            .clip_norm
            .map(|limit| clip_grad_norm(&mut gradients, self.optimizer.parameters(), limit))
            .transpose()?;
        if gradient_norm.is_none_or(f64::is_finite) {
            self.optimizer.step(&gradients, lr_factor)?;
            if let Some(average) = &mut self.average {
                average.update()?;
            }
        }
        Ok(Some(Step { lr_factor, gradient_norm }))
    }
}
