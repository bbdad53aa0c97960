//! Where values lie without margins: the plan of a network that is compiled, not loaded.

use alloc::vec::Vec;
use core::ops::Range;

use super::place::dense_lays;
use super::{arena, lifetime};
use crate::graph::Graph;

/// The bytes of each value of a checked graph in the device's layout, and of all together. Of values
/// that are never alive at the same time, bytes are the same; so they are of an elementwise result
/// and the operand that ends with it. A value that nothing touches has none.
pub fn dense_places(graph: &Graph) -> (Vec<Range<usize>>, usize) {
    let lays = dense_lays(graph);
    let mut bytes = alloc::vec![0; graph.values.len()];
    let nodes = graph.nodes.iter().flat_map(|node| node.inputs.iter().chain([&node.output]));
    for id in nodes.chain(&graph.inputs) {
        bytes[id.0] = graph.value(*id).shape.elements() * graph.value(*id).dtype.size();
    }
    let buffers = lifetime::buffers(graph, &lays, &bytes);
    let (offsets, total) = arena::place(&buffers.requests);
    let place = |(&buffer, bytes)| offsets[buffer]..offsets[buffer] + bytes;
    (buffers.of_value.iter().zip(bytes).map(place).collect(), total)
}
