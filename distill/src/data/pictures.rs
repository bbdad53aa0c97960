//! Pictures that are decoded when they are used: their files are held, not their pixels.

use std::sync::Arc;

use rayon::prelude::*;

use super::picture::{self, Picture};
use crate::fingerprint::Fingerprint;

/// Pictures of one size as files in memory, a tenth of their pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Pictures {
    /// `[c, h, w]`, to which each is brought.
    shape: [usize; 3],
    files: Arc<[Stored]>,
    /// Which of `files`, in the order of the samples.
    chosen: Vec<u32>,
}

/// A picture as it is held.
#[derive(Clone, Debug, PartialEq)]
enum Stored {
    /// A JPEG or PNG that was decoded once.
    File(Vec<u8>),
    /// `[c, h, w]` pixels.
    Pixels(Vec<u8>),
}

impl Pictures {
    /// The pictures in `files`, each of which [`picture::read`] can bring to `shape`.
    pub(super) fn new(shape: [usize; 3], files: Vec<Vec<u8>>) -> Self {
        let chosen = (0..files.len() as u32).collect();
        Self { shape, files: files.into_iter().map(Stored::File).collect(), chosen }
    }

    /// The same pictures with 1 or 3 channels.
    #[must_use]
    pub(super) fn with_channels(self, channels: usize) -> Self {
        let [_, h, w] = self.shape;
        Self { shape: [channels, h, w], ..self }
    }

    /// And after them others of the same size.
    pub(super) fn append(&mut self, more: &Self) {
        let start = self.files.len() as u32;
        self.files = self.files.iter().chain(more.files.iter()).cloned().collect();
        self.chosen.extend(more.chosen.iter().map(|&i| i + start));
    }

    /// And after them those in `pixels`, each `[c, h, w]`.
    pub(super) fn append_pixels(&mut self, pixels: &[u8]) {
        let size = self.shape.iter().product::<usize>().max(1);
        let more: Vec<Stored> =
            pixels.chunks_exact(size).map(|image| Stored::Pixels(image.to_vec())).collect();
        let chosen = (0..more.len() as u32).collect();
        self.append(&Self { shape: self.shape, files: more.into(), chosen });
    }

    /// `[c, h, w]` of each.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// The pictures `indices`, in that order, not decoded.
    ///
    /// # Panics
    ///
    /// When there is no such picture.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self { chosen: indices.iter().map(|&i| self.chosen[i]).collect(), ..self.clone() }
    }

    /// The pixels of picture `index`, `[c, h, w]`.
    ///
    /// # Panics
    ///
    /// When there is no such picture.
    pub fn decode(&self, index: usize) -> Vec<u8> {
        let [c, h, w] = self.shape;
        match &self.files[self.chosen[index] as usize] {
            Stored::Pixels(pixels) => pixels.clone(),
            Stored::File(bytes) => picture::read(bytes, Some([h, w]))
                .ok()
                .and_then(|Picture { shape, pixels }| picture::with_channels(&pixels, shape, c))
                .expect("a picture that was decoded once is decoded again"),
        }
    }

    /// The pixels of the pictures `indices` one after another, decoded on all threads.
    ///
    /// # Panics
    ///
    /// When there is no such picture.
    pub fn decode_all(&self, indices: &[usize]) -> Vec<u8> {
        let decoded: Vec<Vec<u8>> = indices.par_iter().map(|&index| self.decode(index)).collect();
        decoded.concat()
    }

    /// Of the files, not of their pixels.
    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint) {
        fingerprint.numbers(self.shape.iter().map(|&d| d as u64));
        for &index in &self.chosen {
            match &self.files[index as usize] {
                Stored::File(bytes) | Stored::Pixels(bytes) => fingerprint.bytes(bytes),
            }
        }
    }
}
