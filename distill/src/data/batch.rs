//! Batches: samples in a given order, augmented, standardised, as f32.

use hipflask_runtime::input::Preprocess;

use super::{Augment, Split};
use crate::random::{self, Stream};

/// Samples for one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[n, c, h, w]`
    pub shape: [usize; 4],
    /// `n · c · h · w` values.
    pub images: Vec<f32>,
    /// `n` classes, when the split has labels.
    pub labels: Option<Vec<u32>>,
    /// Where the samples stand in their split.
    pub indices: Vec<usize>,
}

/// The order of `samples` in `epoch`: a permutation that depends on nothing else but `seed`.
pub fn shuffled(samples: usize, seed: u64, epoch: u64) -> Vec<usize> {
    random::permutation(samples, &mut Stream::new(seed, "shuffle", &[epoch]))
}

/// Goes through samples of a split, batch by batch; the last batch may be smaller.
pub struct Batches<'a> {
    split: &'a Split,
    /// One a channel.
    tables: Vec<[f32; 256]>,
    batch_size: usize,
    order: Vec<usize>,
    augment: &'a [Augment],
    seed: u64,
    epoch: u64,
    next: usize,
}

impl<'a> Batches<'a> {
    /// All samples of `split` in their own order, as they are.
    pub fn new(split: &'a Split, preprocess: &Preprocess, batch_size: usize) -> Self {
        Self {
            split,
            tables: (0..split.shape[0]).map(|c| preprocess.table(c)).collect(),
            batch_size: batch_size.max(1),
            order: (0..split.len()).collect(),
            augment: &[],
            seed: 0,
            epoch: 0,
            next: 0,
        }
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
        let shape @ [c, h, w] = self.split.shape;
        let mut images = Vec::with_capacity(indices.len() * c * h * w);
        let mut changed = Vec::new();
        for &index in &indices {
            let mut pixels = self.split.image(index);
            if !self.augment.is_empty() {
                changed.clear();
                changed.extend_from_slice(pixels);
                let mut stream = Stream::new(self.seed, "augment", &[self.epoch, index as u64]);
                for augment in self.augment {
                    augment.apply(&mut changed, shape, &mut stream);
                }
                pixels = &changed;
            }
            for (plane, table) in pixels.chunks_exact((h * w).max(1)).zip(&self.tables) {
                images.extend(plane.iter().map(|&byte| table[usize::from(byte)]));
            }
        }
        let of = |labels: &Vec<u32>| indices.iter().map(|&i| labels[i]).collect();
        let labels = self.split.labels.as_ref().map(of);
        Batch { shape: [indices.len(), c, h, w], images, labels, indices }
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
