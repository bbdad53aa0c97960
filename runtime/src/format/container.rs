//! The safetensors container: an 8-byte length, a JSON header, the tensors' bytes.
//!
//! Read here rather than with the `safetensors` crate, because a device file may be hostile: every
//! size is checked against the file before it is used, names may not repeat, and an error names
//! the tensor. `tests/hostile.rs` checks both readers against each other.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::dtype::{DType, Shape};
use crate::{Error, ErrorKind, Result};

/// Largest header accepted, in bytes; the safetensors crate's own limit.
const HEADER_LIMIT: u64 = 100_000_000;

/// Name of the header's entry for free text.
const METADATA: &str = "__metadata__";

/// Tensors whose name begins so only keep the next one aligned.
pub(super) const PADDING: &str = "_pad.";

/// One tensor of the file.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Shape,
    /// Where its bytes lie in the file.
    pub(super) range: Range<usize>,
}

/// The parsed and checked header.
pub(super) struct Container {
    pub(super) metadata: BTreeMap<String, String>,
    /// Without padding.
    pub(super) entries: Vec<Entry>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

#[derive(Default)]
struct RawHeader {
    metadata: BTreeMap<String, String>,
    entries: Vec<(String, RawEntry)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                let mut names = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("{name:?} is there twice")));
                    }
                    if name == METADATA {
                        header.metadata = map.next_value()?;
                    } else {
                        header.entries.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Parses the header of a whole file and checks every tensor against the file's size.
///
/// `readable` judges the metadata first: a newer file may hold tensors that this build knows nothing
/// of, and then its version is what to tell.
pub(super) fn parse(
    file: &[u8],
    readable: impl FnOnce(&BTreeMap<String, String>) -> Result<()>,
) -> Result<Container> {
    let (length, rest) = file
        .split_first_chunk::<8>()
        .ok_or_else(|| broken("", format!("{} bytes are too few for a model file", file.len())))?;
    let length = u64::from_le_bytes(*length);
    if length > HEADER_LIMIT {
        let what = format!("the header claims {length} bytes: this is no safetensors file");
        return Err(broken("", what));
    }
    let header = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n));
    let Some((header, data)) = header else {
        let what = format!(
            "the header should have {length} bytes, the file has only {} after its start: it is cut short",
            rest.len()
        );
        return Err(broken("", what));
    };
    let raw: RawHeader = serde_json::from_slice(header)
        .map_err(|e| broken("", format!("the header is not valid: {e}")))?;
    readable(&raw.metadata)?;
    let start = file.len().saturating_sub(data.len());
    let mut entries = Vec::with_capacity(raw.entries.len());
    let mut spans = Vec::with_capacity(raw.entries.len());
    for (name, entry) in raw.entries {
        let entry = check(name, &entry, start, data.len())?;
        spans.push((entry.range.start, entry.range.end));
        entries.push(entry);
    }
    spans.sort_unstable();
    let mut end = start;
    for (from, to) in spans {
        if from != end {
            let what = format!("the tensors leave a gap or overlap at byte {end} of the file");
            return Err(broken("", what));
        }
        end = to;
    }
    if end != file.len() {
        let what = format!("{} bytes follow the last tensor", file.len().saturating_sub(end));
        return Err(broken("", what));
    }
    entries.retain(|e| !e.name.starts_with(PADDING));
    Ok(Container { metadata: raw.metadata, entries })
}

fn check(name: String, raw: &RawEntry, start: usize, data: usize) -> Result<Entry> {
    let at = format!("tensor {name:?}");
    let dtype = match raw.dtype.as_str() {
        "F32" => DType::F32,
        "F16" => DType::F16,
        "I8" => DType::I8,
        "U8" => DType::U8,
        "I32" => DType::I32,
        other => {
            let what = format!("dtype {other} is not one of F32, F16, I8, U8, I32");
            return Err(Error::new(ErrorKind::Unsupported, at, what));
        }
    };
    let dims: Option<Vec<usize>> = raw.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = Shape::from(dims.ok_or_else(|| broken(&at, "its shape is too large".into()))?);
    let wanted = shape.checked_elements().and_then(|n| n.checked_mul(dtype.size()));
    let Some(wanted) = wanted else {
        return Err(broken(&at, format!("its shape {shape} is too large")));
    };
    let [from, to] = raw.data_offsets;
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    let Some((from, to)) = range.filter(|&(from, to)| from <= to && to <= data) else {
        let what = format!(
            "its bytes {from}..{to} are not within the file's {data}: the file is cut short or was edited; export it again"
        );
        return Err(broken(&at, what));
    };
    if to.saturating_sub(from) != wanted {
        let what = format!(
            "dtype and shape ask for {wanted} bytes, the file has {}: it was edited; export it again",
            to.saturating_sub(from)
        );
        return Err(broken(&at, what));
    }
    let range = start.saturating_add(from)..start.saturating_add(to);
    Ok(Entry { name, dtype, shape, range })
}

fn broken(at: &str, what: String) -> Error {
    Error::new(ErrorKind::Format, at, what)
}
