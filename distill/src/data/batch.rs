//! Batches: samples in a given order, augmented, as the network's input in f32.

use hipflask_runtime::input::Preprocess;

use super::{Augment, Conversion, Samples, Split};
use crate::Result;
use crate::random::{self, Stream};

/// Samples for one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[n, …]`: the number of samples, then the network's input.
    pub shape: Vec<usize>,
    /// The samples as the data set's preprocessing makes them.
    pub values: Vec<f32>,
    /// The same samples raw and augmented, for a network with another preprocessing.
    pub raw: Samples,
    /// `n` classes, when the split has labels.
    pub labels: Option<Vec<u32>>,
    /// Where the samples stand in their split.
    pub indices: Vec<usize>,
}

impl Batch {
    /// The same samples as `preprocess` makes them: shape `[n, …]` and values.
    pub fn preprocessed(&self, preprocess: &Preprocess) -> Result<(Vec<usize>, Vec<f32>)> {
        let conversion = Conversion::new(&self.raw, preprocess)?;
        Ok((batch_shape(&self.raw, &conversion), conversion.all(&self.raw)))
    }

    /// Its first `count` samples, which must be there.
    pub(crate) fn first(&self, count: usize) -> Self {
        let size = self.values.len() / self.indices.len().max(1);
        let mut shape = self.shape.clone();
        shape[0] = count;
        Self {
            shape,
            values: self.values[..count * size].to_vec(),
            raw: self.raw.select(&(0..count).collect::<Vec<_>>()),
            labels: self.labels.as_ref().map(|labels| labels[..count].to_vec()),
            indices: self.indices[..count].to_vec(),
        }
    }
}

fn batch_shape(samples: &Samples, conversion: &Conversion) -> Vec<usize> {
    [&[samples.len()], conversion.shape()].concat()
}

/// The order of `samples` in `epoch`: a permutation that depends on nothing else but `seed`.
pub fn shuffled(samples: usize, seed: u64, epoch: u64) -> Vec<usize> {
    random::permutation(samples, &mut Stream::new(seed, "shuffle", &[epoch]))
}

/// Goes through samples of a split, batch by batch; the last batch may be smaller.
pub struct Batches<'a> {
    split: &'a Split,
    conversion: Conversion,
    batch_size: usize,
    order: Vec<usize>,
    augment: &'a [Augment],
    seed: u64,
    epoch: u64,
    next: usize,
}

impl<'a> Batches<'a> {
    /// All samples of `split` in their own order, as they are; an error where `preprocess` is for
    /// samples of another kind.
    pub fn new(split: &'a Split, preprocess: &Preprocess, batch_size: usize) -> Result<Self> {
        Ok(Self {
            split,
            conversion: Conversion::new(&split.samples, preprocess)?,
            batch_size: batch_size.max(1),
            order: (0..split.len()).collect(),
            augment: &[],
            seed: 0,
            epoch: 0,
            next: 0,
        })
    }

    /// The samples `order`, which may leave some out.
    ///
    /// # Panics
    ///
    /// When `order` names a sample beyond the split.
    #[must_use]
    pub fn in_order(mut self, order: Vec<usize>) -> Self {
        let samples = self.split.len();
        assert!(order.iter().all(|&i| i < samples), "the order names samples of this split");
        self.order = order;
        self
    }

    /// Augments each sample; what happens to it depends on seed, epoch and its index alone.
    #[must_use]
    pub fn augmented(mut self, augment: &'a [Augment], seed: u64, epoch: u64) -> Self {
        (self.augment, self.seed, self.epoch) = (augment, seed, epoch);
        self
    }

    /// Leaves out the first `batches`, as when a run is resumed within an epoch.
    #[must_use]
    pub fn starting_at(mut self, batches: usize) -> Self {
        self.next = batches.saturating_mul(self.batch_size).min(self.order.len());
        self
    }

    fn batch(&self, indices: Vec<usize>) -> Batch {
        let mut raw = self.split.samples.select(&indices);
        self.augment(&mut raw, &indices);
        let of = |labels: &Vec<u32>| indices.iter().map(|&i| labels[i]).collect();
        Batch {
            shape: batch_shape(&raw, &self.conversion),
            values: self.conversion.all(&raw),
            raw,
            labels: self.split.labels.as_ref().map(of),
            indices,
        }
    }

    /// Changes the samples `raw`, which stand at `indices` in the split.
    fn augment(&self, raw: &mut Samples, indices: &[usize]) {
        if self.augment.is_empty() {
            return;
        }
        let Samples::Images { shape, pixels } = raw else { return };
        let images = pixels.chunks_exact_mut(shape.iter().product::<usize>().max(1));
        for (image, &index) in images.zip(indices) {
            let mut stream = Stream::new(self.seed, "augment", &[self.epoch, index as u64]);
            for augment in self.augment {
                augment.apply(image, *shape, &mut stream);
            }
        }
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let end = (self.next + self.batch_size).min(self.order.len());
        let indices = self.order[self.next..end].to_vec();
        self.next = end;
        (!indices.is_empty()).then(|| self.batch(indices))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.order.len() - self.next).div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches<'_> {}
