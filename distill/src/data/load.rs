//! From a `[data]` table to a checked [`DataSet`].

use std::path::PathBuf;

use super::part::{self, Part};
use super::{
    Conversion, DataFormat, DataSet, DataSpec, Places, Samples, Split, array, audio, choose, cifar,
    digits, fitted, folder, idx, picture, resize, table, test_part, text,
};
use crate::fingerprint::Fingerprint;
use crate::{Error, ErrorKind, Result};

/// Largest side of `resize`.
const MOST_SIDE: usize = 4096;

pub(super) fn load(spec: &DataSpec, places: &Places, seed: u64) -> Result<DataSet> {
    let mut parts = [Vec::new(), Vec::new()];
    for source in spec.sources() {
        for (parts, part) in parts.iter_mut().zip(read(&source, places)?) {
            parts.extend(part.map(|part| adjusted(part, spec)).transpose()?);
        }
    }
    if parts.iter().all(Vec::is_empty) {
        let what = "names no files: give train = [\"…\", …] or test = [\"…\", …]";
        return Err(wrong("data", what));
    }
    let class_names = part::class_names(&spec.labels, &parts)?;
    let skipped = parts.iter().flatten().flat_map(|part| part.skipped.clone()).collect();
    let [train, test] = parts.map(|parts| part::merged(parts, &class_names));
    let (train, test) = (train?, test?);
    let none = |other: &Option<Split>| other.as_ref().map(Split::none);
    let (no_train, no_test) = (none(&test), none(&train));
    let (Some(train), Some(test)) = (train.or(no_train), test.or(no_test)) else {
        return Err(wrong("data", "holds no samples"));
    };
    let [train, test] = match spec.test_fraction {
        None => [train, test],
        Some(_) if !test.is_empty() => {
            let what = "is for data without test samples, these have some: leave it out";
            return Err(wrong("data.test_fraction", what));
        }
        Some(fraction) => test_part::set_apart(&train, fraction, seed)?,
    };
    let (train, validation) = choose::hold_out(train, spec, seed)?;
    let training = if train.is_empty() { &test.samples } else { &train.samples };
    let preprocess = fitted::preprocess(training, spec)?;
    // After the statistics are taken: they are those of the samples as they are.
    let train = if spec.oversample { choose::balanced(&train, seed)? } else { train };
    let [a, b] = [&train, &test].map(|split| Conversion::new(&split.samples, &preprocess));
    if a?.shape() != b?.shape() {
        let [a, b] = [&train, &test].map(|split| split.samples.describe());
        let how = match train.samples.image_shape() {
            Some(_) => "; resize = [h, w] and channels = 1 or 3 make images so",
            None => "",
        };
        let what =
            format!("the training samples are {a}, the test samples {b}: they must agree{how}");
        return Err(wrong("data", what));
    }
    if let Some(change) = spec.augment.iter().find(|change| !change.suits(&train.samples)) {
        let what = format!("\"{change}\" is not for the data, {}", train.samples.describe());
        return Err(wrong("data.augment", what));
    }
    let fingerprint = fingerprint([Some(&train), validation.as_ref(), Some(&test)]);
    Ok(DataSet {
        train,
        validation,
        test,
        classes: class_names.len(),
        class_names,
        preprocess,
        augment: spec.augment.clone(),
        skipped,
        fingerprint,
    })
}

/// What the files of one source hold: training and test samples.
fn read(spec: &DataSpec, places: &Places) -> Result<[Option<Part>; 2]> {
    let cifar =
        |labels| each(spec, |name| Ok(cifar::open(&spec.locate(name, places)?, labels)?.into()));
    let [train, test] = match spec.format {
        DataFormat::Digits => built_in(spec)?,
        DataFormat::Idx => idx_files(spec, places)?,
        DataFormat::Cifar => cifar(cifar::Labels::Ten)?,
        DataFormat::Cifar100 => cifar(cifar::Labels::Fine)?,
        DataFormat::Cifar100Coarse => cifar(cifar::Labels::Coarse)?,
        DataFormat::Folder => each(spec, |name| {
            let (root, inner) = spec.locate_tree(name, places)?;
            folder::read(&root, &inner, spec)
        })?,
        DataFormat::Csv | DataFormat::Tsv => table::read(spec, places)?,
        DataFormat::Npy | DataFormat::Safetensors => array::read(spec, places)?,
        DataFormat::Wav => each(spec, |name| {
            let (root, inner) = spec.locate_tree(name, places)?;
            audio::read(&root, &inner, spec)
        })?,
        DataFormat::Text => {
            let tokenizer = text::tokenizer(spec, places)?;
            each(spec, |name| text::read(name, spec, places, &tokenizer))?
        }
    };
    Ok([train.map(|part| part.without_first(spec.skip)).transpose()?, test])
}

fn built_in(spec: &DataSpec) -> Result<[Option<Part>; 2]> {
    if spec.root.is_some() || !spec.train.is_empty() || !spec.test.is_empty() {
        let what = "format \"digits\" is built in and takes no root, train or test; for files write format = \"idx\"";
        return Err(wrong("data.format", what));
    }
    Ok(digits::load()?.map(|split| Some(split.into())))
}

fn idx_files(spec: &DataSpec, places: &Places) -> Result<[Option<Part>; 2]> {
    let read = |key: &str, names: &[PathBuf]| {
        let (images, labels) = match names {
            [] => return Ok(None),
            [images] => (images, None),
            [images, labels] => (images, Some(labels)),
            more => {
                let what = format!(
                    "names {} files: give the images and then, if there are any, the labels",
                    more.len()
                );
                return Err(wrong(key, what));
            }
        };
        let images = idx::open(&spec.locate(images, places)?)?;
        let labels = labels.map(|name| idx::open(&spec.locate(name, places)?)).transpose()?;
        Ok(Some(idx::split(images, labels)?.into()))
    };
    Ok([read("data.train", &spec.train)?, read("data.test", &spec.test)?])
}

/// The samples of a format each of whose files stands for itself.
fn each(spec: &DataSpec, read: impl Fn(&PathBuf) -> Result<Part>) -> Result<[Option<Part>; 2]> {
    let all = |names: &[PathBuf]| {
        let parts = names.iter().map(&read).collect::<Result<Vec<Part>>>()?;
        Part::joined(parts)
    };
    Ok([all(&spec.train)?, all(&spec.test)?])
}

/// Images in the channels and the size that the recipe asks for.
fn adjusted(part: Part, spec: &DataSpec) -> Result<Part> {
    let split = match spec.channels {
        None => part.split,
        Some(channels) => in_channels(part.split, channels)?,
    };
    let split = match spec.resize {
        None => split,
        Some(size) => resized(split, size)?,
    };
    Ok(Part { split, ..part })
}

fn in_channels(split: Split, channels: usize) -> Result<Split> {
    if !matches!(channels, 1 | 3) {
        return Err(wrong("data.channels", format!("{channels}: images have 1 (grey) or 3")));
    }
    let samples = match split.samples {
        Samples::Images { shape: [c, ..], .. } if c == channels => split.samples,
        Samples::Images { shape: shape @ [c, h, w], pixels } => {
            let pixels = picture::with_channels(&pixels, shape, channels).ok_or_else(|| {
                let what = format!("images of {c} channels cannot be brought to {channels}");
                wrong("data.channels", what)
            })?;
            Samples::Images { shape: [channels, h, w], pixels }
        }
        Samples::Pictures(pictures) => Samples::Pictures(pictures.with_channels(channels)),
        other => {
            let what = format!("is for images, the data are {}", other.describe());
            return Err(wrong("data.channels", what));
        }
    };
    Ok(Split { samples, labels: split.labels })
}

fn resized(split: Split, size: [usize; 2]) -> Result<Split> {
    let [h, w] = size;
    check_size(size)?;
    if let Samples::Pictures(_) = split.samples {
        // Scaled as they are decoded.
        return Ok(split);
    }
    let Samples::Images { shape: shape @ [c, from_h, from_w], pixels } = &split.samples else {
        let what = format!("is for images, the data are {}", split.samples.describe());
        return Err(wrong("data.resize", what));
    };
    if [*from_h, *from_w] == size {
        return Ok(split);
    }
    let pixels = resize::resize(pixels, *shape, size);
    Ok(Split { samples: Samples::Images { shape: [*c, h, w], pixels }, labels: split.labels })
}

/// Fails unless images can be scaled to `size`.
pub(super) fn check_size([h, w]: [usize; 2]) -> Result<()> {
    if (1..=MOST_SIDE).contains(&h) && (1..=MOST_SIDE).contains(&w) {
        return Ok(());
    }
    Err(wrong("data.resize", format!("[{h}, {w}]: both sides must be from 1 to {MOST_SIDE}")))
}

fn fingerprint(splits: [Option<&Split>; 3]) -> String {
    let mut fingerprint = Fingerprint::new();
    for split in splits {
        match split {
            Some(split) => split.samples.fingerprint(&mut fingerprint),
            None => fingerprint.bytes(&[]),
        }
        let labels = split.and_then(|s| s.labels.as_deref()).unwrap_or_default();
        fingerprint.numbers(labels.iter().map(|&l| u64::from(l)));
    }
    fingerprint.finish()
}

fn wrong(at: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, at, message)
}
