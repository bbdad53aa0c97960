//! Import of float ONNX models (opset 9 to 21, `onnx.ai/onnx/operators`) as graphs in PyTorch's
//! layout, ready for [`prepare`](crate::prepare).
//!
//! Files may be hostile: nothing here indexes or allocates by a size that was not compared with
//! the bytes that are there.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod importer;
mod integers;
mod names;
mod node;
mod ops;
mod proto;
mod tensors;
#[cfg(test)]
mod tests;

use std::path::Path;

use hipflask_runtime::graph::Graph;
use hipflask_runtime::{Error as RuntimeError, ErrorKind, SharedBytes, file};
use prost::Message;
use prost::bytes::Bytes;

use crate::error::Result;
use importer::Importer;
use proto::ModelProto;
use tensors::Tensors;

/// Oldest and newest version of ONNX's operators that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=21;

/// The network in the ONNX file at `path`, with weights from files beside it where it names some.
///
/// Inputs are `[n, features]` or `[n, c, h, w]` with a batch `n` of 1 or of any size, which becomes
/// 1. An operator or attribute that hipflask has not is an error that names the node.
pub fn open(path: impl AsRef<Path>) -> Result<Graph> {
    let path = path.as_ref();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let read = || import(file::open(path)?, &stem, Some(folder));
    // An error of the file system has the path already.
    Ok(read().map_err(|e| match e.kind() {
        ErrorKind::Io => e,
        _ => e.in_file(&path.display().to_string()),
    })?)
}

/// The network in the bytes of an ONNX file without external data; `name` is for a graph that has
/// none.
pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Graph> {
    Ok(import(std::sync::Arc::new(bytes.to_vec()), name, None)?)
}

fn import(
    bytes: SharedBytes,
    name: &str,
    folder: Option<&Path>,
) -> hipflask_runtime::Result<Graph> {
    let model = ModelProto::decode(Bytes::from_owner(Owner(bytes))).map_err(|e| {
        let what = format!("is no ONNX model, or is cut short: {e}");
        RuntimeError::new(ErrorKind::Format, "", what)
    })?;
    let graph = model.graph.as_ref().filter(|graph| !graph.node.is_empty()).ok_or_else(|| {
        RuntimeError::new(ErrorKind::Format, "", "is no ONNX model: it has no graph with nodes")
    })?;
    let opset = opset(&model)?;
    Importer::new(graph, opset, name, Tensors::new(folder)).run()
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
