//! Metrics of a training as a file: one JSON object a line, one line an epoch.

use std::io::Write;
use std::path::{Path, PathBuf};

use hipflask_runtime::file::write_atomically;

use super::EpochMetrics;
use crate::{Error, ErrorKind, Result};

/// An open metrics file.
pub(super) struct MetricsLog {
    path: PathBuf,
}

impl MetricsLog {
    /// Starts the file with what an earlier try wrote of the epochs up to `kept`.
    pub(super) fn open(path: &Path, kept: usize) -> Result<Self> {
        let old = if kept == 0 {
            String::new()
        } else {
            std::fs::read_to_string(path).unwrap_or_default()
        };
        let mut text = String::new();
        for line in old.lines() {
            // A line that a killed run left half-written is not one of a finished epoch.
            if serde_json::from_str::<EpochMetrics>(line).is_ok_and(|m| m.epoch <= kept) {
                text.push_str(line);
                text.push('\n');
            }
        }
        write_atomically(path, text.as_bytes())?;
        Ok(Self { path: path.into() })
    }

    /// Adds an epoch.
    pub(super) fn append(&self, metrics: &EpochMetrics) -> Result<()> {
        let line = serde_json::to_string(metrics).map(|line| line + "\n");
        let written = line.map_err(std::io::Error::from).and_then(|line| {
            let mut file =
                std::fs::OpenOptions::new().append(true).create(true).open(&self.path)?;
            file.write_all(line.as_bytes())
        });
        written.map_err(|error| {
            let message = format!("metrics cannot be written: {error}");
            Error::new(ErrorKind::Io, self.path.display().to_string(), message)
        })
    }
}
