//! A model: opened, validated, in the device's layout, shared between sessions.

use crate::Result;
use crate::format::{Card, ModelFile};
use crate::graph::{Graph, LoadLimits};
use crate::input::Preprocess;

/// A validated model in [`Layout::Nhwc`](crate::graph::Layout::Nhwc), simplified, with its
/// preprocessing and card.
#[derive(Clone, Debug)]
pub struct Model {
    graph: Graph,
    preprocess: Option<Preprocess>,
    card: Card,
}

impl Model {
    /// Opens a model file; mapped into memory with the feature `mmap`, else read.
    #[cfg(feature = "std")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = crate::file::open(path)?;
        ModelFile::from_shared(bytes, &LoadLimits::default())
            .and_then(Self::new)
            .map_err(|e| e.in_file(&name))
    }

    /// A model of a file already in memory.
    pub fn new(file: ModelFile) -> Result<Self> {
        let ModelFile { graph, preprocess, card } = file;
        let graph = graph.into_nhwc()?.simplified();
        Ok(Self { graph, preprocess, card })
    }

    /// A model of a graph alone, checked.
    pub fn from_graph(graph: Graph) -> Result<Self> {
        graph.check(&LoadLimits::default())?;
        Self::new(ModelFile { graph, preprocess: None, card: Card::default() })
    }

    /// The network in the device's layout.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How bytes become its input, if the file says so.
    pub fn preprocess(&self) -> Option<&Preprocess> {
        self.preprocess.as_ref()
    }

    /// What it is and where it comes from.
    pub fn card(&self) -> &Card {
        &self.card
    }
}
