//! Initial weights: PyTorch's defaults, and He et al. 2015 where a batch norm follows.

use hipflask_runtime::{Shape, Tensor};

use crate::random::Stream;

/// How the elements of a tensor begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Init {
    /// Uniform in `[-bound, bound)`.
    Uniform {
        /// Largest magnitude.
        bound: f32,
    },
    /// All alike.
    Constant(f32),
}

impl Init {
    /// Uniform in `±1 / sqrt(fan_in)`: weights and biases of PyTorch's `Conv2d` and `Linear`, whose
    /// `kaiming_uniform_(a=sqrt(5))` comes to the same.
    pub(super) fn default_of(fan_in: usize) -> Self {
        Self::Uniform { bound: (1.0 / (fan_in as f64).sqrt()) as f32 }
    }

    /// Uniform with variance `2 / fan_out` (He et al. 2015), as torchvision's ResNets begin, whose
    /// `kaiming_normal_(mode="fan_out")` has this variance. Uniform, because it takes no
    /// logarithm or cosine, which differ in the last bit between machines.
    pub(super) fn he(fan_out: usize) -> Self {
        Self::Uniform { bound: (6.0 / fan_out as f64).sqrt() as f32 }
    }

    /// Uniform with a standard deviation of 0.02: vectors of tokens and positions, as BERT and ViT
    /// begin with a normal distribution of that width.
    pub(super) fn token() -> Self {
        Self::Uniform { bound: 0.02 * 3_f32.sqrt() }
    }

    /// The tensor `name`, which depends on `seed`, its name, its shape and nothing else.
    pub(super) fn tensor(self, shape: &Shape, seed: u64, name: &str) -> Tensor {
        let count = shape.elements();
        let values: Vec<f32> = match self {
            Self::Constant(value) => vec![value; count],
            Self::Uniform { bound } => {
                let mut stream = Stream::new(seed, name, &[]);
                // 2u - 1 is exact: u is a multiple of 2⁻²⁴.
                (0..count).map(|_| bound * (2.0 * stream.unit() - 1.0)).collect()
            }
        };
        Tensor::from_f32(shape.clone(), &values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_weights_have_the_variance_of_the_papers() {
        // A uniform variable on ±b has variance b² / 3; the mean of 40,000 squares is within 2 %.
        for (init, variance) in
            [(Init::default_of(75), 1.0 / (3.0 * 75.0)), (Init::he(144), 2.0 / 144.0)]
        {
            let tensor = init.tensor(&[200, 200].into(), 3, "conv1.weight");
            let values = tensor.f32s().expect("f32");
            let mean = values.iter().sum::<f32>() / 40_000.0;
            let squares = values.iter().map(|v| v * v).sum::<f32>() / 40_000.0;
            assert!((squares / variance as f32 - 1.0).abs() < 0.02, "{squares} {variance}");
            assert!(mean.abs() < 5.0 * (variance as f32 / 40_000.0).sqrt(), "{mean}");
        }
    }
}
