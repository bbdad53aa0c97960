//! Folders and archives of WAV files, whose classes are in the folders' or the files' names.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::path::Path;

use hipflask_runtime::input::audio::Wav;
use rayon::prelude::*;

use super::{AudioSpec, Clip, LabelFrom, Waves};
use crate::data::files::{self, DataFile};
use crate::data::part::Part;
use crate::data::{DataSpec, OnError, Samples, Split};
use crate::{Error, ErrorKind, Result};

/// Extensions of sounds that are not read.
const OTHERS: [&str; 8] = ["aac", "aif", "aiff", "flac", "m4a", "mp3", "ogg", "opus"];

/// The sounds below `root`, a folder or an archive, and within it below `inner`, in the order of
/// their names; files that are no sounds are passed over.
pub(in super::super) fn read(root: &Path, inner: &str, spec: &DataSpec) -> Result<Part> {
    let audio = spec.audio.clone().unwrap_or_default();
    audio.front_end()?;
    let place = match inner {
        "" => root.display().to_string(),
        inner => root.join(inner).display().to_string(),
    };
    let mut sounds = Vec::new();
    let mut skipped = Vec::new();
    let mut found = files::list(root, inner)?;
    found.retain(|file| is(file, &["wav"]) || is(file, &OTHERS));
    if found.is_empty() {
        return Err(wrong(&place, "holds no .wav"));
    }
    let read: Vec<Result<Clip>> = found.par_iter().map(|file| open(file, &audio)).collect();
    for (file, clip) in found.iter().zip(read) {
        match (clip, spec.on_error) {
            (Ok(clip), _) => sounds.push((file, clip)),
            (Err(error), OnError::Skip) => skipped.push(error.to_string()),
            (Err(error), OnError::Refuse) => return Err(error),
        }
    }
    if sounds.is_empty() {
        let first = skipped.first().map(String::as_str).unwrap_or_default();
        return Err(wrong(&place, &format!("holds no sound that can be read ({first})")));
    }
    let (labels, classes) = match labels(&sounds, &audio)? {
        Some((labels, classes)) => (Some(labels), Some(classes)),
        None => (None, None),
    };
    let clips = sounds.into_iter().map(|(_, clip)| clip).collect();
    let samples = Samples::Waves(Waves { rate: audio.rate, clips });
    Ok(Part { split: Split { samples, labels }, classes, skipped })
}

fn is(file: &DataFile, extensions: &[&str]) -> bool {
    let extension = file.name.rsplit_once('.').map_or("", |(_, extension)| extension);
    extensions.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// The samples of `file`, which must have the recipe's rate.
fn open(file: &DataFile, audio: &AudioSpec) -> Result<Clip> {
    let leave = "leave such files out with on_error = \"skip\"";
    if is(file, &OTHERS) {
        let what = format!("is no WAV: convert it, as with `ffmpeg -i IN OUT.wav`, or {leave}");
        return Err(wrong(&file.path, &what));
    }
    let bytes = file.read()?;
    let wav = Wav::parse(&bytes)
        .map_err(|error| wrong(&file.path, &format!("{}; or {leave}", error.message())))?;
    let rate = audio.rate;
    if wav.rate != rate {
        let what = format!(
            "has {found} samples a second, data.audio.rate is {rate}: give rate = {found}, or convert the \
             file, as with `ffmpeg -i IN.wav -ar {rate} OUT.wav`",
            found = wav.rate
        );
        return Err(wrong(&file.path, &what));
    }
    if wav.is_empty() {
        return Err(wrong(&file.path, &format!("has no sound in it: {leave}")));
    }
    Ok(Clip::new(wav.samples().collect()))
}

type Labels = (Vec<u32>, Vec<String>);

/// The class of each sound and the names of all; `None` where no sound stands in a folder that could
/// name one.
fn labels(sounds: &[(&DataFile, Clip)], audio: &AudioSpec) -> Result<Option<Labels>> {
    let named = sounds.iter().map(|(file, _)| class(file, audio));
    let named: Vec<Option<&str>> = match audio.label_from {
        LabelFrom::Folder if named.clone().all(|class| class.is_none()) => return Ok(None),
        _ => named.collect(),
    };
    let mut names: Vec<&str> = named.iter().copied().flatten().collect();
    names.sort_unstable();
    names.dedup();
    let labels = named.iter().zip(sounds).map(|(class, (file, _))| {
        let place = class.and_then(|class| names.binary_search(&class).ok());
        place.map(|place| place as u32).ok_or_else(|| match audio.label_from {
            LabelFrom::Folder => {
                let what =
                    "stands beside the folders of the classes: move it into one, or remove it";
                wrong(&file.path, what)
            }
            LabelFrom::Name => {
                let what = format!(
                    "has no {:?} in its name, before which its class would stand: see \
                     data.audio.separator and label_from",
                    audio.separator
                );
                wrong(&file.path, &what)
            }
        })
    });
    let labels = labels.collect::<Result<_>>()?;
    Ok(Some((labels, names.into_iter().map(ToString::to_string).collect())))
}

fn class<'a>(file: &'a DataFile, audio: &AudioSpec) -> Option<&'a str> {
    match audio.label_from {
        LabelFrom::Folder => Some(file.name.split_once('/')?.0),
        LabelFrom::Name => {
            let name = file.name.rsplit_once('/').map_or(file.name.as_str(), |(_, name)| name);
            Some(name.split_once(audio.separator.as_str())?.0)
        }
    }
}

fn wrong(at: &str, message: &str) -> Error {
    Error::new(ErrorKind::Data, at, message)
}
