//! Which values share a buffer, and from which step to which it is alive.

use alloc::vec::Vec;

use super::arena::Request;
use super::place::Lay;
use crate::graph::{Graph, Node, Op};

/// Values grouped into buffers.
pub(super) struct Buffers {
    /// Buffer of each value.
    pub(super) of_value: Vec<usize>,
    /// Size and life of each buffer.
    pub(super) requests: Vec<Request>,
}

/// Whether a node only renames its input: no step is needed for it.
fn is_alias(op: &Op) -> bool {
    matches!(op, Op::Flatten | Op::Reshape { .. } | Op::Tokens)
}

/// Whether a node's kernel can write over an input of the same type.
fn works_in_place(op: &Op) -> bool {
    matches!(op, Op::Add | Op::Activation { .. })
}

/// Groups values, each of so many bytes, into buffers; step `i` is node `i`, inputs are there
/// before step 0.
pub(super) fn buffers(graph: &Graph, lays: &[Lay], bytes: &[usize]) -> Buffers {
    let mut buffers =
        Buffers { of_value: (0..graph.values.len()).collect(), requests: lives(graph, bytes) };
    for (value, lay) in lays.iter().enumerate() {
        if let Some(whole) = lay.part_of {
            buffers.share(whole.0, value);
        }
    }
    for (step, Node { op, inputs, output, .. }) in graph.nodes.iter().enumerate() {
        let same = |input: usize| {
            let (x, y) = (&graph.values[input], &graph.values[output.0]);
            x.dtype == y.dtype && lays[input].image == lays[output.0].image
        };
        let input = inputs.iter().map(|id| id.0).find(|&input| {
            let dies = buffers.requests[buffers.of_value[input]].last == step;
            is_alias(op) || works_in_place(op) && dies && same(input)
        });
        if let Some(input) = input {
            buffers.share(input, output.0);
        }
    }
    buffers
}

impl Buffers {
    /// Puts `other`, which nothing shares yet, into the buffer of `value`.
    fn share(&mut self, value: usize, other: usize) {
        let (buffer, life) = (self.of_value[value], self.requests[other]);
        let request = &mut self.requests[buffer];
        request.first = request.first.min(life.first);
        request.last = request.last.max(life.last);
        request.bytes = request.bytes.max(life.bytes);
        self.of_value[other] = buffer;
        // A value that shares another's buffer asks for nothing itself.
        self.requests[other] = Request { bytes: 0, first: 0, last: 0 };
    }
}

/// The first and the last step that touches each value.
fn lives(graph: &Graph, bytes: &[usize]) -> Vec<Request> {
    let mut requests: Vec<Request> =
        bytes.iter().map(|&bytes| Request { bytes, first: usize::MAX, last: 0 }).collect();
    let mut touch = |value: usize, step: usize| {
        let request = &mut requests[value];
        request.first = request.first.min(step);
        request.last = request.last.max(step);
    };
    graph.inputs.iter().for_each(|id| touch(id.0, 0));
    for (step, Node { inputs, output, .. }) in graph.nodes.iter().enumerate() {
        inputs.iter().chain([output]).for_each(|id| touch(id.0, step));
    }
    graph.outputs.iter().for_each(|id| touch(id.0, graph.nodes.len()));
    requests
}
