//! How and where a graph is computed: one step a node, one slot of the arena a value.

mod arena;
mod lifetime;
mod select;

use alloc::vec::Vec;

use crate::Result;
use crate::graph::{Graph, ValueId};
use crate::kernels::Isa;

pub(crate) use arena::ALIGNMENT;
pub(crate) use select::Kernel;

/// A piece of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

/// One node, ready to run.
pub(crate) struct Step {
    pub(crate) kernel: Kernel,
    pub(crate) inputs: Vec<Slot>,
    pub(crate) output: Slot,
    pub(crate) value: ValueId,
}

/// Every node's kernel and every value's place.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Slot of each value.
    pub(crate) slots: Vec<Slot>,
    /// Bytes for all values together.
    pub(crate) arena_bytes: usize,
    /// Bytes of working memory that the neediest kernel wants.
    pub(crate) scratch_bytes: usize,
}

impl Plan {
    /// Plans a checked graph in the device's layout.
    pub(crate) fn new(graph: &Graph, isa: Isa) -> Result<Self> {
        let buffers = lifetime::buffers(graph);
        let (offsets, arena_bytes) = arena::place(&buffers.requests);
        let slots: Vec<Slot> = (0..graph.values.len())
            .map(|value| {
                let buffer = buffers.of_value[value];
                Slot { offset: offsets[buffer], bytes: buffers.requests[buffer].bytes }
            })
            .collect();
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let kernel = Kernel::select(graph, node, isa)?;
            let inputs = node.inputs.iter().map(|id| slots[id.0]).collect();
            steps.push(Step { kernel, inputs, output: slots[node.output.0], value: node.output });
        }
        let scratch_bytes = steps.iter().map(|s| s.kernel.scratch_bytes()).max().unwrap_or(0);
        Ok(Self { steps, slots, arena_bytes, scratch_bytes })
    }
}
