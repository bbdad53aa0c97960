//! Samples as arrays: numpy's `.npy` and `.npz`, and safetensors, told apart by content.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use hipflask_runtime::file;
use hipflask_runtime::input::ValuesPreprocess;
use hipflask_runtime::input::npy::{self, Array, Element};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::left_out::LeftOut;
use super::part::Part;
use super::table::moments;
use super::{DataSpec, Places, Samples, Split};
use crate::teacher::Placement;
use crate::teacher::checkpoint::zip::{self, Archive};
use crate::{Error, ErrorKind, Result};

/// The `[data.array]` table of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArraySpec {
    /// Where samples of three dimensions have their channels; `[c, h, w]` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Placement>,
    /// Whether values are standardised by the training samples, each feature or channel by itself,
    /// instead of by `mean` and `std`.
    pub standardise: bool,
}

impl ArraySpec {
    /// Whether it says nothing, so that recipes without arrays need not show it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The training and the test samples of one source.
pub(super) fn read(spec: &DataSpec, places: &Places) -> Result<[Option<Part>; 2]> {
    let read = |key: &str, names: &[PathBuf]| {
        let (samples, labels) = match names {
            [] => return Ok(None),
            [samples] => (samples, None),
            [samples, labels] => (samples, Some(labels)),
            more => {
                let what = format!(
                    "names {} arrays: give that of the samples and then, if there are any, the labels",
                    more.len()
                );
                return Err(wrong(key, what));
            }
        };
        let mut left_out = LeftOut::new(spec.on_error);
        let at = samples.display().to_string();
        let samples = with_array(samples, spec, places, |array| {
            samples_of(array, spec.array.layout == Some(Placement::Nhwc))
        })?;
        let count = samples.len();
        let labels = labels.map(|name| with_array(name, spec, places, |a| labels_of(a, count)));
        let split = Split { samples, labels: labels.transpose()? };
        let split = finite(split, &at, &mut left_out)?;
        Ok(Some(Part { split, classes: None, skipped: left_out.reasons }))
    };
    Ok([read("data.train", &spec.train)?, read("data.test", &spec.test)?])
}

/// What `with` makes of the array `name`, `FILE` or `FILE:KEY`.
fn with_array<T>(
    name: &Path,
    spec: &DataSpec,
    places: &Places,
    with: impl FnOnce(&Array<'_>) -> Result<T, String>,
) -> Result<T> {
    let text = name.to_string_lossy();
    let (path, key) = match text.rsplit_once(':') {
        Some((path, key)) if !path.is_empty() && !key.contains(['/', '\\']) => (path, Some(key)),
        _ => (&*text, None),
    };
    let path = spec.locate(Path::new(path), places)?;
    let bytes = file::open(&path)?;
    let found = found((*bytes).as_ref(), key, with);
    found.map_err(|what| {
        let key = key.map(|key| format!(": array {key:?}")).unwrap_or_default();
        wrong(&format!("{}{key}", path.display()), what)
    })
}

fn found<T>(
    bytes: &[u8],
    key: Option<&str>,
    with: impl FnOnce(&Array<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let told = |e: hipflask_runtime::Error| e.message().to_string();
    if bytes.starts_with(npy::MAGIC) {
        if key.is_some() {
            return Err("a .npy file holds one array without a name: leave the name out".into());
        }
        return with(&Array::npy(bytes).map_err(told)?);
    }
    if bytes.starts_with(zip::MAGIC) {
        let archive = Archive::read(bytes)?;
        let names = archive.names().filter_map(|name| name.strip_suffix(".npy"));
        let key = chosen(key, &names.collect::<Vec<_>>())?;
        let member = archive.get(&format!("{key}.npy")).unwrap_or(Ok(Cow::Borrowed(&[])))?;
        return with(&Array::npy(&member).map_err(told)?);
    }
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| format!("is neither .npy, .npz nor safetensors ({e})"))?;
    let mut names: Vec<&str> = file.names().into_iter().collect();
    names.sort_unstable();
    let tensor = file.tensor(chosen(key, &names)?).map_err(|e| e.to_string())?;
    let element = element(tensor.dtype())
        .ok_or_else(|| format!("has numbers of type {:?}, which is not read", tensor.dtype()))?;
    with(&Array::new(element, tensor.shape().to_vec(), tensor.data()).map_err(told)?)
}

/// The array that is meant: the only one where none is named.
fn chosen<'a>(key: Option<&'a str>, names: &[&'a str]) -> Result<&'a str, String> {
    match (key, names) {
        (Some(key), names) if names.contains(&key) => Ok(key),
        (None, [only]) => Ok(only),
        (_, []) => Err("holds no array".into()),
        (Some(_), names) => Err(format!("is not in the file, which holds {}", names.join(", "))),
        (None, names) => Err(format!(
            "holds {}: write which behind a colon, as \"FILE:{}\"",
            names.join(", "),
            names[0]
        )),
    }
}

fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::BOOL => Element::Bool,
        Dtype::U8 => Element::U8,
        Dtype::I8 => Element::I8,
        Dtype::U16 => Element::U16,
        Dtype::I16 => Element::I16,
        Dtype::U32 => Element::U32,
        Dtype::I32 => Element::I32,
        Dtype::U64 => Element::U64,
        Dtype::I64 => Element::I64,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        _ => return None,
    })
}

/// Bytes of two or three dimensions are images, everything else values.
fn samples_of(array: &Array<'_>, channels_last: bool) -> Result<Samples, String> {
    let [count, sample @ ..] = array.shape() else {
        return Err("is a single number: the first dimension counts the samples".into());
    };
    if array.is_empty() {
        return Err(format!("holds no samples (shape {:?})", array.shape()));
    }
    let shape = match *sample {
        [] => vec![1],
        [h, w] => vec![1, h, w],
        [h, w, c] if channels_last => vec![c, h, w],
        _ => sample.to_vec(),
    };
    let size: usize = shape.iter().product();
    let (channels, plane) = (shape[0], size / shape[0].max(1));
    let permuted = channels_last && sample.len() == 3;
    let place = |i: usize| if permuted { i % plane * channels + i / plane } else { i };
    let numbers = (0..*count).flat_map(|n| (0..size).map(move |i| n * size + place(i)));
    Ok(match (array.element(), shape.as_slice()) {
        (Element::U8, &[c, h, w]) => {
            let pixels = numbers.map(|i| array.at(i) as u8).collect();
            Samples::Images { shape: [c, h, w], pixels }
        }
        _ => Samples::Values { values: numbers.map(|i| array.at(i) as f32).collect(), shape },
    })
}

fn labels_of(array: &Array<'_>, samples: usize) -> Result<Vec<u32>, String> {
    let shape = array.shape();
    if array.len() != samples || shape.first() != Some(&samples) {
        return Err(format!("has shape {shape:?}, {samples} samples need [{samples}] labels"));
    }
    let label = |i: usize| {
        let number = array.at(i);
        let whole = number.fract() == 0.0 && (0.0..65536.0).contains(&number);
        whole
            .then_some(number as u32)
            .ok_or_else(|| format!("label {i} is {number}: classes are whole numbers from 0 on"))
    };
    (0..samples).map(label).collect()
}

/// The samples all of whose numbers are finite.
fn finite(split: Split, at: &str, left_out: &mut LeftOut) -> Result<Split> {
    let Samples::Values { shape, values } = &split.samples else { return Ok(split) };
    let samples = values.chunks_exact(shape.iter().product::<usize>().max(1)).enumerate();
    let mut kept = Vec::with_capacity(split.len());
    for (index, sample) in samples {
        match sample.iter().find(|x| !x.is_finite()) {
            None => kept.push(index),
            Some(x) => left_out.refuse(wrong(
                at,
                format!("sample {index} holds {x}: correct it, or leave such samples out with on_error = \"skip\""),
            ))?,
        }
    }
    match kept.len() {
        0 => Err(wrong(at, "no sample is left")),
        all if all == split.len() => Ok(split),
        _ => Ok(split.select(&kept)),
    }
}

/// How values become the network's input: standardised by `values`, the training samples, where the
/// recipe asks for that.
pub(super) fn preprocess(
    shape: &[usize],
    values: &[f32],
    spec: &DataSpec,
) -> Result<ValuesPreprocess> {
    let channels_last = spec.array.layout == Some(Placement::Nhwc) && shape.len() == 3;
    let (mean, std) = if spec.array.standardise {
        let channels = shape.first().copied().unwrap_or(1).max(1);
        let plane = (shape.iter().product::<usize>() / channels).max(1);
        let of = |channel: usize| {
            let planes = move || values.chunks_exact(plane).skip(channel).step_by(channels);
            moments(move || planes().flatten().map(|&x| f64::from(x)))
        };
        let pairs: Option<Vec<(f32, f32)>> = (0..channels).map(of).collect();
        pairs
            .ok_or_else(|| wrong("data", "there are no samples to standardise by"))?
            .into_iter()
            .unzip()
    } else {
        (spec.mean.clone(), spec.std.clone())
    };
    Ok(ValuesPreprocess { mean, std, channels_last })
}

fn wrong(at: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, at, message)
}
