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
use super::{DataSpec, OnError, Samples, Split, files, load, resize};
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
    let decoded: Vec<Result<Picture>> = found.par_iter().map(|file| open(file, spec)).collect();
    let mut pictures = Vec::with_capacity(decoded.len());
    for (file, picture) in found.iter().zip(decoded) {
        match (picture, spec.on_error) {
            (Ok(picture), _) => pictures.push((file, picture)),
            (Err(error), OnError::Skip) => skipped.push(error.to_string()),
            (Err(error), OnError::Refuse) => return Err(error),
        }
    }
    let (labels, classes) = classes(&found, &pictures)?.unzip();
    let samples = together(pictures, &place)?;
    Ok(Part { split: Split { samples, labels }, classes, skipped })
}

fn open(file: &DataFile, spec: &DataSpec) -> Result<Picture> {
    let Picture { shape: [c, h, w], pixels } = picture::decode(&file.read()?).map_err(|what| {
        let message =
            format!("{what}: replace it, or leave such files out with on_error = \"skip\"");
        Error::new(ErrorKind::Data, &file.path, message)
    })?;
    Ok(match spec.resize {
        Some(size @ [to_h, to_w]) if size != [h, w] => {
            let pixels = resize::resize(&pixels, [c, h, w], size);
            Picture { shape: [c, to_h, to_w], pixels }
        }
        _ => Picture { shape: [c, h, w], pixels },
    })
}

/// The class of each of `pictures`, and the names of all classes of `found`; `None` where no picture
/// stands in a folder.
fn classes(
    found: &[DataFile],
    pictures: &[(&DataFile, Picture)],
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
    let labels = labels.collect::<Result<_>>()?;
    Ok(Some((labels, names)))
}

/// The pictures as samples of one size; with colours where one has them.
fn together(pictures: Vec<(&DataFile, Picture)>, place: &str) -> Result<Samples> {
    let Some((first, Picture { shape: [_, h, w], .. })) = pictures.first() else {
        let message = "holds no picture that can be read";
        return Err(Error::new(ErrorKind::Data, place, message));
    };
    let (first, h, w) = (*first, *h, *w);
    let c = pictures.iter().map(|(_, picture)| picture.shape[0]).max().unwrap_or(1);
    let mut pixels = Vec::new();
    for (file, picture) in pictures {
        let [own, own_h, own_w] = picture.shape;
        if [own_h, own_w] != [h, w] {
            let message = format!(
                "is {own_w}×{own_h}, {} is {w}×{h}: scale all to one size with data.resize = [h, w]",
                first.path
            );
            return Err(Error::new(ErrorKind::Data, &file.path, message));
        }
        let planes = picture.pixels;
        pixels.extend((own..c).flat_map(|_| planes.iter().copied()).chain(planes.iter().copied()));
    }
    Ok(Samples::Images { shape: [c, h, w], pixels })
}
