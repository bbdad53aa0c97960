//! Teachers: networks that are asked, never trained.

use candle_core::Tensor;

use crate::Result;

/// A network that has learnt the task.
pub trait Teacher {
    /// Logits `[n, classes]` for `images [n, c, h, w]`, in evaluation mode and without gradient.
    fn logits(&self, images: &Tensor) -> Result<Tensor>;

    /// Number of classes.
    fn classes(&self) -> usize;

    /// Name for messages and reports.
    fn name(&self) -> &str;

    /// SHA-256 of what its answers depend on, in hexadecimal digits.
    fn fingerprint(&self) -> String;
}
