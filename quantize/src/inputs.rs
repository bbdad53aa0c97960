//! Samples as the network takes them.

use std::borrow::Cow;

/// Real samples, made when they are asked for: what looks at them holds one at a time.
pub trait Inputs {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Sample `index` of the network's input, an image as `[h, w, c]`.
    fn get(&self, index: usize) -> Cow<'_, [f32]>;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: AsRef<[Vec<f32>]>> Inputs for T {
    fn len(&self) -> usize {
        self.as_ref().len()
    }

    fn get(&self, index: usize) -> Cow<'_, [f32]> {
        Cow::Borrowed(&self.as_ref()[index])
    }
}

/// The indices of `count` of `len` samples, or of all if there are fewer, spread evenly.
pub(crate) fn spread(len: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(len);
    (0..count).map(move |i| i * len / count)
}
