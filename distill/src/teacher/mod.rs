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

use crate::interpreter::Nodes;
use crate::{Error, ErrorKind, Result};

pub use arranged::Order;
pub use checkpoint::load_weights;
pub use ensemble::{Average, EnsembleTeacher, Member};
pub use network::NetworkTeacher;
pub use onnx::OnnxTeacher;
pub use open::{Wanted, open};
pub use session::SessionTeacher;
pub use wishes::{Channels, Placement, Wishes};

/// What a teacher says of a batch.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Logits `[n, classes]`.
    pub logits: Tensor,
    /// The outputs of the nodes that were asked for, in that order.
    pub features: Vec<Tensor>,
}

/// A network that has learnt the task.
pub trait Teacher {
    /// Logits `[n, classes]` for `images [n, c, h, w]`, in evaluation mode and without gradient.
    fn logits(&self, images: &Tensor) -> Result<Tensor>;

    /// Logits and the outputs of the nodes called `features`, in evaluation mode and without
    /// gradient; an error where the teacher has no [`nodes`](Self::nodes).
    fn answer(&self, images: &Tensor, features: &[&str]) -> Result<Answer> {
        if features.is_empty() {
            return Ok(Answer { logits: self.logits(images)?, features: Vec::new() });
        }
        Err(shut(self.name()))
    }

    /// What is inside, for losses that compare inner values; `None` where that cannot be seen.
    fn nodes(&self) -> Option<&Nodes> {
        None
    }

    /// Number of classes.
    fn classes(&self) -> usize;

    /// Name for messages and reports.
    fn name(&self) -> &str;

    /// SHA-256 of what its answers depend on, in hexadecimal digits.
    fn fingerprint(&self) -> String;

    /// How this teacher wants bytes; `None`: as the data set says.
    fn preprocess(&self) -> Option<&Preprocess>;
}

/// The error of a teacher whose inner values cannot be had.
pub(crate) fn shut(teacher: &str) -> Error {
    let message = "shows its logits only: losses that compare inner values need a single teacher \
                   that is trained here, or comes as a hipflask file in f32 or as weights of a \
                   declared network; not ONNX, int8 or an ensemble";
    Error::new(ErrorKind::Teacher, format!("teacher {teacher}"), message)
}
