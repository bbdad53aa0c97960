//! How and where a graph is computed: one step a node, one slot of the arena a value.

mod arena;
mod dense;
mod elementwise;
mod kernel;
mod lifetime;
mod place;
mod report;
mod select;

use alloc::vec::Vec;

use crate::Result;
use crate::graph::{Graph, ValueId};
use crate::kernels::Isa;
use crate::threads::Threads;

pub(crate) use arena::ALIGNMENT;
pub use dense::dense_places;
pub use elementwise::in_place;
use kernel::Kernel;
pub(crate) use place::{Channels, Place};
use place::{Lay, Slot};
use report::About;
pub use report::PlannedStep;
pub use select::{conv_shape, int8_output, pool_shape};

/// One node, ready to run.
pub(crate) struct Step {
    pub(crate) kernel: Kernel,
    pub(crate) inputs: Vec<Place>,
    pub(crate) output: Place,
    pub(crate) value: ValueId,
    /// Parts that threads compute; 1 where it is not worth dividing.
    parts: usize,
    about: About,
}

impl Step {
    /// Computes the output's place from the inputs' places.
    ///
    /// `threads` share it where it was planned to be divided.
    pub(crate) fn run(&self, arena: &mut [u8], scratch: &mut [u8], threads: Option<&mut Threads>) {
        match threads.filter(|_| self.parts > 1) {
            Some(threads) => {
                self.kernel.run_divided(arena, (self.inputs[0], self.output), scratch, threads);
            }
            None => self.kernel.run(arena, &self.inputs, self.output, scratch),
        }
        self.output.fill_margin(arena);
    }

    /// Working memory of one run: for each part its own, at a multiple of [`ALIGNMENT`].
    fn scratch_bytes(&self) -> usize {
        match self.parts {
            1 => self.kernel.scratch_bytes(),
            parts => parts * self.kernel.scratch_bytes().next_multiple_of(ALIGNMENT),
        }
    }
}

/// Every node's kernel and every value's place.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Place of each value.
    pub(crate) places: Vec<Place>,
    /// Bytes for all values together.
    pub(crate) arena_bytes: usize,
    /// Bytes of working memory that the neediest kernel wants.
    pub(crate) scratch_bytes: usize,
    /// Whether threads share any of the steps.
    pub(crate) is_divided: bool,
}

impl Plan {
    /// Plans a checked graph in the device's layout for so many threads; `direct` is that of the
    /// session's options.
    pub(crate) fn new(graph: &Graph, isa: Isa, threads: usize, direct: bool) -> Result<Self> {
        let lays = place::lays(graph, isa);
        let sizes = lays.iter().zip(&graph.values);
        let mut bytes: Vec<usize> =
            sizes.map(|(lay, value)| lay.image.len() * value.dtype.size()).collect();
        let mut kernels = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let kernel = Kernel::select(graph, node, (isa, direct), &lays)?;
            let x = node.inputs[0].0;
            bytes[x] = bytes[x].max(kernel.input_bytes());
            kernels.push(kernel);
        }
        let buffers = lifetime::buffers(graph, &lays, &bytes);
        let (offsets, arena_bytes) = arena::place(&buffers.requests);
        let place = |value: usize| {
            let (buffer, data) = (buffers.of_value[value], &graph.values[value]);
            let slot = Slot { offset: offsets[buffer], bytes: buffers.requests[buffer].bytes };
            let zero_point = data.quant.map_or(0, |quant| quant.zero_point);
            let Lay { image, channels, .. } = lays[value];
            Place { slot, image, channels, dtype: data.dtype, zero_point }
        };
        let places: Vec<Place> = (0..graph.values.len()).map(place).collect();
        let alive = |step: usize| {
            let needed = buffers.requests.iter().filter(|r| (r.first..=r.last).contains(&step));
            needed.map(|request| request.bytes).sum()
        };
        let steps = graph.nodes.iter().zip(kernels).enumerate();
        let steps = steps.map(|(number, (node, kernel))| Step {
            parts: kernel.parts(isa, threads),
            kernel,
            inputs: node.inputs.iter().map(|id| places[id.0]).collect(),
            output: places[node.output.0],
            value: node.output,
            about: About::new(graph, node, alive(number)),
        });
        let steps: Vec<Step> = steps.collect();
        let scratch_bytes = steps.iter().map(Step::scratch_bytes).max().unwrap_or(0);
        let is_divided = steps.iter().any(|step| step.parts > 1);
        Ok(Self { steps, places, arena_bytes, scratch_bytes, is_divided })
    }
}
