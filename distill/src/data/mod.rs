//! Data sets: bytes in memory, split into training, validation and test samples.

mod augment;
mod batch;
mod digits;
mod idx;
mod load;
mod resize;
mod spec;
#[cfg(test)]
mod tests;

use hipflask_runtime::input::Preprocess;

pub use augment::Augment;
pub use batch::{Batch, Batches, shuffled};
pub use spec::{DataFormat, DataSpec, Places};

use crate::Result;

/// Images of one size as bytes, with their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// `[c, h, w]` of each image.
    pub shape: [usize; 3],
    /// Images one after another, each `[c, h, w]`.
    pub pixels: Vec<u8>,
    /// Class of each image, when known.
    pub labels: Option<Vec<u32>>,
}

impl Split {
    /// No samples of this shape.
    pub fn empty(shape: [usize; 3]) -> Self {
        Self { shape, pixels: Vec::new(), labels: None }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.pixels.len().checked_div(self.image_bytes()).unwrap_or(0)
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The bytes of one image, `[c, h, w]`.
    ///
    /// # Panics
    ///
    /// When there is no such sample.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.image_bytes();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// The samples `indices`, in that order.
    ///
    /// # Panics
    ///
    /// When there is no such sample.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let pixels = indices.iter().flat_map(|&i| self.image(i)).copied().collect();
        let labels = self.labels.as_ref().map(|all| indices.iter().map(|&i| all[i]).collect());
        Self { shape: self.shape, pixels, labels }
    }

    fn image_bytes(&self) -> usize {
        self.shape.iter().product()
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
    /// How bytes become the network's input.
    pub preprocess: Preprocess,
    /// Random changes to training images.
    pub augment: Vec<Augment>,
    /// SHA-256 of shapes, pixels and labels of all three splits: the same for the same samples.
    pub fingerprint: String,
}

impl DataSet {
    /// Loads what `spec` declares; `seed` chooses the validation samples and those under `limit`.
    pub fn open(spec: &DataSpec, places: &Places, seed: u64) -> Result<Self> {
        load::load(spec, places, seed)
    }

    /// `[c, h, w]` of each image.
    pub fn shape(&self) -> [usize; 3] {
        self.train.shape
    }

    /// One epoch of training: shuffled and augmented, both a pure function of `seed` and `epoch`.
    pub fn training_batches(&self, seed: u64, epoch: u64, batch_size: usize) -> Batches<'_> {
        self.batches(&self.train, batch_size)
            .in_order(shuffled(self.train.len(), seed, epoch))
            .augmented(&self.augment, seed, epoch)
    }

    /// All samples of one of the splits in their own order, not augmented.
    pub fn batches<'a>(&'a self, split: &'a Split, batch_size: usize) -> Batches<'a> {
        Batches::new(split, &self.preprocess, batch_size)
    }
}
