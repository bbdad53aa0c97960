//! The one error of this crate: what kind, where, and a sentence that says what to do.

use std::fmt;

/// What went wrong, to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read or written.
    Io,
    /// A data file is missing, cut short or inconsistent.
    Data,
    /// A network, loss or training option is out of range or contradicts another.
    Config,
    /// Shapes of data, network or weights do not fit together.
    Shape,
    /// A teacher could not be loaded or is not good enough to teach.
    Teacher,
    /// A checkpoint is missing, damaged or belongs to another run.
    Checkpoint,
    /// The loss became NaN or infinite.
    Diverged,
    /// A tensor operation failed in candle.
    Tensor,
    /// The requested device is not available in this build or on this machine.
    Device,
    /// The device has not enough memory.
    Memory,
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its kind, its place (file, tensor, layer, step) and a sentence for the user.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    at: String,
    message: String,
}

impl Error {
    /// `at` names the file, tensor, layer or option; `message` says what is wrong and what to do.
    pub fn new(kind: ErrorKind, at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, at: at.into(), message: message.into() }
    }

    /// What went wrong, to match on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file, tensor, layer or option that it is about.
    pub fn at(&self) -> &str {
        &self.at
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

impl std::error::Error for Error {}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        let message = error.to_string();
        // Neither candle nor cudarc tells it by a type of its own: those are the names and texts of
        // CUDA's and cuBLAS's codes.
        let full = ["out of memory", "OUT_OF_MEMORY", "STATUS_ALLOC_FAILED"];
        let is_full = full.iter().any(|text| message.contains(text));
        let kind = if is_full { ErrorKind::Memory } else { ErrorKind::Tensor };
        Self::new(kind, "tensor operation", message)
    }
}

impl From<hipflask_runtime::Error> for Error {
    fn from(error: hipflask_runtime::Error) -> Self {
        let kind = match error.kind() {
            hipflask_runtime::ErrorKind::Io => ErrorKind::Io,
            _ => ErrorKind::Shape,
        };
        Self::new(kind, error.at(), error.message())
    }
}

impl From<hipflask_quantize::Error> for Error {
    fn from(error: hipflask_quantize::Error) -> Self {
        match error {
            hipflask_quantize::Error::Runtime(error) => error.into(),
            // It names its place itself.
            error => Self::new(ErrorKind::Shape, "int8", error.to_string()),
        }
    }
}
