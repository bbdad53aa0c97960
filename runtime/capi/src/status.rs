//! What a call came to, and the message of the last one that failed.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use hipflask_runtime::{Error, ErrorKind};

/// What a call came to. For all but `Ok`, `hipflask_error` has the sentence.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A file could not be read.
    Io = 1,
    /// The bytes are no valid model file.
    Format = 2,
    /// The file is valid but newer than this library.
    Version = 3,
    /// The graph contradicts itself.
    Graph = 4,
    /// Something in the model is valid but this build cannot run it.
    Unsupported = 5,
    /// A size is beyond the limits.
    Limit = 6,
    /// An argument does not fit: a null pointer, a wrong length, an unknown name, too little memory.
    Input = 7,
    /// A fault of the library: please report it.
    Internal = 8,
}

impl From<ErrorKind> for Status {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Io => Self::Io,
            ErrorKind::Format => Self::Format,
            ErrorKind::Version => Self::Version,
            ErrorKind::Graph => Self::Graph,
            ErrorKind::Unsupported => Self::Unsupported,
            ErrorKind::Limit => Self::Limit,
            ErrorKind::Input => Self::Input,
            _ => Self::Internal,
        }
    }
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::new(CString::default());
}

/// What went wrong in the last call of this thread that failed, where, and what to do, in UTF-8; an
/// empty string before the first. Valid until the next call of this thread fails.
#[unsafe(no_mangle)]
pub extern "C" fn hipflask_error() -> *const c_char {
    MESSAGE.with_borrow(|message| message.as_ptr())
}

/// The version of this library, as `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn hipflask_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    CStr::from_bytes_with_nul(VERSION.as_bytes()).map_or(std::ptr::null(), CStr::as_ptr)
}

/// An argument that does not fit.
pub(crate) fn input(at: &str, what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Input, at, what)
}

/// Runs the body of a call; a panic does not cross into C.
pub(crate) fn call(body: impl FnOnce() -> Result<(), Error>) -> Status {
    let (status, message) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(error)) => (Status::from(error.kind()), error.to_string()),
        Err(_) => (Status::Internal, "a fault of hipflask itself; please report it".into()),
    };
    // A message has no zero byte but where a name in the file has one.
    let message = CString::new(message.replace('\0', "?")).unwrap_or_default();
    MESSAGE.set(message);
    status
}
