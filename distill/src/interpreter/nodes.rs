//! What is inside a network: the outputs of its nodes, by name.

use hipflask_runtime::graph::{Graph, Op};
use serde::Serialize;

use crate::suggest::nearest;
use crate::{Error, ErrorKind, Result};

/// Most names that an error lists.
const MOST_NAMES: usize = 60;

/// An inner value of a network: the output of one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Name of the node.
    pub name: String,
    /// What the node computes, as `conv2d`.
    pub op: &'static str,
    /// Its dimensions for one sample, without the batch's: `[c, h, w]` for images.
    pub shape: Vec<usize>,
}

/// The nodes of a network, in execution order.
#[derive(Clone, Debug)]
pub struct Nodes {
    network: String,
    features: Vec<Feature>,
    /// Whose output the last linear layer reads.
    embedding: Option<usize>,
}

impl Nodes {
    /// The nodes of `graph`.
    pub fn new(graph: &Graph) -> Self {
        let feature = |node: &hipflask_runtime::graph::Node| Feature {
            name: node.name.clone(),
            op: node.op.name(),
            shape: graph.value(node.output).shape.get(1..).unwrap_or_default().to_vec(),
        };
        let last = graph.nodes.iter().rfind(|node| node.op == Op::Linear);
        let read = last.and_then(|node| node.inputs.first());
        let embedding = read.and_then(|id| graph.nodes.iter().position(|n| n.output == *id));
        let features = graph.nodes.iter().map(feature).collect();
        Self { network: graph.name.clone(), features, embedding }
    }

    /// Name of the network.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// All of them.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The node called `name`; without a name the one that the last linear layer reads, the
    /// network's embedding of the sample.
    ///
    /// An error names the nearest node, and all of them where they are few.
    pub fn find(&self, name: Option<&str>) -> Result<&Feature> {
        Ok(&self.features[self.index(name)?])
    }

    /// Where in the graph that node is.
    pub(super) fn index(&self, name: Option<&str>) -> Result<usize> {
        let Some(name) = name else {
            let message = "has no linear layer whose input could be meant: name a node";
            return self.embedding.ok_or_else(|| self.unknown(message));
        };
        let found = self.features.iter().position(|feature| feature.name == name);
        found.ok_or_else(|| {
            let near = nearest(name, self.features.iter().map(|f| f.name.as_str()));
            let near = near.map_or(String::new(), |near| format!(": did you mean {near:?}?"));
            self.unknown(&format!("has no node {name:?}{near}"))
        })
    }

    fn unknown(&self, message: &str) -> Error {
        let names: Vec<&str> = self.features.iter().map(|f| f.name.as_str()).collect();
        let all = if names.len() <= MOST_NAMES {
            format!("its nodes are {}", names.join(", "))
        } else {
            format!("it has {} nodes: `hipflask inspect RECIPE.toml` lists them", names.len())
        };
        let at = format!("network {:?}", self.network);
        Error::new(ErrorKind::Config, at, format!("{message}; {all}"))
    }
}
