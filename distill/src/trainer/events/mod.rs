//! Metrics as TensorBoard's event files: one file each time that a run begins or goes on.

mod event;
mod record;

use std::fs::File;
use std::io::{BufWriter, ErrorKind as IoErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::event::{What, event};
use self::record::record;
use super::EpochMetrics;
use crate::{Error, ErrorKind, Result};

/// How the names of event files begin.
const PREFIX: &str = "events.out.tfevents.";

/// An open event file.
pub(super) struct EventLog {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventLog {
    /// A new file in `folder`. A run that begins removes those of an earlier one; one that goes on
    /// after `steps` steps takes back what an earlier try said of later steps.
    pub(super) fn open(folder: &Path, steps: Option<u64>) -> Result<Self> {
        let fail = |error: std::io::Error| at(folder, &error);
        std::fs::create_dir_all(folder).map_err(fail)?;
        if steps.is_none() {
            for entry in std::fs::read_dir(folder).map_err(fail)?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                    std::fs::remove_file(entry.path()).map_err(fail)?;
                }
            }
        }
        let (path, file) = create(folder).map_err(fail)?;
        let mut log = Self { path, file: BufWriter::new(file) };
        log.add(0, &What::Version)?;
        if let Some(steps) = steps {
            log.add(steps + 1, &What::Restart)?;
        }
        log.flush()?;
        Ok(log)
    }

    /// The loss of the batch that completed step `step`, and that step's learning rate.
    pub(super) fn step(&mut self, step: u64, loss: f64, lr: f64) -> Result<()> {
        self.add(step, &What::Scalars(&[("step/loss", loss), ("step/learning_rate", lr)]))
    }

    /// What an epoch brought.
    pub(super) fn epoch(&mut self, metrics: &EpochMetrics) -> Result<()> {
        let terms =
            metrics.terms.iter().map(|(name, &value)| (format!("epoch/loss/{name}"), value));
        let terms: Vec<(String, f64)> = terms.collect();
        let rest = [
            ("epoch/loss", Some(metrics.loss)),
            ("epoch/accuracy/train", metrics.train_accuracy),
            ("epoch/accuracy/validation", metrics.validation_accuracy),
            ("epoch/gradient_norm", metrics.gradient_norm),
            ("epoch/images_per_second", Some(metrics.images_per_second)),
            ("epoch/number", Some(metrics.epoch as f64)),
        ];
        let mut scalars: Vec<(&str, f64)> =
            rest.into_iter().filter_map(|(tag, value)| Some((tag, value?))).collect();
        scalars.extend(terms.iter().map(|(tag, value)| (tag.as_str(), *value)));
        self.add(metrics.step, &What::Scalars(&scalars))?;
        self.flush()
    }

    /// Gives to the system what was added.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| at(&self.path, &error))
    }

    fn add(&mut self, step: u64, what: &What<'_>) -> Result<()> {
        let bytes = record(&event(now(), step, what));
        self.file.write_all(&bytes).map_err(|error| at(&self.path, &error))
    }
}

/// A file whose name sorts by time; numbered where there is one of this second already.
fn create(folder: &Path) -> std::io::Result<(PathBuf, File)> {
    let name = format!("{PREFIX}{:010}.{}", now() as u64, std::process::id());
    let mut number = 0;
    loop {
        let path = folder.join(format!("{name}.{number}"));
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == IoErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Seconds since 1970, which TensorBoard shows beside the steps.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

fn at(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("TensorBoard's events cannot be written: {error}");
    Error::new(ErrorKind::Io, path.display().to_string(), message)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::EventLog;

    /// The payloads of a file's records.
    fn payloads(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length) as usize;
            found.push(rest[4..4 + length].to_vec());
            bytes = &rest[4 + length + 4..];
        }
        found
    }

    #[test]
    fn a_run_that_goes_on_voids_the_steps_after_its_checkpoint_and_one_that_begins_all() {
        let folder = tempfile::tempdir().unwrap();
        let events = |steps, learnt: &[u64]| {
            let mut log = EventLog::open(folder.path(), steps).unwrap();
            for &step in learnt {
                log.step(step, 0.5, 0.1).unwrap();
            }
            log.flush().unwrap();
            payloads(&std::fs::read(&log.path).unwrap())
        };
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(events(None, &[1, 2, 3]).len(), 4);
        let second = events(Some(2), &[3, 4]);
        assert_eq!((second.len(), count()), (4, 2));
        // Ten bytes of time and key of the step, the step, then field 7: SessionLog { status: START }.
        assert_eq!(second[1][10..], [3, 0x3a, 2, 8, 1]);
        std::fs::write(folder.path().join("notes"), "kept").unwrap();
        events(None, &[1]);
        assert_eq!(count(), 2);
    }
}
