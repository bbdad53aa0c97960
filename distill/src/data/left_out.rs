//! Samples that cannot be used: they end the run, or are left out and counted.

use super::OnError;
use crate::{Error, Result};

/// Samples that were left out.
pub(super) struct LeftOut {
    on_error: OnError,
    /// Why, one a sample.
    pub(super) reasons: Vec<String>,
}

impl LeftOut {
    /// None yet.
    pub(super) fn new(on_error: OnError) -> Self {
        Self { on_error, reasons: Vec::new() }
    }

    /// Fails with `error`, or notes it, as the recipe wishes.
    pub(super) fn refuse(&mut self, error: Error) -> Result<()> {
        match self.on_error {
            OnError::Refuse => Err(error),
            OnError::Skip => {
                self.reasons.push(error.to_string());
                Ok(())
            }
        }
    }
}
