//! One optimizer step for one tensor: PyTorch's `sgd`, `adam` and `adamw` formulas.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result as CandleResult, Tensor, Var, bail};
use rayon::prelude::*;

use super::OptimizerSpec;
use crate::Result;
use crate::nn::buffer::operand;

/// The constants of one step, the same for all elements of a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// `g += l2·p; b = μ·b + g; p -= lr·(nesterov ? g + μ·b : b)`.
    Sgd { lr: f64, momentum: f64, nesterov: bool, l2: f64 },
    /// `p *= keep; g += l2·p; m = β₁m + (1-β₁)g; v = β₂v + (1-β₂)g²;
    /// p -= lr/(1-β₁ᵗ) · m / (√v/√(1-β₂ᵗ) + ε)`.
    Adam { step_size: f64, betas: [f64; 2], eps: f64, correction: f64, l2: f64, keep: f64 },
}

impl Rule {
    /// The rule of step `t` (from 1), its learning rate scaled by `factor`.
    pub(super) fn new(spec: &OptimizerSpec, t: u64, factor: f64, decays: bool) -> Self {
        let decay = |weight_decay: f64| if decays { weight_decay } else { 0.0 };
        let adam = |lr: f64, betas: [f64; 2], eps: f64, l2: f64, keep: f64| {
            let [remaining1, remaining2] = betas.map(|beta| 1.0 - beta.powf(t as f64));
            let (step_size, correction) = (lr / remaining1, remaining2.sqrt());
            Self::Adam { step_size, betas, eps, correction, l2, keep }
        };
        match *spec {
            OptimizerSpec::Sgd { lr, momentum, nesterov, weight_decay, .. } => {
                Self::Sgd { lr: lr * factor, momentum, nesterov, l2: decay(weight_decay) }
            }
            OptimizerSpec::Adam { lr, betas, eps, weight_decay, .. } => {
                adam(lr * factor, betas, eps, decay(weight_decay), 1.0)
            }
            OptimizerSpec::AdamW { lr, betas, eps, weight_decay, .. } => {
                let keep = 1.0 - lr * factor * decay(weight_decay);
                adam(lr * factor, betas, eps, 0.0, keep)
            }
        }
    }

    /// Names of the tensors kept between steps.
    pub(super) fn slots(spec: &OptimizerSpec) -> &'static [&'static str] {
        match spec {
            OptimizerSpec::Sgd { momentum: 0.0, .. } => &[],
            OptimizerSpec::Sgd { .. } => &["momentum"],
            OptimizerSpec::Adam { .. } | OptimizerSpec::AdamW { .. } => {
                &["first_moment", "second_moment"]
            }
        }
    }

    /// One step by tensor operations, on any device. Returns the new state.
    pub(super) fn composed(self, var: &Var, g: &Tensor, state: &[Tensor]) -> Result<Vec<Tensor>> {
        let p = var.as_detached_tensor();
        let (p, state) = match (self, state) {
            (Self::Sgd { lr, l2, .. }, []) => {
                let g = (g + (&p * l2)?)?;
                ((&p - (g * lr)?)?, vec![])
            }
            (Self::Sgd { lr, momentum, nesterov, l2 }, [b, ..]) => {
                let g = (g + (&p * l2)?)?;
                let b = ((b * momentum)? + &g)?;
                let step = if nesterov { (g + (&b * momentum)?)? } else { b.clone() };
                ((&p - (step * lr)?)?, vec![b])
            }
            (Self::Adam { step_size, betas, eps, correction, l2, keep }, [m, v, ..]) => {
                let p = (p * keep)?;
                let g = (g + (&p * l2)?)?;
                let m = ((m * betas[0])? + (&g * (1.0 - betas[0]))?)?;
                let v = ((v * betas[1])? + (g.sqr()? * (1.0 - betas[1]))?)?;
                let scale = ((v.sqrt()? / correction)? + eps)?;
                ((&p - ((&m / scale)? * step_size)?)?, vec![m, v])
            }
            // `Optimizer` makes as many state tensors as `slots` names.
            (Self::Adam { .. }, _) => unreachable!("Adam keeps two moments"),
        };
        var.set(&p)?;
        Ok(state)
    }
}

/// Elements that one task updates.
const BLOCK: usize = 1 << 14;

/// One step on the CPU, in one pass over the weights, their gradient and their state.
pub(super) struct Fused<'a> {
    pub(super) rule: Rule,
    /// One buffer for each name in [`Rule::slots`].
    pub(super) state: RefCell<&'a mut [Vec<f32>]>,
}

impl InplaceOp2 for Fused<'_> {
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        p_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> CandleResult<()> {
        let g = operand(g, g_layout)?;
        let range = p_layout.contiguous_offsets().map(|(start, end)| start..end);
        let p = match (p, range) {
            (CpuStorage::F32(values), Some(range)) => values.get_mut(range),
            _ => None,
        };
        let Some(p) = p else { bail!("an optimizer updates contiguous f32 variables") };
        if p.len() != g.len() {
            bail!("a variable of {} values has a gradient of {}", p.len(), g.len());
        }
        let mut state = self.state.borrow_mut();
        let blocks = p.par_chunks_mut(BLOCK).zip(g.par_chunks(BLOCK));
        match (self.rule, &mut **state) {
            (Rule::Sgd { lr, l2, .. }, []) => {
                let [lr, l2] = [lr, l2].map(|v| v as f32);
                blocks.for_each(|(p, g)| {
                    for (p, g) in p.iter_mut().zip(g) {
                        *p -= lr * (g + l2 * *p);
                    }
                });
            }
            (Rule::Sgd { lr, momentum, nesterov, l2 }, [b, ..]) => {
                let [lr, momentum, l2] = [lr, momentum, l2].map(|v| v as f32);
                blocks.zip(b.par_chunks_mut(BLOCK)).for_each(|((p, g), b)| {
                    for ((p, g), b) in p.iter_mut().zip(g).zip(b) {
                        let g = g + l2 * *p;
                        *b = momentum * *b + g;
                        *p -= lr * if nesterov { g + momentum * *b } else { *b };
                    }
                });
            }
            (Rule::Adam { step_size, betas, eps, correction, l2, keep }, [m, v, ..]) => {
                let [rest1, rest2] = betas.map(|beta| (1.0 - beta) as f32);
                let [beta1, beta2] = betas.map(|beta| beta as f32);
                let [step_size, eps, l2, keep] = [step_size, eps, l2, keep].map(|v| v as f32);
                let correction = correction as f32;
                let blocks = blocks.zip(m.par_chunks_mut(BLOCK)).zip(v.par_chunks_mut(BLOCK));
                blocks.for_each(|(((p, g), m), v)| {
                    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                        *p *= keep;
                        let g = g + l2 * *p;
                        *m = beta1 * *m + rest1 * g;
                        *v = beta2 * *v + rest2 * g * g;
                        *p -= step_size * *m / (v.sqrt() / correction + eps);
                    }
                });
            }
            (Rule::Adam { .. }, _) => bail!("Adam keeps two moments, got {}", state.len()),
        }
        Ok(())
    }
}
