//! Samples of one kind, raw: what preprocessing makes the network's input of.

use super::audio::Waves;
use super::pictures::Pictures;
use super::rows::Rows;
use super::text::Texts;
use crate::fingerprint::Fingerprint;

/// Samples of one kind and size, raw and in memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// Images as bytes.
    Images {
        /// `[c, h, w]` of each.
        shape: [usize; 3],
        /// One after another, each `[c, h, w]`.
        pixels: Vec<u8>,
    },
    /// Images as files, decoded batch by batch.
    Pictures(Pictures),
    /// Real numbers.
    Values {
        /// Of each sample: `[features]`, or `[c, h, w]`.
        shape: Vec<usize>,
        /// One after another.
        values: Vec<f32>,
    },
    /// Rows of a table.
    Rows(Rows),
    /// Sounds.
    Waves(Waves),
    /// Texts, split into tokens.
    Texts(Texts),
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Images { shape, pixels } => count(pixels.len(), shape),
            Self::Pictures(pictures) => pictures.len(),
            Self::Values { shape, values } => count(values.len(), shape),
            Self::Rows(rows) => rows.len(),
            Self::Waves(waves) => waves.clips.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No samples of the same kind and size.
    #[must_use]
    pub fn none(&self) -> Self {
        self.select(&[])
    }

    /// The samples `indices`, in that order.
    ///
    /// # Panics
    ///
    /// When there is no such sample.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        match self {
            Self::Images { shape, pixels } => {
                Self::Images { shape: *shape, pixels: chosen(pixels, shape, indices) }
            }
            Self::Pictures(pictures) => Self::Pictures(pictures.select(indices)),
            Self::Values { shape, values } => {
                Self::Values { shape: shape.clone(), values: chosen(values, shape, indices) }
            }
            Self::Rows(rows) => Self::Rows(rows.select(indices)),
            Self::Waves(waves) => Self::Waves(waves.select(indices)),
            Self::Texts(texts) => Self::Texts(texts.select(indices)),
        }
    }

    /// The samples `indices`, in that order, decoded: what [`select`](Self::select) gives, but images as
    /// pixels.
    ///
    /// # Panics
    ///
    /// When there is no such sample.
    #[must_use]
    pub fn loaded(&self, indices: &[usize]) -> Self {
        match self {
            Self::Pictures(pictures) => {
                Self::Images { shape: pictures.shape(), pixels: pictures.decode_all(indices) }
            }
            _ => self.select(indices),
        }
    }

    /// `[c, h, w]` of images.
    pub fn image_shape(&self) -> Option<[usize; 3]> {
        match self {
            Self::Images { shape, .. } => Some(*shape),
            Self::Pictures(pictures) => Some(pictures.shape()),
            _ => None,
        }
    }

    /// Adds `more` at the end; gives it back where it is of another kind or size.
    pub(super) fn append(&mut self, more: Self) -> Result<(), Self> {
        match (&mut *self, more) {
            (Self::Pictures(all), Self::Pictures(more)) if all.shape() == more.shape() => {
                all.append(&more);
            }
            (Self::Pictures(all), Self::Images { shape, pixels }) if all.shape() == shape => {
                all.append_pixels(&pixels);
            }
            (Self::Images { shape, pixels }, Self::Pictures(more)) if *shape == more.shape() => {
                let mut all = Pictures::new(*shape, Vec::new());
                all.append_pixels(pixels);
                all.append(&more);
                *self = Self::Pictures(all);
            }
            (Self::Images { shape, pixels }, Self::Images { shape: other, pixels: more })
                if *shape == other =>
            {
                pixels.extend(more);
            }
            (Self::Values { shape, values }, Self::Values { shape: other, values: more })
                if *shape == other =>
            {
                values.extend(more);
            }
            (Self::Rows(rows), Self::Rows(more)) => return rows.append(more).map_err(Self::Rows),
            (Self::Waves(waves), Self::Waves(more)) if waves.rate == more.rate => {
                waves.clips.extend(more.clips);
            }
            (Self::Texts(texts), Self::Texts(more)) => {
                return texts.append(more).map_err(Self::Texts);
            }
            (_, more) => return Err(more),
        }
        Ok(())
    }

    /// The bytes `[c, h, w]` of image `index`; `None` where there is none, or no images are held.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        let Self::Images { shape, pixels } = self else { return None };
        pixels.chunks_exact(shape.iter().product::<usize>().max(1)).nth(index)
    }

    /// What they are, for messages: `images of 28×28 with 1 channel`, `values of 64`.
    pub fn describe(&self) -> String {
        match self {
            Self::Images { shape: [c, h, w], .. } => describe_shape("images", &[*c, *h, *w]),
            Self::Pictures(pictures) => describe_shape("images", &pictures.shape()),
            Self::Values { shape, .. } => describe_shape("values", shape),
            Self::Rows(rows) => format!("rows of {} columns", rows.columns().len()),
            Self::Waves(waves) => format!("sounds at {} Hz", waves.rate),
            Self::Texts(texts) => match texts.tokenizer() {
                None => "texts as bytes".into(),
                Some(file) => format!("texts as tokens of {:?}", file.name),
            },
        }
    }

    /// Adds shape and contents to `fingerprint`.
    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint) {
        match self {
            Self::Images { shape, pixels } => {
                fingerprint.numbers(shape.iter().map(|&d| d as u64));
                fingerprint.bytes(pixels);
            }
            Self::Pictures(pictures) => pictures.fingerprint(fingerprint),
            Self::Values { shape, values } => {
                fingerprint.numbers(shape.iter().map(|&d| d as u64));
                fingerprint.numbers(values.iter().map(|v| u64::from(v.to_bits())));
            }
            Self::Rows(rows) => rows.fingerprint(fingerprint),
            Self::Waves(waves) => waves.fingerprint(fingerprint),
            Self::Texts(texts) => texts.fingerprint(fingerprint),
        }
    }
}

/// `images of 28×28 with 1 channel` for `[1, 28, 28]`, `values of 64` for `[64]`.
pub fn describe_shape(what: &str, shape: &[usize]) -> String {
    match *shape {
        [1, h, w] => format!("{what} of {w}×{h} with 1 channel"),
        [c, h, w] => format!("{what} of {w}×{h} with {c} channels"),
        ref dims => {
            let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
            format!("{what} of {}", dims.join("×"))
        }
    }
}

fn count(elements: usize, shape: &[usize]) -> usize {
    elements.checked_div(shape.iter().product()).unwrap_or(0)
}

fn chosen<T: Copy>(all: &[T], shape: &[usize], indices: &[usize]) -> Vec<T> {
    let size = shape.iter().product::<usize>();
    let mut chosen = Vec::with_capacity(size * indices.len());
    for &i in indices {
        chosen.extend_from_slice(&all[i * size..(i + 1) * size]);
    }
    chosen
}
