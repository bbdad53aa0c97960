//! The model file: safetensors with the graph as JSON in its metadata (`docs/format.md`).

mod card;
mod container;
mod upgrade;
mod writer;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Layout, LoadLimits, Node, Value, ValueId};
use crate::input::Preprocess;
use crate::tensor::{SharedBytes, Tensor};
use crate::{Error, ErrorKind, Result};

pub use card::{Card, TeacherCard};

/// Version written; files up to this version are read.
pub const VERSION: u32 = 1;

/// The metadata key of our document.
const KEY: &str = "hipflask";

/// Everything in a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// The network with its weights.
    pub graph: Graph,
    /// How bytes become the network's input.
    pub preprocess: Option<Preprocess>,
    /// What the model is and where it comes from.
    pub card: Card,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    name: String,
    layout: Layout,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "upgrade::preprocess"
    )]
    preprocess: Option<Preprocess>,
    #[serde(default)]
    card: Card,
    values: Vec<Value>,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Where the file's bytes live, which decides how tensors refer to them.
enum Source {
    Shared(SharedBytes),
    Flash(&'static [u8]),
}

impl ModelFile {
    /// Reads and checks a model from bytes that are shared with its tensors.
    pub fn from_shared(bytes: SharedBytes, limits: &LoadLimits) -> Result<Self> {
        Self::read(&Source::Shared(bytes), limits)
    }

    /// Reads and checks a model from a copy of `bytes`.
    pub fn from_bytes(bytes: &[u8], limits: &LoadLimits) -> Result<Self> {
        Self::from_shared(alloc::sync::Arc::new(bytes.to_vec()), limits)
    }

    /// Reads and checks a model in flash; its weights stay there.
    pub fn from_flash(bytes: &'static [u8], limits: &LoadLimits) -> Result<Self> {
        Self::read(&Source::Flash(bytes), limits)
    }

    /// The bytes of the file. Device models (int8 weights, or [`Layout::Nhwc`]) get large weights
    /// aligned for use in place; students in PyTorch's layout stay plain.
    pub fn to_bytes(&self) -> Vec<u8> {
        let graph = &self.graph;
        let header = Header {
            version: VERSION,
            name: graph.name.clone(),
            layout: graph.layout,
            inputs: graph.inputs.clone(),
            outputs: graph.outputs.clone(),
            preprocess: self.preprocess.clone(),
            card: self.card.clone(),
            values: graph.values.clone(),
            nodes: graph.nodes.clone(),
        };
        let metadata = serde_json::to_string(&header).expect("plain data always serializes");
        let tensors: Vec<(String, &Tensor)> =
            graph.tensor_order().map(|name| (name.clone(), &graph.tensors[&name])).collect();
        writer::write(&metadata, &tensors, graph.layout == Layout::Nhwc)
    }

    fn read(source: &Source, limits: &LoadLimits) -> Result<Self> {
        let bytes = match source {
            Source::Shared(shared) => (**shared).as_ref(),
            Source::Flash(bytes) => bytes,
        };
        let container = container::parse(bytes, |metadata| match metadata.get(KEY) {
            Some(text) => check_version(text, "a model file", VERSION),
            None => Ok(()),
        })?;
        let text = container.metadata.get(KEY).ok_or_else(|| {
            let what = "has no hipflask graph in its metadata: it holds bare weights; use it as a \
                        checkpoint of a declared network, or export it from hipflask";
            Error::new(ErrorKind::Format, "", what)
        })?;
        let header = parse_header(text)?;
        let mut tensors = BTreeMap::new();
        for entry in container.entries {
            let tensor = match source {
                Source::Shared(shared) => {
                    Tensor::shared(entry.dtype, entry.shape, shared.clone(), entry.range)
                }
                Source::Flash(bytes) => Tensor::in_flash(
                    entry.dtype,
                    entry.shape,
                    bytes.get(entry.range).unwrap_or_default(),
                ),
            };
            let tensor = tensor.map_err(|e| e.in_file(&format!("tensor {:?}", entry.name)))?;
            tensors.insert(entry.name, tensor);
        }
        let graph = Graph {
            name: header.name,
            layout: header.layout,
            values: header.values,
            nodes: header.nodes,
            inputs: header.inputs,
            outputs: header.outputs,
            tensors,
        };
        graph.check(limits)?;
        if let (Some(preprocess), Some(&input)) = (&header.preprocess, graph.inputs.first()) {
            preprocess.check(graph.layout, &graph.value(input).shape)?;
        }
        Ok(Self { graph, preprocess: header.preprocess, card: header.card })
    }
}

/// A bare container: the text under our key and the tensors, copied. `readable` judges the text before
/// the tensors are looked at.
pub(crate) fn read_tensors(
    bytes: &[u8],
    readable: impl FnOnce(&str) -> Result<()>,
) -> Result<(String, BTreeMap<String, Tensor>)> {
    let mut container =
        container::parse(bytes, |metadata| readable(metadata.get(KEY).map_or("", String::as_str)))?;
    let text = container.metadata.remove(KEY).unwrap_or_default();
    let shared: SharedBytes = alloc::sync::Arc::new(bytes.to_vec());
    let tensors = container
        .entries
        .into_iter()
        .map(|e| Ok((e.name, Tensor::shared(e.dtype, e.shape, shared.clone(), e.range)?)));
    Ok((text, tensors.collect::<Result<_>>()?))
}

/// The bytes of a bare container.
pub(crate) fn write_tensors(text: &str, tensors: &[(String, Tensor)]) -> Vec<u8> {
    let tensors: Vec<(String, &Tensor)> = tensors.iter().map(|(n, t)| (n.clone(), t)).collect();
    writer::write(text, &tensors, false)
}

/// Fails where `text`, the document of `what`, is of a format that this build does not know: `known` is
/// the last one it does.
pub(crate) fn check_version(text: &str, what: &str, known: u32) -> Result<()> {
    let VersionOnly { version } = serde_json::from_str(text).map_err(|e| broken(&e))?;
    if (1..=known).contains(&version) {
        return Ok(());
    }
    let build = env!("CARGO_PKG_VERSION");
    let message = format!(
        "{what} of format version {version}: this build (hipflask {build}) reads versions up to {known}: \
         update hipflask here, or make the file anew with a build that writes version {known}"
    );
    Err(Error::new(ErrorKind::Version, PLACE, message))
}

fn parse_header(text: &str) -> Result<Header> {
    serde_json::from_str(text).map_err(|e| broken(&e))
}

/// Where our document lies.
const PLACE: &str = "metadata \"hipflask\"";

fn broken(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Format, PLACE, error.to_string())
}
