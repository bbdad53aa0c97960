//! Views: the same few augmentations of every sample, again and again.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// A fixed number of augmented views of every sample, so that a teacher need not be asked more
/// often than that; epoch `e`, from 0, shows view `e mod count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Views {
    /// How many.
    pub count: usize,
    /// Decides what happens to each sample in each view. It is not the run's seed, so that runs
    /// under different seeds can share the teacher's answers.
    pub seed: u64,
    /// How the teacher's logits are kept on disk.
    pub precision: Precision,
}

/// How a number is kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 4 bytes, exactly.
    #[default]
    F32,
    /// 2 bytes, three significant digits; logits beyond ±65504 are refused.
    F16,
}

/// Which augmentation of the samples: the stream of random numbers is keyed by these two and the
/// sample's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) seed: u64,
    pub(crate) number: u64,
}

impl Views {
    /// Fails when there are none.
    pub fn check(&self) -> Result<()> {
        if self.count == 0 {
            let message = "0 views show nothing: give at least 1, or leave the key out for a new \
                           augmentation in every epoch";
            return Err(Error::new(ErrorKind::Config, "cache_views", message));
        }
        Ok(())
    }
}

impl View {
    /// What epoch `epoch`, from 0, of a run under `seed` shows.
    ///
    /// Where nothing is `random` all views are the first.
    pub(crate) fn of(epoch: usize, seed: u64, views: Option<&Views>, random: bool) -> Self {
        let epoch = epoch as u64;
        match views {
            None => Self { seed, number: epoch },
            Some(_) if !random => Self { seed: 0, number: 0 },
            Some(views) => Self { seed: views.seed, number: epoch % views.count.max(1) as u64 },
        }
    }
}

impl Precision {
    /// Bytes of a number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}
