//! Batches: samples in a given order, augmented, standardised, as f32.

use hipflask_runtime::input::Preprocess;

use super::{Augment, Split};
use crate::random::{self, Stream};

/// Samples for one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[n, c, h, w]`
    pub shape: [usize; 4],
    /// `n · c · h · w` values, as the data set standardises them.
    pub images: Vec<f32>,
    /// The same images as bytes, augmented, for a network with another standardisation.
    pub pixels: Vec<u8>,
    /// `n` classes, when the split has labels.
    pub labels: Option<Vec<u32>>,
    /// Where the samples stand in their split.
    pub indices: Vec<usize>,
}

impl Batch {
    /// The images as `preprocess` standardises them.
    pub fn standardised(&self, preprocess: &Preprocess) -> Vec<f32> {
        standardise(&self.pixels, self.shape, &tables(preprocess, self.shape[1]))
    }
}

/// The values of all bytes, one table a channel.
fn tables(preprocess: &Preprocess, channels: usize) -> Vec<[f32; 256]> {
    (0..channels).map(|c| preprocess.table(c)).collect()
}

fn standardise(pixels: &[u8], [_, _, h, w]: [usize; 4], tables: &[[f32; 256]]) -> Vec<f32> {
    let planes = pixels.chunks_exact((h * w).max(1)).zip(tables.iter().cycle());
    planes.flat_map(|(plane, table)| plane.iter().map(|&byte| table[usize::from(byte)])).collect()
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
            tables: tables(preprocess, split.shape[0]),
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
        let image @ [c, h, w] = self.split.shape;
        let size = c * h * w;
        let mut pixels = Vec::with_capacity(indices.len() * size);
        for &index in &indices {
            let from = pixels.len();
            pixels.extend_from_slice(self.split.image(index));
            if !self.augment.is_empty() {
                let mut stream = Stream::new(self.seed, "augment", &[self.epoch, index as u64]);
                for augment in self.augment {
                    augment.apply(&mut pixels[from..], image, &mut stream);
                }
            }
        }
        let shape = [indices.len(), c, h, w];
        let images = standardise(&pixels, shape, &self.tables);
        let of = |labels: &Vec<u32>| indices.iter().map(|&i| labels[i]).collect();
        let labels = self.split.labels.as_ref().map(of);
        Batch { shape, images, pixels, labels, indices }
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
