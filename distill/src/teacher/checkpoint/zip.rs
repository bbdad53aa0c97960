//! ZIP archives as `torch.save` and `numpy.savez` write them: entries stored or deflated (PKWARE
//! APPNOTE 6.3, 4.3).
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::DeflateDecoder;

use super::cursor::Cursor;

/// First bytes of an archive that holds something.
pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";

const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";

/// Bytes of the record at the end, without its comment of up to 65,535 bytes.
const END_BYTES: usize = 22;

/// The entries of an archive by name.
pub(crate) struct Archive<'a>(BTreeMap<&'a str, Entry<'a>>);

/// An entry as it lies in the archive's bytes.
#[derive(Clone, Copy)]
enum Entry<'a> {
    Stored(&'a [u8]),
    /// Compressed, and how many bytes it has otherwise.
    Deflated(&'a [u8], u32),
}

impl<'a> Archive<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let from = bytes.len().saturating_sub(END_BYTES.saturating_add(usize::from(u16::MAX)));
        let tail = bytes.get(from..).unwrap_or_default();
        let end = tail
            .windows(END_OF_DIRECTORY.len())
            .rposition(|window| window == END_OF_DIRECTORY)
            .ok_or("has no directory at its end: it is cut short; download or save it again")?;
        let mut end = Cursor::new(tail.get(end..).unwrap_or_default());
        end.take(10)?;
        let count = end.u16()?;
        end.u32()?;
        let mut directory = from_offset(bytes, end.u32()?)?;
        let comment = end.u16()?.into();
        end.take(comment)?;
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let (name, data) = entry(bytes, &mut directory)?;
            entries.insert(name, data);
        }
        Ok(Self(entries))
    }

    /// The bytes of the entry `name` where it is stored as it is.
    pub(crate) fn stored(&self, name: &str) -> Option<&'a [u8]> {
        match self.0.get(name) {
            Some(Entry::Stored(data)) => Some(data),
            _ => None,
        }
    }

    /// The bytes of the entry `name`, inflated where they are compressed; `None` where there is none.
    pub(crate) fn get(&self, name: &str) -> Option<Result<Cow<'a, [u8]>, String>> {
        let (data, size) = match *self.0.get(name)? {
            Entry::Stored(data) => return Some(Ok(Cow::Borrowed(data))),
            Entry::Deflated(data, size) => (data, u64::from(size)),
        };
        // Not reserved by the directory's word, and no more than it says.
        let mut bytes = Vec::new();
        let read = DeflateDecoder::new(data).take(size.saturating_add(1)).read_to_end(&mut bytes);
        let right = read.is_ok_and(|read| read as u64 == size);
        Some(right.then_some(Cow::Owned(bytes)).ok_or_else(|| {
            format!("entry {name:?} cannot be inflated to {size} bytes: it is damaged")
        }))
    }

    /// Names of the entries, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.0.keys().copied()
    }

    /// The first entry that is compressed.
    pub(super) fn compressed(&self) -> Option<&'a str> {
        let entries = self.0.iter();
        entries.filter(|(_, entry)| matches!(entry, Entry::Deflated(..))).map(|(n, _)| *n).next()
    }
}

/// The next entry of the directory: its name and its data.
fn entry<'a>(bytes: &'a [u8], directory: &mut Cursor<'a>) -> Result<(&'a str, Entry<'a>), String> {
    if directory.take(4)? != DIRECTORY_ENTRY {
        return Err("has a damaged directory: download or save it again".into());
    }
    directory.take(6)?;
    let method = directory.u16()?;
    directory.take(8)?;
    let (stored, size) = (directory.u32()?, directory.u32()?);
    let lengths = [directory.u16()?, directory.u16()?, directory.u16()?].map(usize::from);
    directory.take(8)?;
    let offset = directory.u32()?;
    let [name, extra, comment] = lengths;
    let name = std::str::from_utf8(directory.take(name)?)
        .map_err(|e| format!("has an entry whose name is not UTF-8: {e}"))?;
    directory.take(extra)?;
    directory.take(comment)?;
    if !matches!(method, 0 | 8) || (method == 0 && stored != size) {
        return Err(format!("entry {name:?} is neither stored nor deflated, which is not read"));
    }
    if size == u32::MAX || stored == u32::MAX || offset == u32::MAX {
        return Err(format!("entry {name:?} lies beyond 4 GB, which is not read"));
    }
    let mut local = from_offset(bytes, offset)?;
    if local.take(4)? != MAGIC {
        return Err(format!("entry {name:?} is not where the directory says: it is damaged"));
    }
    local.take(22)?;
    let (own_name, own_extra) = (local.u16()?, local.u16()?);
    local.take(own_name.into())?;
    local.take(own_extra.into())?;
    let data = local.take_long(stored.into()).map_err(|e| format!("entry {name:?} {e}"))?;
    Ok((name, if method == 0 { Entry::Stored(data) } else { Entry::Deflated(data, size) }))
}

fn from_offset(bytes: &[u8], offset: u32) -> Result<Cursor<'_>, String> {
    let mut cursor = Cursor::new(bytes);
    cursor.take_long(offset.into())?;
    Ok(cursor)
}
