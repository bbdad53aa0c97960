//! PyTorch checkpoints: what `torch.save` writes, as a ZIP archive (since 1.6) or before that as
//! pickles with the elements behind them (`torch/serialization.py`).
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::pickle::{Item, Pickle, TensorRef};
use super::weights::{Entry, Kind, Weights};
use super::zip::Archive;

/// 0x1950a86a20f9469cfc6c, with which the older format begins.
const LEGACY_MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Under which keys training scripts put the state dict, the likeliest first.
const KEYS: [&str; 9] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "teacher",
    "teacher_state_dict",
    "weights",
    "params",
];

/// Dictionaries in dictionaries that are looked into.
const MOST_LEVELS: usize = 4;

/// The tensors of a ZIP checkpoint.
pub(super) fn read_zip(bytes: &[u8]) -> Result<Weights<'_>, String> {
    let archive = Archive::read(bytes)?;
    if let Some(name) = archive.compressed() {
        return Err(format!("entry {name:?} is compressed: save it with torch.save, which stores"));
    }
    let folder = archive
        .names()
        .find_map(|name| name.strip_suffix("data.pkl"))
        .ok_or("is a ZIP archive without data.pkl: torch.save did not write it")?;
    if archive.stored(&format!("{folder}byteorder")).is_some_and(|order| order != b"little") {
        return Err("was saved on a big-endian machine, which is not read".into());
    }
    let pickle = archive.stored(&format!("{folder}data.pkl")).unwrap_or_default();
    let pickle = Pickle::read(&mut Cursor::new(pickle))?;
    weights(&pickle, |key| archive.stored(&format!("{folder}data/{key}")))
}

/// The tensors of a checkpoint in the older format.
pub(super) fn read_legacy(bytes: &[u8]) -> Result<Weights<'_>, String> {
    let cursor = &mut Cursor::new(bytes);
    let magic = Pickle::read(cursor)?;
    if !matches!(magic.root(), Item::Long(number) if *number == LEGACY_MAGIC) {
        return Err("is a pickle, but torch.save did not write it".into());
    }
    let version = Pickle::read(cursor)?;
    if !matches!(version.root(), Item::Int(1001)) {
        return Err("is of a version of PyTorch's format other than 1001".into());
    }
    let system = Pickle::read(cursor)?;
    if matches!(value(&system, system.root(), "little_endian"), Some(Item::Bool(false))) {
        return Err("was saved on a big-endian machine, which is not read".into());
    }
    let object = Pickle::read(cursor)?;
    let keys = Pickle::read(cursor)?;
    let Item::List(ids) = keys.root() else {
        return Err("has no list of storages: it is damaged".into());
    };
    let kinds = storage_kinds(&object);
    let mut storages = BTreeMap::new();
    for &id in ids {
        let Item::Text(key) = *keys.item(id) else {
            return Err("has a storage without a name: it is damaged".into());
        };
        let kind = kinds.get(key).ok_or_else(|| format!("storage {key:?} belongs to no tensor"))?;
        let elements = cursor.u64()?;
        let size = elements.saturating_mul(kind.size() as u64);
        let data = cursor.take_long(size).map_err(|e| format!("storage {key:?} {e}"))?;
        storages.insert(key, data);
    }
    weights(&object, |key| storages.get(key).copied())
}

/// Element types of all storages that are mentioned.
fn storage_kinds<'a>(pickle: &Pickle<'a>) -> BTreeMap<&'a str, Kind> {
    let kind = |item: &Item<'a>| match item {
        Item::Storage(storage) => Some((storage.key, storage.kind)),
        _ => None,
    };
    pickle.items().iter().filter_map(kind).collect()
}

fn weights<'a>(
    pickle: &Pickle<'a>,
    storage: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Weights<'a>, String> {
    let mut weights = Weights::new();
    for (name, tensor) in state_dict(pickle)? {
        let entry = entry(tensor, &storage).map_err(|e| format!("tensor {name:?}: {e}"))?;
        weights.insert(name.to_string(), entry);
    }
    Ok(weights)
}

fn entry<'a>(
    tensor: &TensorRef<'a>,
    storage: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Entry<'a>, String> {
    let &TensorRef { storage: ref place, offset, ref shape, ref strides } = tensor;
    let data = storage(place.key)
        .ok_or_else(|| format!("its storage {:?} is not in the file: it is damaged", place.key))?;
    let size = place.kind.size();
    let wanted = place.elements.checked_mul(size);
    if wanted.is_none_or(|wanted| wanted > data.len()) {
        return Err(format!(
            "its storage of {} elements has {} bytes: it is cut short or damaged",
            place.elements,
            data.len()
        ));
    }
    let data = data.get(..wanted.unwrap_or(0)).unwrap_or_default();
    let start = offset.checked_mul(size).ok_or("its offset is beyond its storage")?;
    let data = data.get(start..).ok_or("its offset is beyond its storage")?;
    Entry::new(place.kind, shape.clone(), strides.clone(), data)
}

/// Names and tensors of the state dict, wherever it is.
fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Vec<(&'a str, &'p TensorRef<'a>)>, String> {
    let mut dict = pickle.root();
    for _ in 0..MOST_LEVELS {
        let nested = KEYS
            .iter()
            .find_map(|key| value(pickle, dict, key).filter(|item| matches!(item, Item::Dict(_))));
        match nested.or_else(|| only_dict_of_tensors(pickle, dict)) {
            Some(nested) => dict = nested,
            None => break,
        }
    }
    let Item::Dict(pairs) = dict else {
        return Err("holds a whole module or another object, not a state dict: save \
                    model.state_dict()"
            .into());
    };
    let tensors: Vec<_> = pairs
        .iter()
        .filter_map(|&(key, value)| match (pickle.item(key), pickle.item(value)) {
            (&Item::Text(name), Item::Tensor(tensor)) => Some((name, &**tensor)),
            _ => None,
        })
        .collect();
    if tensors.is_empty() {
        let keys = pairs.iter().filter_map(|&(key, _)| match pickle.item(key) {
            Item::Text(name) => Some(format!("{name:?}")),
            _ => None,
        });
        let keys: Vec<String> = keys.take(5).collect();
        return Err(format!(
            "holds no tensors, at the top or under {}; its keys are [{}]: save model.state_dict()",
            KEYS.join(", "),
            keys.join(", ")
        ));
    }
    Ok(tensors)
}

/// Where no tensors are in `dict` itself: the one dictionary in it that holds some.
fn only_dict_of_tensors<'p, 'a>(pickle: &'p Pickle<'a>, dict: &Item<'a>) -> Option<&'p Item<'a>> {
    let has_tensors = |item: &Item<'a>| {
        let Item::Dict(pairs) = item else { return false };
        pairs.iter().any(|&(_, id)| matches!(pickle.item(id), Item::Tensor(_)))
    };
    let Item::Dict(pairs) = dict else { return None };
    if has_tensors(dict) {
        return None;
    }
    let mut found = pairs.iter().map(|&(_, id)| pickle.item(id)).filter(|item| has_tensors(item));
    found.next().filter(|_| found.next().is_none())
}

/// What `dict` holds under `key`; the last of several, as in Python.
fn value<'p, 'a>(pickle: &'p Pickle<'a>, dict: &Item<'a>, key: &str) -> Option<&'p Item<'a>> {
    let Item::Dict(pairs) = dict else { return None };
    let is_key = |id| matches!(pickle.item(id), Item::Text(name) if *name == key);
    let found = pairs.iter().rev().find(|&&(id, _)| is_key(id));
    found.map(|&(_, id)| pickle.item(id))
}
