//! One view on disk: `view-N.f32`, rows of logits in the samples' order, appended shard by shard,
//! and `view-N.json`, which says whose they are and the SHA-256 of each shard.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::f16;
use hipflask_runtime::SharedBytes;
use hipflask_runtime::file::{open, write_atomically};
use serde::{Deserialize, Serialize};

use super::Precision;
use super::cache::Key;
use crate::fingerprint::Fingerprint;
use crate::{Error, ErrorKind, Result};

/// What `view-N.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    key: Key,
    /// Samples of all shards but the last.
    shard: usize,
    digests: Vec<String>,
}

/// The two files of a view.
pub(super) struct ViewFile<'a> {
    rows: PathBuf,
    index: PathBuf,
    key: &'a Key,
    shard: usize,
    /// Digests of the shards that are there and right.
    digests: Vec<String>,
}

impl<'a> ViewFile<'a> {
    pub(super) fn new(folder: &Path, number: u64, key: &'a Key, shard: usize) -> Self {
        let extension = match key.precision {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        };
        Self {
            rows: folder.join(format!("view-{number}.{extension}")),
            index: folder.join(format!("view-{number}.json")),
            key,
            shard,
            digests: Vec::new(),
        }
    }

    /// The file with the rows.
    pub(super) fn path(&self) -> &Path {
        &self.rows
    }

    /// Samples that are there.
    pub(super) fn done(&self) -> usize {
        (self.digests.len() * self.shard).min(self.key.samples)
    }

    /// The rows, if all are there and right. Fails when the files belong to something else.
    pub(super) fn complete(&mut self) -> Result<Option<Rows>> {
        let found = self.recover()?;
        let whole = found.is_none() && self.done() == self.key.samples;
        if whole { self.rows().map(Some) } else { Ok(None) }
    }

    /// Finds the shards that are there and right; says what is wrong with the next, if anything
    /// is. Fails when the files belong to something else.
    pub(super) fn recover(&mut self) -> Result<Option<String>> {
        self.digests.clear();
        let text = match std::fs::read_to_string(&self.index) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Ok(Some(format!("its index cannot be read ({error})"))),
        };
        let index: Index = match serde_json::from_str(&text) {
            Ok(index) => index,
            Err(error) => return Ok(Some(format!("its index is damaged ({error})"))),
        };
        if index.key != *self.key || index.shard != self.shard {
            let message = "holds the soft targets of another teacher, data set or augmentation than \
                           its folder's name says: remove the folder, or name another cache";
            let at = self.index.display().to_string();
            return Err(Error::new(ErrorKind::Data, at, message));
        }
        let Ok(bytes) = open(&self.rows) else {
            let damage = "the rows that its index tells of cannot be read";
            return Ok((!index.digests.is_empty()).then(|| damage.into()));
        };
        let mut left = (*bytes).as_ref();
        for digest in index.digests {
            let samples = (self.key.samples - self.done()).min(self.shard);
            let Some((shard, rest)) = left.split_at_checked(samples * self.row_bytes()) else {
                return Ok(Some("it is cut short".into()));
            };
            if samples == 0 || digest_of(shard) != digest {
                return Ok(Some("its bytes are not those that were written".into()));
            }
            self.digests.push(digest);
            left = rest;
        }
        Ok(None)
    }

    /// Adds the logits of the next shard's samples: rows first, then the index, both synced, so
    /// that the index never tells of rows that are not there.
    pub(super) fn append(&mut self, logits: &[f32]) -> Result<()> {
        let bytes = self.encode(logits)?;
        let start = (self.done() * self.row_bytes()) as u64;
        let write = || -> std::io::Result<()> {
            let mut file =
                File::options().create(true).truncate(false).write(true).open(&self.rows)?;
            file.set_len(start)?;
            file.seek(SeekFrom::Start(start))?;
            file.write_all(&bytes)?;
            file.sync_data()
        };
        write().map_err(|error| {
            let message = format!("soft targets cannot be written: {error}");
            Error::new(ErrorKind::Io, self.rows.display().to_string(), message)
        })?;
        self.digests.push(digest_of(&bytes));
        let index =
            Index { key: self.key.clone(), shard: self.shard, digests: self.digests.clone() };
        let text = serde_json::to_string(&index).unwrap_or_default();
        Ok(write_atomically(&self.index, text.as_bytes())?)
    }

    /// The rows of a view that is complete.
    pub(super) fn rows(&self) -> Result<Rows> {
        let Key { classes, precision, .. } = *self.key;
        Ok(Rows { bytes: open(&self.rows)?, classes, precision })
    }

    fn row_bytes(&self) -> usize {
        self.key.classes * self.key.precision.bytes()
    }

    fn encode(&self, logits: &[f32]) -> Result<Vec<u8>> {
        let kept = |value: f32| match self.key.precision {
            Precision::F32 => value,
            Precision::F16 => f16::from_f32(value).to_f32(),
        };
        if let Some(at) = logits.iter().position(|&value| !kept(value).is_finite()) {
            let sample = self.done() + at / self.key.classes.max(1);
            let message = match logits[at] {
                value if value.is_finite() => format!(
                    "the logit {value} of training sample {sample} does not fit in f16: keep them with \
                     cache_precision = \"f32\""
                ),
                value => format!("the teacher answers {value} for training sample {sample}"),
            };
            return Err(Error::new(ErrorKind::Teacher, self.rows.display().to_string(), message));
        }
        Ok(match self.key.precision {
            Precision::F32 => logits.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Precision::F16 => logits.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        })
    }
}

fn digest_of(shard: &[u8]) -> String {
    let mut fingerprint = Fingerprint::new();
    fingerprint.bytes(shard);
    fingerprint.finish()
}

/// The rows of a complete view, mapped: a run touches the pages that its batches need.
pub(super) struct Rows {
    bytes: SharedBytes,
    classes: usize,
    precision: Precision,
}

impl Rows {
    /// The logits of sample `index`.
    ///
    /// # Panics
    ///
    /// When there is no such sample.
    pub(super) fn row(&self, index: usize) -> Vec<f32> {
        let size = self.classes * self.precision.bytes();
        let row = &(*self.bytes).as_ref()[index * size..][..size];
        match self.precision {
            Precision::F32 => {
                row.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
            }
            Precision::F16 => {
                row.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect()
            }
        }
    }
}
