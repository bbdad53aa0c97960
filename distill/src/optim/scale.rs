//! Dynamic loss scaling, so that small gradients are not lost in f16 (Micikevicius et al. 2018,
//! "Mixed Precision Training"); factors and interval are those of PyTorch's `GradScaler`.

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::Parameter;
use crate::Result;

/// The loss is multiplied by this before the backward pass, the gradients divided by it after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// A power of two, so that nothing but range changes.
    factor: f64,
    /// Steps since it last changed.
    steady: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { factor: 65_536.0, steady: 0 }
    }
}

impl LossScale {
    /// Steps without overflow after which the factor doubles.
    const INTERVAL: u32 = 2000;
    /// Gradients that overflow below this factor are not those of f16's narrow range.
    const LEAST: f64 = 1.0 / 1024.0;
    /// Beyond this a factor adds nothing: f32 itself would overflow.
    const MOST: f64 = (1_u64 << 40) as f64;

    /// What the loss is multiplied by.
    pub fn factor(self) -> f64 {
        self.factor
    }

    /// Whether it has been halved so often that the gradients are infinite themselves.
    pub fn is_spent(self) -> bool {
        self.factor < Self::LEAST
    }

    /// Divides the gradients of `parameters` by the factor and takes note of how they are.
    ///
    /// `false` where one is infinite or NaN: the factor is then halved and the step must be left out.
    pub fn unscale(&mut self, gradients: &mut GradStore, parameters: &[Parameter]) -> Result<bool> {
        let mut sums = Vec::new();
        for Parameter { var, .. } in parameters {
            if let Some(gradient) = gradients.remove(var) {
                let gradient = (gradient / self.factor)?;
                // An infinity or a NaN makes the sum of magnitudes one; finite ones fit in f64.
                sums.push(gradient.abs()?.to_dtype(DType::F64)?.sum_all()?);
                gradients.insert(var, gradient);
            }
        }
        if sums.is_empty() {
            return Ok(true);
        }
        // One copy from the device for all tensors.
        let finite = Tensor::stack(&sums, 0)?.sum_all()?.to_scalar::<f64>()?.is_finite();
        self.adapt(finite);
        Ok(finite)
    }

    fn adapt(&mut self, finite: bool) {
        if !finite {
            *self = Self { factor: self.factor / 2.0, steady: 0 };
        } else if self.steady + 1 < Self::INTERVAL {
            self.steady += 1;
        } else {
            *self = Self { factor: (self.factor * 2.0).min(Self::MOST), steady: 0 };
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn the_factor_doubles_after_two_thousand_steps_and_halves_at_each_overflow() {
        let mut scale = LossScale::default();
        (0..1999).for_each(|_| scale.adapt(true));
        assert_eq!(scale.factor().to_bits(), 65_536_f64.to_bits());
        scale.adapt(true);
        assert_eq!(scale, LossScale { factor: 131_072.0, steady: 0 });
        scale.adapt(true);
        scale.adapt(false);
        assert_eq!(scale, LossScale { factor: 65_536.0, steady: 0 });
        (0..26).for_each(|_| scale.adapt(false));
        assert!(!scale.is_spent());
        scale.adapt(false);
        assert!(scale.is_spent());
    }

    #[test]
    fn gradients_are_divided_and_an_infinite_one_is_told() {
        let var = Var::new(&[1_f32, 2.0], &Device::Cpu).unwrap();
        let parameters = [Parameter { name: "w".into(), var: var.clone() }];
        let gradients = |scale: f64| {
            let weights = Tensor::new(&[3_f32, 5.0], &Device::Cpu).unwrap();
            let loss = (var.as_tensor() * weights).unwrap().sum_all().unwrap();
            (loss * scale).unwrap().backward().unwrap()
        };
        let mut scale = LossScale::default();
        let mut store = gradients(scale.factor());
        assert!(scale.unscale(&mut store, &parameters).unwrap());
        assert_eq!(store.get(&var).unwrap().to_vec1::<f32>().unwrap(), [3.0, 5.0]);
        let mut store = gradients(f64::INFINITY);
        assert!(!scale.unscale(&mut store, &parameters).unwrap());
        assert_eq!(scale.factor().to_bits(), 32_768_f64.to_bits());
    }
}
