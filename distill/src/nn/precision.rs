//! In which precision a GPU multiplies.

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::buffer::on_host;
use super::linear;
use crate::{Error, ErrorKind, Result};

/// Precision of the products of convolutions and linear layers on a GPU: their operands are rounded to
/// it, sums, all other operations and the weights stay in f32 (Micikevicius et al. 2018).
///
/// On the CPU and in depthwise and grouped convolutions it changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of f32 and 8 bits of precision; needs compute capability 8.0.
    Bf16,
    /// 16 bits with 11 bits of precision, up to 65504; the loss is scaled to fit.
    F16,
}

impl Precision {
    /// Fails where `device` does not multiply in this precision.
    pub fn check(self, device: &Device) -> Result<()> {
        if self == Self::F32 || device.is_cuda() {
            return Ok(());
        }
        let message = format!(
            "{:?} is for NVIDIA GPUs, this run is on {}: leave it out, or take --device cuda",
            self.name(),
            if device.is_cpu() { "the CPU" } else { "another GPU" }
        );
        Err(Error::new(ErrorKind::Config, "precision", message))
    }

    /// The name in recipes.
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The type of the operands.
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

/// [`linear`] with its products in `precision`, where they are not on the CPU.
pub fn linear_in(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> Result<Tensor> {
    if precision == Precision::F32 || on_host(x) {
        return linear(x, w, bias);
    }
    rounded(x, w, bias, precision)
}

fn rounded(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, precision: Precision) -> Result<Tensor> {
    let to = precision.dtype();
    let y = linear(&x.to_dtype(to)?, &w.to_dtype(to)?, None)?.to_dtype(DType::F32)?;
    Ok(match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::{Precision, linear_in, rounded};

    #[test]
    fn products_in_f16_round_their_operands_and_their_gradients_are_f32() {
        // 1 + 2⁻¹¹ lies between f16's 1 and 1 + 2⁻¹⁰ and is rounded to the even one; 3 is exact, and
        // so is a bias that is added in f32.
        let small = 2_f32.powi(-11);
        let x = Var::new(&[[1.0 + small, 3.0]], &Device::Cpu).unwrap();
        let w = Tensor::new(&[[1_f32, 2.0]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[small], &Device::Cpu).unwrap();
        let value = |y: &Tensor| y.to_vec2::<f32>().unwrap()[0][0].to_bits();
        let half = rounded(&x, &w, Some(&bias), Precision::F16).unwrap();
        assert_eq!(value(&half), (7.0 + small).to_bits());
        let on_the_cpu = linear_in(&x, &w, None, Precision::F16).unwrap();
        assert_eq!(value(&on_the_cpu), (7.0 + small).to_bits());
        let gradients = half.sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec2::<f32>().unwrap(), [[1.0, 2.0]]);
    }
}
