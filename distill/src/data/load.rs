//! From a `[data]` table to a checked [`DataSet`].

use std::path::PathBuf;

use hipflask_runtime::input::Preprocess;

use super::{
    Conversion, DataFormat, DataSet, DataSpec, Places, Samples, Split, digits, idx, resize,
};
use crate::fingerprint::Fingerprint;
use crate::random::{self, Stream};
use crate::{Error, ErrorKind, Result};

/// Largest side of `resize`.
const MOST_SIDE: usize = 4096;

pub(super) fn load(spec: &DataSpec, places: &Places, seed: u64) -> Result<DataSet> {
    let [train, test] = match spec.format {
        DataFormat::Digits => built_in(spec)?,
        DataFormat::Idx => files(spec, places)?,
    };
    let [train, test] = match spec.resize {
        None => [train, test],
        Some(size) => [resized(train, size)?, resized(test, size)?],
    };
    let class_names = class_names(spec, &[&train, &test])?;
    let preprocess = Preprocess::Image(spec.image_preprocess());
    let [a, b] = [&train, &test].map(|split| Conversion::new(&split.samples, &preprocess));
    if a?.shape() != b?.shape() {
        let [a, b] = [&train, &test].map(|split| split.samples.describe());
        let what = format!("the training samples are {a}, the test samples {b}: they must agree");
        return Err(wrong("data", what));
    }
    let (train, validation) = hold_out(train, spec, seed)?;
    let fingerprint = fingerprint([Some(&train), validation.as_ref(), Some(&test)]);
    Ok(DataSet {
        train,
        validation,
        test,
        classes: class_names.len(),
        class_names,
        preprocess,
        augment: spec.augment.clone(),
        fingerprint,
    })
}

fn built_in(spec: &DataSpec) -> Result<[Split; 2]> {
    if spec.root.is_some() || !spec.train.is_empty() || !spec.test.is_empty() {
        let what = "format \"digits\" is built in and takes no root, train or test; for files write format = \"idx\"";
        return Err(wrong("data.format", what));
    }
    digits::load()
}

fn files(spec: &DataSpec, places: &Places) -> Result<[Split; 2]> {
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
        idx::split(images, labels).map(Some)
    };
    match (read("data.train", &spec.train)?, read("data.test", &spec.test)?) {
        (Some(train), Some(test)) => Ok([train, test]),
        (Some(train), None) => {
            let test = train.none();
            Ok([train, test])
        }
        (None, Some(test)) => Ok([test.none(), test]),
        (None, None) => Err(wrong(
            "data",
            "names no files: give train = [images, labels] or test = [images, labels]",
        )),
    }
}

fn resized(split: Split, size: [usize; 2]) -> Result<Split> {
    let [h, w] = size;
    if !(1..=MOST_SIDE).contains(&h) || !(1..=MOST_SIDE).contains(&w) {
        return Err(wrong(
            "data.resize",
            format!("[{h}, {w}]: both sides must be from 1 to {MOST_SIDE}"),
        ));
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

/// Names of all classes: those given, or one for each number up to the largest label.
fn class_names(spec: &DataSpec, splits: &[&Split]) -> Result<Vec<String>> {
    let labels = splits.iter().filter_map(|s| s.labels.as_ref()).flatten();
    let highest = labels.max().copied();
    match (spec.labels.len(), highest) {
        (0, None) => Err(wrong(
            "data.labels",
            "the files have no labels: name the classes with labels = [\"…\", …]",
        )),
        (0, Some(highest)) => Ok((0..=highest).map(|class| class.to_string()).collect()),
        (names, Some(highest)) if highest as usize >= names => {
            let what = format!(
                "{names} names, but the files have class {highest}: name {} classes",
                highest + 1
            );
            Err(wrong("data.labels", what))
        }
        _ => Ok(spec.labels.clone()),
    }
}

/// Sets `validation` random samples apart and keeps at most `limit` of the rest, each in file order.
fn hold_out(train: Split, spec: &DataSpec, seed: u64) -> Result<(Split, Option<Split>)> {
    let held = spec.validation;
    if held > 0 && held >= train.len() {
        let what = format!("{held} samples held out of {}: leave some to train on", train.len());
        return Err(wrong("data.validation", what));
    }
    if spec.limit == Some(0) {
        return Err(wrong(
            "data.limit",
            "0 leaves nothing to train on: leave the key out for all samples",
        ));
    }
    if held == 0 && spec.limit.is_none_or(|limit| limit >= train.len()) {
        return Ok((train, None));
    }
    let order = random::permutation(train.len(), &mut Stream::new(seed, "validation", &[]));
    let (first, rest) = order.split_at(held);
    let kept = &rest[..rest.len().min(spec.limit.unwrap_or(usize::MAX))];
    let sorted = |indices: &[usize]| {
        let mut indices = indices.to_vec();
        indices.sort_unstable();
        train.select(&indices)
    };
    Ok((sorted(kept), (held > 0).then(|| sorted(first))))
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
