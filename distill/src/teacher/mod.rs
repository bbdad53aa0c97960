//! Teachers: networks that are asked, never trained.

mod arranged;
pub mod checkpoint;
pub mod diagnose;
mod ensemble;
mod network;
mod onnx;
mod open;
mod reordered;
mod restandardise;
mod samples;
mod session;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;
mod wishes;

use candle_core::Tensor;
use hipflask_runtime::input::Preprocess;

use crate::Result;

pub use arranged::Order;
pub use checkpoint::load_weights;
pub use ensemble::{Average, EnsembleTeacher, Member};
pub use network::NetworkTeacher;
pub use onnx::OnnxTeacher;
pub use open::{Wanted, open};
pub use session::SessionTeacher;
pub use wishes::{Channels, Placement, Wishes};

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
