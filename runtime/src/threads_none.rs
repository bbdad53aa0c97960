//! Without `std`, and in WebAssembly, there is no thread but the caller's.

use crate::{Error, ErrorKind, Result};

/// Never made.
pub(crate) enum Threads {}

impl Threads {
    /// Fails: only the feature `std` brings threads, and not to WebAssembly.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let what =
            alloc::format!("{count} need an operating system and the feature \"std\"; take 1");
        Err(Error::new(ErrorKind::Unsupported, "threads", what))
    }

    /// Of none.
    pub(crate) fn count(&self) -> usize {
        match *self {}
    }

    /// On none.
    pub(crate) fn each<I>(&mut self, _items: impl Iterator<Item = I>, _work: impl Fn(I)) {
        match *self {}
    }
}
