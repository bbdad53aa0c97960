//! A graph in f32 as a teacher, run by the interpreter on a device.

use candle_core::{Device, Tensor};
use hipflask_runtime::graph::{Graph, Op};
use hipflask_runtime::input::Preprocess;

use super::{Answer, Teacher};
use crate::fingerprint::Fingerprint;
use crate::interpreter::{Forward, Mode, Network, Nodes};
use crate::{Error, ErrorKind, Result};

/// A graph in f32 and PyTorch's layout that answers with its logits.
pub struct NetworkTeacher {
    name: String,
    network: Network,
    preprocess: Option<Preprocess>,
    fingerprint: String,
}

impl NetworkTeacher {
    /// Copies the weights of `graph` to `device`; a softmax at its end is left out.
    ///
    /// `preprocess` is how the graph wants bytes; `None`: as the data set says.
    pub fn new(
        name: impl Into<String>,
        graph: &Graph,
        preprocess: Option<Preprocess>,
        device: &Device,
    ) -> Result<Self> {
        let graph = without_softmax(graph.clone());
        let fingerprint = fingerprint(&graph, preprocess.as_ref());
        Ok(Self {
            name: name.into(),
            network: Network::new(&graph, device)?,
            preprocess,
            fingerprint,
        })
    }
}

impl Teacher for NetworkTeacher {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.answer(images, &[])?.logits)
    }

    fn answer(&self, images: &Tensor, features: &[&str]) -> Result<Answer> {
        let here = images.to_device(self.network.device())?.detach();
        let Forward { output, features } =
            self.network.forward_with(&here, Mode::Evaluate, features)?;
        let back = |x: Tensor| x.to_device(images.device());
        let features = features.into_iter().map(back).collect::<Result<_, _>>()?;
        Ok(Answer { logits: back(output)?, features })
    }

    fn nodes(&self) -> Option<&Nodes> {
        Some(self.network.nodes())
    }

    fn classes(&self) -> usize {
        self.network.classes()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        self.preprocess.as_ref()
    }
}

/// SHA-256 of structure, weights in graph order and preprocessing.
pub(super) fn fingerprint(graph: &Graph, preprocess: Option<&Preprocess>) -> String {
    let mut fingerprint = Fingerprint::new();
    let structure = (graph.layout, &graph.inputs, &graph.outputs, &graph.values, &graph.nodes);
    let structure = serde_json::to_vec(&(structure, preprocess));
    fingerprint.bytes(&structure.expect("plain data always serializes"));
    for name in graph.tensor_order() {
        let tensor = &graph.tensors[&name];
        fingerprint.bytes(name.as_bytes());
        fingerprint.bytes(tensor.dtype().name().as_bytes());
        fingerprint.numbers(tensor.shape().iter().map(|&size| size as u64));
        fingerprint.bytes(tensor.bytes());
    }
    fingerprint.finish()
}

/// The graph that hands out what its last softmax reads: the logits.
pub(super) fn without_softmax(mut graph: Graph) -> Graph {
    let ends = |graph: &Graph| {
        let last = graph.nodes.last()?;
        let ends = last.op == Op::Softmax && graph.outputs == [last.output];
        last.inputs.first().copied().filter(|_| ends)
    };
    while let Some(logits) = ends(&graph) {
        let probabilities = graph.nodes.pop().map(|node| node.output.0);
        graph.outputs = vec![logits];
        if probabilities.is_some_and(|id| id + 1 == graph.values.len()) {
            graph.values.pop();
        }
    }
    graph
}

/// Shape of a sample (images as `[c, h, w]`) and classes of a graph that classifies; an error says
/// what it is instead.
pub(super) fn ports(graph: &Graph) -> Result<(Vec<usize>, usize)> {
    let shapes = |ids: &[hipflask_runtime::graph::ValueId]| {
        ids.iter().map(|&id| graph.value(id).shape.clone()).collect::<Vec<_>>()
    };
    let (inputs, outputs) = (shapes(&graph.inputs), shapes(&graph.outputs));
    if let ([input], [output]) = (&inputs[..], &outputs[..])
        && let (Some((1, sample)), Some([1, classes])) =
            (input.split_first().map(|(&batch, sample)| (batch, sample)), output.dims())
    {
        let image = graph.layout.image(input).map(|[h, w, c]| vec![c, h, w]);
        return Ok((image.unwrap_or_else(|| sample.to_vec()), classes));
    }
    let list = |shapes: &[hipflask_runtime::Shape]| {
        shapes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let message = format!(
        "reads {} and writes {}: a teacher reads one sample and writes one row of logits",
        list(&inputs),
        list(&outputs)
    );
    Err(Error::new(ErrorKind::Teacher, &graph.name, message))
}
