//! Which values share a buffer, and from which step to which it is alive.

use alloc::vec::Vec;

use super::arena::Request;
use crate::graph::{Graph, Node, Op, ValueId};

/// Values grouped into buffers.
pub(super) struct Buffers {
    /// Buffer of each value.
    pub(super) of_value: Vec<usize>,
    /// Size and life of each buffer.
    pub(super) requests: Vec<Request>,
}

/// Whether a node only renames its input: no step is needed for it.
fn is_alias(op: &Op) -> bool {
    matches!(op, Op::Flatten | Op::Reshape { .. })
}

/// Groups values into buffers; step `i` is node `i`, inputs are there before step 0.
pub(super) fn buffers(graph: &Graph) -> Buffers {
    let mut of_value: Vec<usize> = (0..graph.values.len()).collect();
    for node in graph.nodes.iter().filter(|node| is_alias(&node.op)) {
        of_value[node.output.0] = of_value[node.inputs[0].0];
    }
    let mut requests: Vec<Request> = graph
        .values
        .iter()
        .map(|v| Request { bytes: v.shape.elements() * v.dtype.size(), first: usize::MAX, last: 0 })
        .collect();
    let mut touch = |id: ValueId, step: usize| {
        let request = &mut requests[of_value[id.0]];
        request.first = request.first.min(step);
        request.last = request.last.max(step);
    };
    graph.inputs.iter().for_each(|&id| touch(id, 0));
    for (step, Node { inputs, output, .. }) in graph.nodes.iter().enumerate() {
        inputs.iter().chain([output]).for_each(|&id| touch(id, step));
    }
    graph.outputs.iter().for_each(|&id| touch(id, graph.nodes.len()));
    // A value that shares another's buffer asks for nothing itself.
    for (value, request) in requests.iter_mut().enumerate() {
        if of_value[value] != value {
            *request = Request { bytes: 0, first: 0, last: 0 };
        }
    }
    Buffers { of_value, requests }
}
