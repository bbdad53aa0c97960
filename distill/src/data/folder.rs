//! Folders of pictures: `CLASS/….jpg` or `.png`, the class's name being its folder's, or pictures
//! without classes where none stands in a folder.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::path::Path;

use rayon::prelude::*;

use super::files::DataFile;
use super::part::Part;
use super::picture::{self, Picture};
use super::{DataSpec, OnError, Pictures, Samples, Split, files, load};
use crate::{Error, ErrorKind, Result};

/// The pictures below `root`, a folder or an archive, and within it below `inner`; decoded on all
/// threads, in the order of their names.
pub(super) fn read(root: &Path, inner: &str, spec: &DataSpec) -> Result<Part> {
    spec.resize.map_or(Ok(()), load::check_size)?;
    let place = match inner {
        "" => root.display().to_string(),
        _ => root.join(inner).display().to_string(),
    };
    let mut found = files::list(root, inner)?;
    let other = found.iter().find(|file| picture::is_other_picture(&file.name));
    if let (Some(file), OnError::Refuse) = (other, spec.on_error) {
        let message = "is no kind of picture that is read: convert it to JPEG or PNG, or leave such files \
                       out with on_error = \"skip\"";
        return Err(Error::new(ErrorKind::Data, &file.path, message));
    }
    let others = found.iter().filter(|file| picture::is_other_picture(&file.name));
    let mut skipped: Vec<String> =
        others.map(|file| format!("{}: is neither JPEG nor PNG", file.path)).collect();
    found.retain(|file| picture::is_picture(&file.name));
    if found.is_empty() {
        let message = "holds no .jpg, .jpeg or .png: pictures stand in one folder a class";
        return Err(Error::new(ErrorKind::Data, place, message));
    }
    check_folders(&root.join(inner), &found)?;
    let whole = hold_pixels(&found, spec);
    if !whole {
        check_memory(&found, &place)?;
    }
    let read: Vec<Result<Kept>> = found.par_iter().map(|file| open(file, spec, whole)).collect();
    let mut pictures = Vec::with_capacity(read.len());
    for (file, picture) in found.iter().zip(read) {
        match (picture, spec.on_error) {
            (Ok(picture), _) => pictures.push((file, picture)),
            (Err(error), OnError::Skip) => skipped.push(error.to_string()),
            (Err(error), OnError::Refuse) => return Err(error),
        }
    }
    let (labels, classes) = classes(&found, &pictures, &place)?.unzip();
    let samples = together(pictures, &place, whole)?;
    Ok(Part { split: Split { samples, labels }, classes, skipped })
}

/// Fails with the first folder in `place`, where that is one, that holds no picture.
fn check_folders(place: &Path, found: &[DataFile]) -> Result<()> {
    // An archive, or a folder that was read a moment ago.
    let Ok(entries) = std::fs::read_dir(place) else { return Ok(()) };
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let has_pictures = |name: &String| {
        found.iter().any(|file| file.name.split_once('/').is_some_and(|(class, _)| class == name))
    };
    match names.iter().find(|name| !files::hidden(name) && !has_pictures(name)) {
        Some(empty) => {
            let message = "is a folder without pictures among those of the classes: remove it, or put its \
                           pictures back";
            Err(Error::new(ErrorKind::Data, place.join(empty).display().to_string(), message))
        }
        None => Ok(()),
    }
}

/// A picture that was found to be whole.
struct Kept {
    /// `[c, h, w]` as it is used.
    shape: [usize; 3],
    /// Its pixels, or its file.
    bytes: Vec<u8>,
}

/// Whether the pixels of all pictures fit in the memory that they may take; by the size of the first
/// that can be read.
fn hold_pixels(found: &[DataFile], spec: &DataSpec) -> bool {
    let first = found.iter().find_map(|file| picture::read(&file.read().ok()?, spec.resize).ok());
    let Some(Picture { pixels, .. }) = first else { return true };
    let most = spec.memory_mib.saturating_mul(1 << 20);
    pixels.len().saturating_mul(found.len()) <= most
}

/// Fails where even the files are more than the free memory holds.
fn check_memory(found: &[DataFile], place: &str) -> Result<()> {
    let needed = found.iter().map(DataFile::len).fold(0, u64::saturating_add);
    match free_memory() {
        Some(free) if needed > free => {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let message = format!(
                "its {} pictures take {:.1} GiB of memory as files, {:.1} GiB are free: make them smaller \
                 on disk, to the size that the network takes, or leave some out",
                found.len(),
                gib(needed),
                gib(free)
            );
            Err(Error::new(ErrorKind::Data, place, message))
        }
        _ => Ok(()),
    }
}

/// In bytes; `None` where the system does not say.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Decodes `file`; of the result its pixels are kept where `whole`, else its bytes.
fn open(file: &DataFile, spec: &DataSpec, whole: bool) -> Result<Kept> {
    let bytes = file.read()?;
    let Picture { shape, pixels } = picture::read(&bytes, spec.resize).map_err(|what| {
        let message =
            format!("{what}: replace it, or leave such files out with on_error = \"skip\"");
        Error::new(ErrorKind::Data, &file.path, message)
    })?;
    let bytes = if whole { pixels } else { bytes.into_owned() };
    Ok(Kept { shape, bytes })
}

/// The class of each of `pictures`, and the names of all classes of `found`; `None` where no picture
/// stands in a folder.
fn classes(
    found: &[DataFile],
    pictures: &[(&DataFile, Kept)],
    place: &str,
) -> Result<Option<(Vec<u32>, Vec<String>)>> {
    let class = |file: &DataFile| file.name.split_once('/').map(|(class, _)| class.to_string());
    let mut names: Vec<String> = found.iter().filter_map(class).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(None);
    }
    let labels = pictures.iter().map(|(file, _)| {
        let place = class(file).and_then(|class| names.binary_search(&class).ok());
        place.map(|place| place as u32).ok_or_else(|| {
            let message =
                "stands beside the folders of the classes: move it into one, or remove it";
            Error::new(ErrorKind::Data, &file.path, message)
        })
    });
    let labels: Vec<u32> = labels.collect::<Result<_>>()?;
    let empty = names.iter().zip(0..).find(|(_, class)| !labels.contains(class));
    if let Some((class, _)) = empty {
        let message = format!("none of the pictures of class {class:?} can be read");
        return Err(Error::new(ErrorKind::Data, place, message));
    }
    Ok(Some((labels, names)))
}

/// The pictures as samples of one size; with colours where one has them.
fn together(pictures: Vec<(&DataFile, Kept)>, place: &str, whole: bool) -> Result<Samples> {
    let Some((first, Kept { shape: [_, h, w], .. })) = pictures.first() else {
        let message = "holds no picture that can be read";
        return Err(Error::new(ErrorKind::Data, place, message));
    };
    let (h, w) = (*h, *w);
    let other = pictures.iter().find(|(_, picture)| picture.shape[1..] != [h, w]);
    if let Some((file, Kept { shape: [_, own_h, own_w], .. })) = other {
        let message = format!(
            "is {own_w}×{own_h}, {} is {w}×{h}: scale all to one size with data.resize = [h, w]",
            first.path
        );
        return Err(Error::new(ErrorKind::Data, &file.path, message));
    }
    let shape = [pictures.iter().map(|(_, picture)| picture.shape[0]).max().unwrap_or(1), h, w];
    if whole {
        let pixels = pictures.into_iter().filter_map(|(_, picture)| {
            picture::with_channels(&picture.bytes, picture.shape, shape[0])
        });
        let pixels = pixels.collect::<Vec<_>>().concat();
        return Ok(Samples::Images { shape, pixels });
    }
    Ok(Samples::Pictures(Pictures::new(
        shape,
        pictures.into_iter().map(|(_, picture)| picture.bytes).collect(),
    )))
}
