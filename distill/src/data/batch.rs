//! Batches: samples in a given order, augmented, as the network's input in f32.

use hipflask_runtime::input::Preprocess;

use super::{Augment, Blend, Conversion, Mix, Samples, Split};
use crate::Result;
use crate::random::{self, Stream};

/// Samples for one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[n, …]`: the number of samples, then the network's input.
    pub shape: Vec<usize>,
    /// The samples as the data set's preprocessing makes them, mixed.
    pub values: Vec<f32>,
    /// The same samples raw and augmented, for a network with another preprocessing.
    pub raw: Samples,
    /// `n` classes, when the split has labels.
    pub labels: Option<Vec<u32>>,
    /// Where the samples stand in their split.
    pub indices: Vec<usize>,
    /// What they are mixed with, if they are.
    pub mixed: Option<Mixed>,
}

/// The second samples of a batch of mixtures.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// Raw and augmented.
    pub raw: Samples,
    /// Their classes, when the split has labels.
    pub labels: Option<Vec<u32>>,
    /// How much of which sample is in which mixture.
    pub blends: Vec<Blend>,
}

impl Batch {
    /// The same samples as `preprocess` makes them, mixed in the same way: shape `[n, …]` and values.
    pub fn preprocessed(&self, preprocess: &Preprocess) -> Result<(Vec<usize>, Vec<f32>)> {
        let conversion = Conversion::new(&self.raw, preprocess)?;
        let values = inputs(&self.raw, self.mixed.as_ref(), &conversion);
        Ok((batch_shape(&self.raw, &conversion), values))
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
            mixed: self.mixed.as_ref().map(|mixed| Mixed {
                raw: mixed.raw.select(&(0..count).collect::<Vec<_>>()),
                labels: mixed.labels.as_ref().map(|labels| labels[..count].to_vec()),
                blends: mixed.blends[..count].to_vec(),
            }),
        }
    }
}

/// What `conversion` makes of the samples `raw`, mixed with others where there are some.
fn inputs(raw: &Samples, mixed: Option<&Mixed>, conversion: &Conversion) -> Vec<f32> {
    let mut values = conversion.all(raw);
    let Some(mixed) = mixed else { return values };
    let size = conversion.shape().iter().product::<usize>().max(1);
    let others = conversion.all(&mixed.raw);
    let pairs = values.chunks_exact_mut(size).zip(others.chunks_exact(size));
    for ((own, other), blend) in pairs.zip(&mixed.blends) {
        blend.apply(own, other, conversion.shape());
    }
    values
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
    mix: Option<Mix>,
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
            mix: None,
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

    /// Mixes each sample with another of the split, augmented as in its own turn; with which and how
    /// much depends on the seed and epoch of [`augmented`](Self::augmented) and its index alone.
    #[must_use]
    pub fn mixed(mut self, mix: Option<Mix>) -> Self {
        self.mix = mix;
        self
    }

    /// Leaves out the first `batches`, as when a run is resumed within an epoch.
    #[must_use]
    pub fn starting_at(mut self, batches: usize) -> Self {
        self.next = batches.saturating_mul(self.batch_size).min(self.order.len());
        self
    }

    fn batch(&self, indices: Vec<usize>) -> Batch {
        let raw = self.raw(&indices);
        let mixed = self.mix.map(|mix| self.partners(mix, &indices));
        Batch {
            shape: batch_shape(&raw, &self.conversion),
            values: inputs(&raw, mixed.as_ref(), &self.conversion),
            raw,
            labels: self.labels(&indices),
            indices,
            mixed,
        }
    }

    /// The samples `indices`, augmented.
    fn raw(&self, indices: &[usize]) -> Samples {
        let mut raw = self.split.samples.loaded(indices);
        self.augment(&mut raw, indices);
        raw
    }

    fn labels(&self, indices: &[usize]) -> Option<Vec<u32>> {
        let labels = self.split.labels.as_ref()?;
        Some(indices.iter().map(|&i| labels[i]).collect())
    }

    /// What the samples `indices` are mixed with.
    fn partners(&self, mix: Mix, indices: &[usize]) -> Mixed {
        let draw = |&index: &usize| {
            let mut stream = Stream::new(self.seed, "mix", &[self.epoch, index as u64]);
            mix.draw(self.conversion.shape(), self.split.len(), &mut stream)
        };
        let blends: Vec<Blend> = indices.iter().map(draw).collect();
        let partners: Vec<usize> = blends.iter().map(|blend| blend.partner).collect();
        Mixed { raw: self.raw(&partners), labels: self.labels(&partners), blends }
    }

    /// Changes the samples `raw`, which stand at `indices` in the split.
    fn augment(&self, raw: &mut Samples, indices: &[usize]) {
        if self.augment.is_empty() {
            return;
        }
        let stream =
            |&index: &usize| Stream::new(self.seed, "augment", &[self.epoch, index as u64]);
        if let (Samples::Waves(waves), Some(front_end)) = (&mut *raw, self.conversion.front_end()) {
            for (clip, mut stream) in waves.clips.iter_mut().zip(indices.iter().map(stream)) {
                self.augment.iter().for_each(|a| a.apply_to_sound(clip, front_end, &mut stream));
            }
            return;
        }
        let Samples::Images { shape, pixels } = raw else { return };
        let images = pixels.chunks_exact_mut(shape.iter().product::<usize>().max(1));
        for (image, mut stream) in images.zip(indices.iter().map(stream)) {
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
