//! Exponential moving average of weights (Polyak & Juditsky 1992), with a warm-up of its decay.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result as CandleResult, Var, bail};
use rayon::prelude::*;

use crate::Result;
use crate::nn::buffer::{on_host, operand};

/// Variables that follow those of a training.
pub struct Average {
    decay: f64,
    /// Trained variable, then its average.
    pairs: Vec<(Var, Var)>,
    updates: u64,
}

impl Average {
    /// An average that begins at the present values of the second of each pair.
    pub fn new(decay: f64, pairs: Vec<(Var, Var)>) -> Self {
        Self { decay, pairs, updates: 0 }
    }

    /// Number of updates so far, to be saved beside the averages.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Goes on after `updates` updates.
    pub fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }

    /// `average = d · average + (1 - d) · weight`, `d` being [`decay_of`] this update.
    pub fn update(&mut self) -> Result<()> {
        self.updates += 1;
        let rate = 1.0 - decay_of(self.decay, self.updates);
        for (weight, average) in &self.pairs {
            if on_host(average) {
                average.inplace_op2(&weight.contiguous()?, &Follow { rate: rate as f32 })?;
            } else {
                let old = average.as_detached_tensor();
                let step = ((weight.as_detached_tensor() - &old)? * rate)?;
                average.set(&(old + step)?)?;
            }
        }
        Ok(())
    }
}

/// The decay of update `t` (from 1): `min(decay, (1 + t) / (10 + t))`, so that the random initial
/// weights are forgotten at once (TensorFlow's `ExponentialMovingAverage` with `num_updates`).
pub fn decay_of(decay: f64, t: u64) -> f64 {
    let t = t as f64;
    decay.min((1.0 + t) / (10.0 + t))
}

/// Elements that one task updates.
const BLOCK: usize = 1 << 14;

/// `average += rate · (weight - average)` on the CPU, in one pass.
struct Follow {
    rate: f32,
}

impl InplaceOp2 for Follow {
    fn name(&self) -> &'static str {
        "moving average"
    }

    fn cpu_fwd(
        &self,
        average: &mut CpuStorage,
        average_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> CandleResult<()> {
        let weight = operand(weight, weight_layout)?;
        let range = average_layout.contiguous_offsets().map(|(start, end)| start..end);
        let average = match (average, range) {
            (CpuStorage::F32(values), Some(range)) => values.get_mut(range),
            _ => None,
        };
        let Some(average) = average.filter(|a| a.len() == weight.len()) else {
            bail!("an average follows a contiguous f32 variable of its own size")
        };
        average.par_chunks_mut(BLOCK).zip(weight.par_chunks(BLOCK)).for_each(
            |(average, weight)| {
                for (average, weight) in average.iter_mut().zip(weight) {
                    *average += self.rate * (weight - *average);
                }
            },
        );
        Ok(())
    }
}
