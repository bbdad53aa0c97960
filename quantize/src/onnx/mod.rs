//! Import of ONNX models (`onnx.ai/onnx/operators`), ready for [`prepare`], and
//! export ([`to_bytes`]).
//!
//! Files may be hostile: nothing here indexes or allocates by a size that was not compared with
//! the bytes that are there.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod constants;
mod export;
mod importer;
mod integers;
mod names;
mod node;
mod ops;
mod patterns;
mod proto;
mod qdq;
mod tensors;
#[cfg(test)]
mod tests;
mod views;

use std::collections::BTreeMap;
use std::path::Path;

use hipflask_runtime::graph::{Graph, Op};
use hipflask_runtime::{Error as RuntimeError, ErrorKind, SharedBytes, file};
use prost::Message;
use prost::bytes::Bytes;

use crate::error::{Error, Result};
use crate::fold::prepare;
pub use export::{OPSET, to_bytes};
use importer::{Imported, Importer};
use proto::ModelProto;
use tensors::Tensors;

/// Oldest and newest version of ONNX's operators that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=23;

/// The network in the ONNX file at `path`, with weights from files beside it where it names some.
///
/// Inputs are `[n, features]` or `[n, c, h, w]` with a batch `n` that is 1 or open, and then
/// taken as 1. A float model gives a float graph in PyTorch's layout; one that is quantized (QDQ) an
/// int8 graph in the device's layout with its own scales. An operator or attribute that hipflask has
/// not is an error that names the node.
pub fn open(path: impl AsRef<Path>) -> Result<Graph> {
    Ok(read(path)?.graph)
}

/// A network, and what its file says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxFile {
    /// The network.
    pub graph: Graph,
    /// Texts by key, ONNX's `metadata_props`.
    pub metadata: BTreeMap<String, String>,
}

/// As [`open`], with the file's metadata.
pub fn read(path: impl AsRef<Path>) -> Result<OnnxFile> {
    let path = path.as_ref();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let read = || import(file::open(path)?, &stem, Some(folder));
    read().map_err(|e| match e {
        // An error of the file system has the path already.
        Error::Runtime(e) if e.kind() != ErrorKind::Io => {
            e.in_file(&path.display().to_string()).into()
        }
        other => other,
    })
}

/// The network in the bytes of an ONNX file without external data; `name` is for a graph that has
/// none.
pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Graph> {
    Ok(import(std::sync::Arc::new(bytes.to_vec()), name, None)?.graph)
}

fn import(bytes: SharedBytes, name: &str, folder: Option<&Path>) -> Result<OnnxFile> {
    let model = ModelProto::decode(Bytes::from_owner(Owner(bytes))).map_err(|e| {
        let what = format!("is no ONNX model, or is cut short: {e}");
        RuntimeError::new(ErrorKind::Format, "", what)
    })?;
    let graph = model.graph.as_ref().filter(|graph| !graph.node.is_empty()).ok_or_else(|| {
        RuntimeError::new(ErrorKind::Format, "", "is no ONNX model: it has no graph with nodes")
    })?;
    let opset = opset(&model)?;
    let Imported { graph, layers } =
        Importer::new(graph, opset, name, Tensors::new(folder)).run()?;
    let quantized = graph.nodes.iter().any(|node| node.op == Op::Quantize);
    let graph = if quantized { qdq::lower(&prepare(&graph)?, &layers)? } else { graph };
    let entries = model.metadata_props.iter();
    let metadata = entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    Ok(OnnxFile { graph, metadata })
}

/// The version of ONNX's own operators.
fn opset(model: &ModelProto) -> hipflask_runtime::Result<i64> {
    let own = |domain: &str| matches!(domain, "" | "ai.onnx");
    let version = model.opset_import.iter().find(|set| own(&set.domain)).map(|set| set.version);
    match version {
        Some(version) if OPSETS.contains(&version) => Ok(version),
        found => {
            let (oldest, newest) = (OPSETS.start(), OPSETS.end());
            let found = found.map_or("none".into(), |version| version.to_string());
            let what = format!(
                "opset {found}; {oldest} to {newest} are read: export it again with opset_version \
                 = 17"
            );
            Err(RuntimeError::new(ErrorKind::Version, "", what))
        }
    }
}

/// Bytes of a file, lent to the messages decoded from it.
struct Owner(SharedBytes);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}
