//! The one error of this crate: kind, place, and a sentence that says what to do.

use alloc::string::String;
use core::fmt;

/// What went wrong, to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read or written.
    Io,
    /// The bytes are no valid model file.
    Format,
    /// The file is valid but newer than this build.
    Version,
    /// The graph contradicts itself: shapes, dtypes, order or weights do not fit.
    Graph,
    /// Something in the graph is valid but this build cannot run it.
    Unsupported,
    /// A size is beyond [`LoadLimits`](crate::graph::LoadLimits).
    Limit,
    /// An input or option given by the caller does not fit the model.
    Input,
    /// A self-test did not reproduce its recorded answers.
    Mismatch,
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// An error with its kind, its place (file, tensor, node) and a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    at: String,
    message: String,
}

impl Error {
    /// `at` names the file, tensor or node; `message` says what is wrong and what to do.
    pub fn new(kind: ErrorKind, at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, at: at.into(), message: message.into() }
    }

    /// What went wrong, to match on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file, tensor or node that it is about.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The sentence without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error, with `file` put before its place.
    #[must_use]
    pub fn in_file(mut self, file: &str) -> Self {
        self.at =
            if self.at.is_empty() { file.into() } else { alloc::format!("{file}: {}", self.at) };
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.at, self.message)
        }
    }
}

impl core::error::Error for Error {}
