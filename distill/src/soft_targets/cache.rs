//! Soft targets on disk: below one folder, a folder for each teacher, data set and augmentation.

use std::fs::{File, TryLockError};
use std::ops::Range;
use std::path::{Path, PathBuf};

use hipflask_runtime::input::Preprocess;
use serde::{Deserialize, Serialize};

use super::view::{Rows, ViewFile};
use super::{Precision, Views};
use crate::data::{DataSet, Mix};
use crate::fingerprint::Fingerprint;
use crate::trainer::Monitor;
use crate::{Error, ErrorKind, Result};

const VERSION: u32 = 1;

/// Samples between two records of what is done: what a killed run loses at most.
const SHARD: usize = 1024;

/// All that the teacher's answers depend on: answers are shared by the runs that have it in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    version: u32,
    teacher: String,
    /// Fingerprint of the samples.
    data: String,
    /// How the teacher sees them, as JSON.
    preprocess: String,
    /// What happens to them before, as JSON.
    augment: String,
    /// What they are mixed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mix: Option<Mix>,
    view_seed: u64,
    pub(super) samples: usize,
    pub(super) classes: usize,
    pub(super) precision: Precision,
}

impl Key {
    pub(super) fn new(
        teacher: &str,
        data: &DataSet,
        preprocess: &Preprocess,
        views: &Views,
        classes: usize,
    ) -> Self {
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        Self {
            version: VERSION,
            teacher: teacher.into(),
            data: data.fingerprint.clone(),
            preprocess: json(serde_json::to_string(preprocess)),
            augment: json(serde_json::to_string(&data.augment)),
            mix: None,
            view_seed: views.seed,
            samples: data.train.len(),
            classes,
            precision: views.precision,
        }
    }

    /// The same for samples that are mixed with one another.
    pub(super) fn mixed(self, mix: Option<Mix>) -> Self {
        Self { mix, ..self }
    }

    /// A name for the folder: 16 hexadecimal digits.
    fn name(&self) -> String {
        let mut fingerprint = Fingerprint::new();
        fingerprint.bytes(&serde_json::to_vec(self).unwrap_or_default());
        fingerprint.finish().chars().take(16).collect()
    }
}

/// The answers of one teacher for one data set as augmented.
pub(super) struct Cache {
    folder: PathBuf,
    key: Key,
    shard: usize,
    teacher: String,
}

impl Cache {
    /// Answers below `folder`; `teacher` is its name, for messages.
    pub(super) fn new(folder: &Path, key: Key, teacher: &str) -> Self {
        let folder = folder.join(key.name());
        Self { folder, key, shard: SHARD, teacher: teacher.into() }
    }

    #[cfg(test)]
    pub(super) fn with_shards(mut self, samples: usize) -> Self {
        self.shard = samples;
        self
    }

    /// Where this teacher's answers lie.
    #[cfg(test)]
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The rows of view `number`: those on disk, checked by their digests; what is missing or
    /// damaged is asked with `ask`, which gets a range of samples and returns their logits.
    ///
    /// One process fills at a time; others wait and then find what it left. After an
    /// interruption the shards that were finished are kept.
    pub(super) fn view(
        &self,
        number: u64,
        ask: impl Fn(Range<usize>, &mut dyn Monitor) -> Result<Vec<f32>>,
        monitor: &mut dyn Monitor,
    ) -> Result<Rows> {
        let mut file = ViewFile::new(&self.folder, number, &self.key, self.shard);
        if let Some(rows) = file.complete()? {
            return Ok(rows);
        }
        let _lock = self.lock(monitor)?;
        if let Some(damage) = file.recover()? {
            monitor.note(&format!(
                "{}: {damage}; {} is asked again from sample {} on",
                file.path().display(),
                self.teacher,
                file.done()
            ));
        }
        while file.done() < self.key.samples {
            let end = (file.done() + self.shard).min(self.key.samples);
            file.append(&ask(file.done()..end, monitor)?)?;
        }
        file.rows()
    }

    /// The right to write, until it is dropped; the system frees that of a process that died.
    fn lock(&self, monitor: &mut dyn Monitor) -> Result<File> {
        let path = self.folder.join(".lock");
        let fail = |error: std::io::Error| {
            let message = format!("the soft targets' folder cannot be written to: {error}");
            Error::new(ErrorKind::Io, self.folder.display().to_string(), message)
        };
        std::fs::create_dir_all(&self.folder).map_err(fail)?;
        let options = File::options().create(true).truncate(false).write(true).clone();
        let file = options.open(path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                monitor.note(&format!(
                    "{}: another run is asking {}: waiting for its answers",
                    self.folder.display(),
                    self.teacher
                ));
                file.lock().map_err(fail)?;
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        Ok(file)
    }
}
