//! IDX files (LeCun's MNIST page): big-endian header `00 00 type dimensions`, sizes as u32, then the
//! elements. Plain or gzip, told apart by content.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::{Samples, Split};
use crate::{Error, ErrorKind, Result};

/// Most elements of one file: far above any set of small images, far below a laptop's memory.
const MOST_ELEMENTS: usize = 1 << 31;

/// The contents of one file.
pub(super) struct Idx {
    /// The file's name, for messages about it.
    name: String,
    /// Sizes of the dimensions, outermost first; 1 to 4 of them.
    dims: Vec<usize>,
    /// The elements.
    data: Vec<u8>,
}

/// Reads the file at `path`.
pub(super) fn open(path: &Path) -> Result<Idx> {
    let name = path.display().to_string();
    let file = File::open(path)
        .map_err(|e| Error::new(ErrorKind::Io, &name, format!("cannot be opened: {e}")))?;
    read(BufReader::new(file), &name)
}

/// Reads a file from `reader`; `name` is for messages.
pub(super) fn read(mut reader: impl BufRead, name: &str) -> Result<Idx> {
    let start = reader.fill_buf().map_err(|e| unreadable(name, &e))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        read_plain(MultiGzDecoder::new(reader), name)
    } else {
        read_plain(reader, name)
    }
}

fn read_plain(mut reader: impl Read, name: &str) -> Result<Idx> {
    let dims = read_header(&mut reader, name)?;
    let promised = dims
        .iter()
        .try_fold(1_usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= MOST_ELEMENTS)
        .ok_or_else(|| {
            let what = format!(
                "the header asks for {} elements, the most is {MOST_ELEMENTS}: the file is damaged",
                times(&dims)
            );
            wrong(name, what)
        })?;
    // Not reserved by the header's word: the buffer grows with what is really there. One byte more
    // than promised tells a longer file.
    let mut data = Vec::new();
    let most = (promised as u64).saturating_add(1);
    reader.take(most).read_to_end(&mut data).map_err(|e| unreadable(name, &e))?;
    let promise = || {
        let [count, size @ ..] = dims.as_slice() else { return String::new() };
        match size {
            [] => format!("the header promises {count} labels"),
            size => {
                format!("the header promises {count} images of {} ({promised} bytes)", times(size))
            }
        }
    };
    match data.len() {
        held if held < promised => {
            let what =
                format!("{}, the file holds {held}: it is cut short; download it again", promise());
            Err(wrong(name, what))
        }
        held if held > promised => Err(wrong(
            name,
            format!("{}, the file holds more: it is damaged; download it again", promise()),
        )),
        _ => Ok(Idx { name: name.into(), dims, data }),
    }
}

fn read_header(reader: &mut impl Read, name: &str) -> Result<Vec<usize>> {
    let mut word = || -> Result<[u8; 4]> {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                wrong(name, "ends within its header: it is cut short; download it again")
            }
            _ => unreadable(name, &e),
        })?;
        Ok(bytes)
    };
    let [zero0, zero1, kind, dimensions] = word()?;
    if (zero0, zero1) != (0, 0) || !(0x08..=0x0e).contains(&kind) {
        let what = format!(
            "begins with {zero0:02x} {zero1:02x} {kind:02x} {dimensions:02x}: no IDX file (00 00 08 and the number of dimensions)"
        );
        return Err(wrong(name, what));
    }
    if kind != 0x08 {
        return Err(wrong(
            name,
            format!("holds elements of type 0x{kind:02x}; only bytes (0x08) are read"),
        ));
    }
    if !(1..=4).contains(&dimensions) {
        return Err(wrong(
            name,
            format!("has {dimensions} dimensions; labels have 1, images 2 to 4"),
        ));
    }
    (0..dimensions)
        .map(|_| {
            let size = u32::from_be_bytes(word()?);
            usize::try_from(size).map_err(|_| wrong(name, format!("has a dimension of {size}")))
        })
        .collect()
}

/// Samples of an image file and its label file, checked against one another.
pub(super) fn split(images: Idx, labels: Option<Idx>) -> Result<Split> {
    let (count, shape) = match *images.dims.as_slice() {
        [n, w] => (n, [1, 1, w]),
        [n, h, w] => (n, [1, h, w]),
        [n, c, h, w] => (n, [c, h, w]),
        _ => {
            return Err(wrong(
                &images.name,
                "holds labels where images are needed: give the images first, then the labels",
            ));
        }
    };
    if images.data.is_empty() {
        return Err(wrong(&images.name, format!("holds no images ({})", times(&images.dims))));
    }
    let labels = labels.map(|labels| match *labels.dims.as_slice() {
        [n] if n == count => Ok(labels.data.into_iter().map(u32::from).collect()),
        [n] => Err(wrong(
            &labels.name,
            format!(
                "has {n} labels, {} has {count} images: they do not belong together",
                images.name
            ),
        )),
        _ => Err(wrong(
            &labels.name,
            "holds images where labels are needed: give the images first, then the labels",
        )),
    });
    let samples = Samples::Images { shape, pixels: images.data };
    Ok(Split { samples, labels: labels.transpose()? })
}

fn times(dims: &[usize]) -> String {
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Io,
        name,
        format!("cannot be read: {error}; if it is damaged, download it again"),
    )
}

fn wrong(name: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, name, message)
}
