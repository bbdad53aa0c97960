//! The files of a data set that stand in a folder, a tar or a tar.gz archive, read in place.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::{Error, ErrorKind, Result};

/// Most bytes of one file.
const MOST_BYTES: u64 = 256 << 20;

/// Most bytes to which a tar.gz may expand: its files are held in memory.
const MOST_EXPANDED: u64 = 2 << 30;

/// Deepest folder: links may lead in circles.
const MOST_DEPTH: usize = 32;

/// One file.
pub(super) struct DataFile {
    /// Path from the root, with `/`.
    pub(super) name: String,
    /// The whole path, for messages.
    pub(super) path: String,
    bytes: Bytes,
}

/// Where a file's bytes are.
enum Bytes {
    /// In a file of their own.
    Alone(PathBuf),
    /// In a tar archive.
    Part { archive: PathBuf, start: u64, len: u64 },
    /// Here.
    Held(Vec<u8>),
}

impl DataFile {
    /// The file's size; 0 where it cannot be told.
    pub(super) fn len(&self) -> u64 {
        match &self.bytes {
            Bytes::Alone(path) => std::fs::metadata(path).map_or(0, |found| found.len()),
            Bytes::Part { len, .. } => *len,
            Bytes::Held(bytes) => bytes.len() as u64,
        }
    }

    /// The file's bytes; an error where they cannot be read, or are too many.
    pub(super) fn read(&self) -> Result<Cow<'_, [u8]>> {
        let read = match &self.bytes {
            Bytes::Held(bytes) => return Ok(Cow::Borrowed(bytes)),
            Bytes::Alone(path) => File::open(path).and_then(|file| bounded(file, u64::MAX)),
            Bytes::Part { archive, start, len } => File::open(archive).and_then(|mut file| {
                file.seek(SeekFrom::Start(*start))?;
                bounded(file, *len)
            }),
        };
        read.map(Cow::Owned).map_err(|e| unreadable(&self.path, &e))
    }
}

/// Up to `len` bytes of `reader`, which may be no more than [`MOST_BYTES`].
fn bounded(reader: impl Read, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(len.min(MOST_BYTES.saturating_add(1))).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it has more than {} MiB", MOST_BYTES >> 20)));
    }
    Ok(bytes)
}

/// The files below `root`, a folder or an archive, and within it below `inner` (all with `""`),
/// in the order of their names; those whose name, or a folder's, begins with a dot are left out.
pub(super) fn list(root: &Path, inner: &str) -> Result<Vec<DataFile>> {
    let mut found = BTreeMap::new();
    if root.is_dir() {
        walk(root, "", 0, &mut found)?;
    } else {
        unpack(root, &mut found)?;
    }
    let shown = root.display();
    let below = |name: &str| match inner {
        "" => Some(name.to_string()),
        _ => name.strip_prefix(inner)?.strip_prefix('/').map(ToString::to_string),
    };
    let files = found.into_iter().filter_map(|(whole, bytes)| {
        let name = below(&whole).filter(|name| !hidden(name))?;
        Some(DataFile { name, path: format!("{shown}/{whole}"), bytes })
    });
    Ok(files.collect())
}

pub(super) fn hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX")
}

fn walk(
    folder: &Path,
    name: &str,
    depth: usize,
    found: &mut BTreeMap<String, Bytes>,
) -> Result<()> {
    let shown = folder.display().to_string();
    if depth > MOST_DEPTH {
        let message =
            format!("stands more than {MOST_DEPTH} folders deep: is it a link to itself?");
        return Err(Error::new(ErrorKind::Data, shown, message));
    }
    let entries = std::fs::read_dir(folder).map_err(|e| unreadable(&shown, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| unreadable(&shown, &e))?;
        let (path, own) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let name = if name.is_empty() { own } else { format!("{name}/{own}") };
        if hidden(&name) {
            continue;
        }
        if path.is_dir() {
            walk(&path, &name, depth.saturating_add(1), found)?;
        } else {
            found.insert(name, Bytes::Alone(path));
        }
    }
    Ok(())
}

/// Of files of the same name the last counts, as when the archive is unpacked.
fn unpack(path: &Path, found: &mut BTreeMap<String, Bytes>) -> Result<()> {
    let shown = path.display().to_string();
    let wrong = |error: &io::Error| {
        // The reader's text goes on with bytes of the file.
        let error = error.to_string();
        let message = format!(
            "cannot be read as a tar archive: {}; give a folder, a .tar or a .tar.gz, and if it \
             is one, download it again",
            error.split(':').next().unwrap_or_default()
        );
        Error::new(ErrorKind::Data, &shown, message)
    };
    let file = File::open(path).map_err(|e| unreadable(&shown, &e))?;
    let mut reader = BufReader::new(file);
    let zipped = reader.fill_buf().map_err(|e| unreadable(&shown, &e))?.starts_with(&GZIP);
    if zipped {
        let expanded = Bounded { reader: MultiGzDecoder::new(reader), left: MOST_EXPANDED };
        let held = |entry: &mut tar::Entry<'_, _>| bounded(entry, u64::MAX).map(Bytes::Held);
        entries(tar::Archive::new(expanded), held, found)
    } else {
        let size = std::fs::metadata(path).map_err(|e| unreadable(&shown, &e))?.len();
        let part = |entry: &mut tar::Entry<'_, _>| {
            let (start, len) = (entry.raw_file_position(), entry.size());
            match start.checked_add(len) {
                Some(end) if end <= size => Ok(Bytes::Part { archive: path.into(), start, len }),
                _ => Err(io::Error::other("it is cut short")),
            }
        };
        entries(tar::Archive::new(reader), part, found)
    }
    .map_err(|e| wrong(&e))
}

/// How files compressed by gzip begin.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What a file holds, uncompressed where it begins as gzip does.
pub(super) fn uncompressed<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let zipped = reader.fill_buf()?.starts_with(&GZIP);
    Ok(if zipped { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

fn entries<R: Read>(
    mut archive: tar::Archive<R>,
    bytes: impl Fn(&mut tar::Entry<'_, R>) -> io::Result<Bytes>,
    found: &mut BTreeMap<String, Bytes>,
) -> io::Result<()> {
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./").to_string();
        if entry.header().entry_type().is_file() && !hidden(&name) {
            found.insert(name, bytes(&mut entry)?);
        }
    }
    Ok(())
}

/// Fails when more is read than was allowed.
struct Bounded<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!(
                "it expands to more than {} GiB, so unpack it and name the folder",
                MOST_EXPANDED >> 30
            ))
        })?;
        Ok(read)
    }
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, name, format!("cannot be read: {error}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn an_archive_may_expand_so_far_and_no_farther() {
        let read = |left| {
            let mut bytes = Vec::new();
            let mut reader = Bounded { reader: io::repeat(7).take(100), left };
            reader.read_to_end(&mut bytes).map(|_| bytes.len())
        };
        assert_eq!(read(100).unwrap(), 100);
        let error = read(99).unwrap_err().to_string();
        assert!(error.contains("more than 2 GiB, so unpack it"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_in_circles_are_named() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", folder.path().join("again")).unwrap();
        let error = list(folder.path(), "").err().unwrap().to_string();
        assert!(error.contains("again/again: stands more than 32 folders deep"), "{error}");
    }
}
