//! Bare weights: `.safetensors` and PyTorch's `.pth`, put into a declared graph by tensor name.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod cursor;
mod pickle;
mod prefix;
mod rebuild;
#[cfg(test)]
mod tests;
mod torch;
mod weights;
pub(crate) mod zip;

use std::path::Path;

use hipflask_runtime::Tensor;
use hipflask_runtime::graph::{Graph, Layout};
use safetensors::{Dtype, SafeTensors};

use self::weights::{Entry, Kind, Weights};
use crate::{Error, ErrorKind, Result};

/// What wrappers put before the names: `DataParallel` and `torch.compile`.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// How many tensors a message names.
const NAMED: usize = 3;

/// `into` with the weights of the file at `path`: a `.safetensors` or a PyTorch checkpoint, told
/// apart by content.
///
/// Every tensor of the graph must be in the file with the same shape, and the file may hold no
/// other weights; f16, bf16 and f64 become f32. In a checkpoint of several objects the state dict
/// is found under `state_dict`, `model_state_dict`, `model`, `net`, `teacher` and the like, or where
/// it is the only dictionary of tensors; the prefixes `module.` and `_orig_mod.` and the counters
/// `num_batches_tracked` are dropped. Where all of the graph's tensors stand behind one other
/// prefix, as `backbone.`, those are taken and what stands elsewhere is left.
pub fn load_weights(path: &Path, into: &Graph) -> Result<Graph> {
    let at = path.display().to_string();
    if into.layout != Layout::Nchw || into.values.iter().any(|value| value.quant.is_some()) {
        let message =
            format!("its weights fit a graph in f32 and PyTorch's layout, {:?} is not", into.name);
        return Err(Error::new(ErrorKind::Config, at, message));
    }
    let bytes = hipflask_runtime::file::open(path)?;
    let bytes: &[u8] = (*bytes).as_ref();
    let fail = |message| Error::new(ErrorKind::Checkpoint, &at, message);
    let weights = read(bytes).and_then(own_names).map_err(fail)?;
    let wanted: Vec<String> = into.tensor_order().collect();
    let weights = prefix::within(weights, &wanted).map_err(fail)?;
    fill(&weights, into).map_err(fail)
}

/// Whether `bytes` are a safetensors file with a hipflask graph.
pub(super) fn has_graph(bytes: &[u8]) -> bool {
    let header = header(bytes).ok();
    header.is_some_and(|header| header.pointer("/__metadata__/hipflask").is_some())
}

fn read(bytes: &[u8]) -> Result<Weights<'_>, String> {
    match bytes {
        [0x80, ..] => torch::read_legacy(bytes),
        [_, _, _, _, _, _, _, _, b'{', ..] => read_safetensors(bytes),
        _ if bytes.starts_with(zip::MAGIC) => torch::read_zip(bytes),
        _ => Err("holds no weights that can be read: .safetensors or a PyTorch state dict (.pth, \
                  .pt, .th) are"
            .into()),
    }
}

fn read_safetensors(bytes: &[u8]) -> Result<Weights<'_>, String> {
    let damaged = |e: &dyn std::fmt::Display| {
        format!(
            "is no valid safetensors file ({e}): it is cut short or damaged; download or save it again"
        )
    };
    // The crate adds the header's offsets up unchecked.
    let within = |info: &serde_json::Value| {
        let end = info.pointer("/data_offsets/1").and_then(serde_json::Value::as_u64);
        end.is_none_or(|end| end <= bytes.len() as u64)
    };
    let header = header(bytes).map_err(|e| damaged(&e))?;
    if !header.as_object().is_some_and(|tensors| tensors.values().all(within)) {
        return Err(damaged(&"a tensor ends behind the file"));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
    let entries = file.iter().map(|(name, view)| {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::F32,
            Dtype::F64 => Kind::F64,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::BF16,
            other => Kind::Integer(other.bitsize().div_ceil(8)),
        };
        let entry = Entry::contiguous(kind, view.shape().to_vec(), view.data());
        entry.map(|entry| (name.to_string(), entry)).map_err(|e| format!("tensor {name:?}: {e}"))
    });
    entries.collect()
}

/// The JSON of a safetensors header: a u64 of its length, then itself.
fn header(bytes: &[u8]) -> Result<serde_json::Value, String> {
    let (length, rest) = bytes.split_first_chunk().ok_or("it has no header")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let text = rest.get(..length).ok_or("its header ends behind the file")?;
    serde_json::from_slice(text).map_err(|e| e.to_string())
}

/// The weights under the names that the network itself gives them.
fn own_names(weights: Weights<'_>) -> Result<Weights<'_>, String> {
    let mut own = Weights::new();
    for (full, entry) in weights {
        let mut name = full.as_str();
        while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
            name = rest;
        }
        if name.rsplit('.').next() == Some("num_batches_tracked") {
            continue;
        }
        if own.insert(name.to_string(), entry).is_some() {
            return Err(format!("holds two tensors that are both {name:?} without their prefixes"));
        }
    }
    if own.is_empty() {
        return Err("holds no weights".into());
    }
    Ok(own)
}

fn fill(weights: &Weights<'_>, into: &Graph) -> Result<Graph, String> {
    let wanted: Vec<String> = into.tensor_order().collect();
    let missing: Vec<&str> =
        wanted.iter().map(String::as_str).filter(|name| !weights.contains_key(*name)).collect();
    let surplus: Vec<&str> = weights
        .keys()
        .map(String::as_str)
        .filter(|name| !into.tensors.contains_key(*name))
        .collect();
    if !missing.is_empty() || !surplus.is_empty() {
        let mut parts = Vec::new();
        if !missing.is_empty() {
            let listed = list(&missing, &surplus, "nearest in the file");
            parts.push(format!("lacks {} tensors of {:?}: {listed}", missing.len(), into.name));
        }
        if !surplus.is_empty() {
            let listed = list(&surplus, &missing, "nearest in the network");
            parts.push(format!("holds {} that {:?} lacks: {listed}", surplus.len(), into.name));
        }
        return Err(format!("{}; declare the network that it was trained as", parts.join("; ")));
    }
    let mut graph = into.clone();
    for name in wanted {
        let (Some(entry), Some(tensor)) = (weights.get(&name), graph.tensors.get_mut(&name)) else {
            continue;
        };
        if entry.shape() != tensor.shape() {
            return Err(format!(
                "tensor {name:?} has shape {}, {:?} has {}; declare the network that it was trained as",
                entry.shape(),
                into.name,
                tensor.shape()
            ));
        }
        let values = entry.f32s().map_err(|e| format!("tensor {name:?} {e}"))?;
        *tensor = Tensor::from_f32(tensor.shape().clone(), &values);
    }
    Ok(graph)
}

/// The first few of `names`, each with the one of `others` that is spelt most like it.
fn list(names: &[&str], others: &[&str], nearest: &str) -> String {
    let name = |name: &&str| match others.iter().min_by_key(|other| distance(name, other)) {
        Some(other) => format!("{name:?} ({nearest}: {other:?})"),
        None => format!("{name:?}"),
    };
    let mut listed: Vec<String> = names.iter().take(NAMED).map(name).collect();
    if names.len() > NAMED {
        listed.push("…".into());
    }
    listed.join(", ")
}

/// Insertions, deletions and replacements between two names (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        for (above, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal.saturating_add(usize::from(x != y));
            diagonal = *above;
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i.saturating_add(1);
        }
    }
    row.last().copied().unwrap_or(0)
}
