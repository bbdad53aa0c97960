//! Teachers: networks that are asked, never trained.

pub mod checkpoint;
mod network;
mod onnx;
mod open;
mod samples;
mod session;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use hipflask_runtime::input::Preprocess;

use crate::Result;

pub use checkpoint::load_weights;
pub use network::NetworkTeacher;
pub use onnx::OnnxTeacher;
pub use open::{Wanted, open};
pub use session::SessionTeacher;

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

    /// How this teacher wants bytes; `None`: as the data set says.
    fn preprocess(&self) -> Option<&Preprocess>;
}
