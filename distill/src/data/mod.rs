//! Data sets: raw samples in memory, split into training, validation and test samples.

mod array;
#[cfg(test)]
mod array_tests;
mod audio;
mod augment;
mod batch;
mod choose;
mod cifar;
mod conversion;
#[cfg(test)]
mod conversion_tests;
mod digits;
mod files;
mod fitted;
mod folder;
#[cfg(test)]
mod folder_tests;
mod idx;
mod left_out;
mod load;
mod mix;
mod part;
mod picture;
mod pictures;
mod prefetch;
mod resize;
mod rows;
mod samples;
mod spec;
mod table;
mod test_part;
#[cfg(test)]
mod tests;
mod text;

use hipflask_runtime::input::Preprocess;

pub use array::ArraySpec;
pub use audio::{AudioAugment, AudioSpec, Axis, Clip, FeatureKind, LabelFrom, Mask, Waves};
pub use augment::Augment;
pub use batch::{Batch, Batches, Mixed, shuffled};
pub use conversion::Conversion;
pub use mix::{Blend, Mix};
pub use pictures::Pictures;
pub(crate) use prefetch::prefetched;
pub use rows::{Fields, Rows, RowsColumn};
pub use samples::{Samples, describe_shape};
pub use spec::{DataFormat, DataSpec, OnError, Places, SourceSpec};
pub use table::TableSpec;
pub use text::{TextSpec, TextTokenizer, Texts};

use crate::Result;

/// Samples with their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The samples, raw.
    pub samples: Samples,
    /// Class of each sample, when known.
    pub labels: Option<Vec<u32>>,
}

impl Split {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// No samples of the same kind and size, without labels.
    #[must_use]
    pub fn none(&self) -> Self {
        Self { samples: self.samples.none(), labels: None }
    }

    /// The samples `indices`, in that order.
    ///
    /// # Panics
    ///
    /// When there is no such sample.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let labels = self.labels.as_ref().map(|all| indices.iter().map(|&i| all[i]).collect());
        Self { samples: self.samples.select(indices), labels }
    }
}

/// A data set, loaded and checked.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Samples to train on; none when the recipe names no training files.
    pub train: Split,
    /// Samples held out of `train`.
    pub validation: Option<Split>,
    /// Samples to measure on; none when the recipe names no test files.
    pub test: Split,
    /// Number of classes.
    pub classes: usize,
    /// One a class.
    pub class_names: Vec<String>,
    /// How raw samples become the network's input.
    pub preprocess: Preprocess,
    /// Random changes to training samples.
    pub augment: Vec<Augment>,
    /// Damaged files and samples that were left out by `on_error = "skip"`, and what is wrong with
    /// each.
    pub skipped: Vec<String>,
    /// SHA-256 of shapes, samples and labels of all three splits: the same for the same samples.
    pub fingerprint: String,
}

impl DataSet {
    /// Loads what `spec` declares; `seed` chooses the validation samples and those under `limit`.
    pub fn open(spec: &DataSpec, places: &Places, seed: u64) -> Result<Self> {
        load::load(spec, places, seed)
    }

    /// The network's input for one sample: `[c, h, w]` for images, `[features]` for tables,
    /// `[1, frames, features]` for sounds, `[tokens]` for texts.
    ///
    /// An error where the preprocessing is for samples of another kind.
    pub fn shape(&self) -> Result<Vec<usize>> {
        Ok(Conversion::new(&self.train.samples, &self.preprocess)?.shape().to_vec())
    }

    /// Ids that occur, where the samples are texts.
    pub fn vocabulary(&self) -> Option<usize> {
        match &self.preprocess {
            Preprocess::Text(rule) => Some(rule.vocabulary),
            _ => None,
        }
    }

    /// One epoch of training: shuffled and augmented, both a pure function of `seed` and `epoch`.
    pub fn training_batches(
        &self,
        seed: u64,
        epoch: u64,
        batch_size: usize,
    ) -> Result<Batches<'_>> {
        let batches = self.batches(&self.train, batch_size)?;
        let order = shuffled(self.train.len(), seed, epoch);
        Ok(batches.in_order(order).augmented(&self.augment, seed, epoch))
    }

    /// All samples of one of the splits in their own order, not augmented.
    pub fn batches<'a>(&'a self, split: &'a Split, batch_size: usize) -> Result<Batches<'a>> {
        Batches::new(split, &self.preprocess, batch_size)
    }
}
