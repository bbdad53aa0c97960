//! Teachers for tests, whose answers are known beforehand.
#![expect(clippy::unwrap_used, reason = "only tests ask them")]

use candle_core::{Device, Tensor};
use hipflask_runtime::input::Preprocess;

use super::Teacher;
use crate::Result;

/// Answers every sample with the same logits.
pub(crate) struct Fixed(Tensor);

impl Fixed {
    pub(crate) fn new(logits: &[f32]) -> Self {
        Self(Tensor::from_slice(logits, (1, logits.len()), &Device::Cpu).unwrap())
    }
}

impl Teacher for Fixed {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.0.broadcast_as((images.dim(0)?, self.classes()))?.contiguous()?)
    }

    fn classes(&self) -> usize {
        self.0.dim(1).unwrap()
    }

    fn name(&self) -> &'static str {
        "fixed"
    }

    fn fingerprint(&self) -> String {
        format!("{:?}", self.0.to_vec2::<f32>().unwrap())
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        None
    }
}

/// Answers with the numbers that it was given.
pub(crate) struct Echo {
    pub(crate) classes: usize,
    pub(crate) wish: Option<Preprocess>,
}

impl Echo {
    /// For samples of `numbers` numbers.
    pub(crate) fn new(numbers: usize) -> Self {
        Self { classes: numbers, wish: None }
    }
}

impl Teacher for Echo {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(images.flatten_from(1)?)
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn name(&self) -> &'static str {
        "echo"
    }

    fn fingerprint(&self) -> String {
        "echo".into()
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        self.wish.as_ref()
    }
}
