//! The runtime's errors as Python's: the same sentences.

use hipflask_runtime::ErrorKind;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

pyo3::create_exception!(
    hipflask,
    Error,
    PyException,
    "What went wrong, where, and what to do. `kind` is one of \"io\", \"format\", \"version\", \"graph\", \
     \"unsupported\", \"limit\", \"input\", \"internal\"."
);

/// A runtime's error as an exception.
pub(crate) fn raised(py: Python<'_>, error: &hipflask_runtime::Error) -> PyErr {
    let exception = Error::new_err(error.to_string());
    let kind = match error.kind() {
        ErrorKind::Io => "io",
        ErrorKind::Format => "format",
        ErrorKind::Version => "version",
        ErrorKind::Graph => "graph",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Limit => "limit",
        ErrorKind::Input => "input",
        _ => "internal",
    };
    match exception.value(py).setattr("kind", kind) {
        Ok(()) => exception,
        Err(error) => error,
    }
}

/// An argument that does not fit.
pub(crate) fn input(at: impl Into<String>, what: impl Into<String>) -> hipflask_runtime::Error {
    hipflask_runtime::Error::new(ErrorKind::Input, at, what)
}
