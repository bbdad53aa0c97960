//! CIFAR's binary files (Krizhevsky 2009): records of one or two label bytes and a 32×32 picture as
//! planes of red, green and blue. Plain or gzip.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{Samples, Split, files};
use crate::{Error, ErrorKind, Result};

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// Most bytes of one file: twelve times those of all of CIFAR.
const MOST_BYTES: u64 = 1 << 31;

/// Which label bytes stand before a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labels {
    /// CIFAR-10's one.
    Ten,
    /// CIFAR-100's second, of 100 classes.
    Fine,
    /// CIFAR-100's first, of 20 classes.
    Coarse,
}

/// Reads the file at `path`.
pub(super) fn open(path: &Path, labels: Labels) -> Result<Split> {
    let name = path.display().to_string();
    let file = File::open(path)
        .map_err(|e| Error::new(ErrorKind::Io, &name, format!("cannot be opened: {e}")))?;
    read(BufReader::new(file), labels, &name)
}

/// Reads records from `reader`; `name` is for messages.
pub(super) fn read(reader: impl BufRead, labels: Labels, name: &str) -> Result<Split> {
    let wrong = |message: String| Error::new(ErrorKind::Data, name, message);
    let mut bytes = Vec::new();
    files::uncompressed(reader)
        .and_then(|reader| reader.take(MOST_BYTES).read_to_end(&mut bytes))
        .map_err(|e| {
            let message = format!("cannot be read: {e}; if it is damaged, download it again");
            Error::new(ErrorKind::Io, name, message)
        })?;
    let (before, at, classes) = match labels {
        Labels::Ten => (1, 0, 10),
        Labels::Fine => (2, 1, 100),
        Labels::Coarse => (2, 0, 20),
    };
    let record = PIXELS.saturating_add(before);
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(wrong(format!(
            "has {} bytes, which are no whole records of {record} ({before} for the class, {PIXELS} for \
             32×32 pixels of 3 channels): it is cut short or of another format",
            bytes.len()
        )));
    }
    let (mut pixels, mut numbers) = (Vec::with_capacity(bytes.len()), Vec::new());
    for (index, record) in bytes.chunks_exact(record).enumerate() {
        let (head, picture) = record.split_at(before);
        let class = head.get(at).copied().map_or(u32::MAX, u32::from);
        if class >= classes {
            return Err(wrong(format!(
                "record {index} is of class {class}, there are {classes}: the file is damaged or of \
                 another format"
            )));
        }
        pixels.extend_from_slice(picture);
        numbers.push(class);
    }
    Ok(Split { samples: Samples::Images { shape: SHAPE, pixels }, labels: Some(numbers) })
}
