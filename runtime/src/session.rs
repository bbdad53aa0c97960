//! A session: planned once, then run any number of times without allocating.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::dtype::{DType, Shape};
use crate::graph::ValueId;
use crate::kernels::Isa;
use crate::model::Model;
use crate::plan::{ALIGNMENT, Channels, Place, Plan, PlannedStep};
use crate::threads::Threads;
use crate::{Error, ErrorKind, Result};

/// Elements of an input, an output or a value on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum View<'a> {
    /// Real numbers.
    F32(&'a [f32]),
    /// Quantized numbers.
    I8(&'a [i8]),
}

impl<'a> View<'a> {
    /// The same elements as bytes.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::I8(values) => bytemuck::cast_slice(values),
        }
    }

    fn dtype(self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I8(_) => DType::I8,
        }
    }
}

/// How a session computes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Instruction set; `None` takes `HIPFLASK_ISA` from the environment, else the best there is.
    pub isa: Option<Isa>,
    /// Threads that share the work of an inference, the caller's with them: 1 to
    /// [`Options::MOST_THREADS`]. More than the machine has cores are slower than as many.
    pub threads: usize,
    /// Whether f32 convolutions are plain sums of products: slower, and nearer to the exact value
    /// than with Winograd's transforms, which rounding makes differ by some 10⁻⁶ of the span
    /// (`docs/performance.md`).
    pub direct: bool,
}

impl Options {
    /// Most threads of a session.
    pub const MOST_THREADS: usize = 16;
}

impl Default for Options {
    fn default() -> Self {
        Self { isa: None, threads: 1, direct: false }
    }
}

/// An input or output: its name, type and shape, and where it lies in the arena.
#[derive(Clone, Debug)]
pub struct Port {
    /// Name of the value.
    pub name: String,
    /// F32 or I8.
    pub dtype: DType,
    /// `[1, …]`
    pub shape: Shape,
    value: ValueId,
    place: Place,
}

impl Port {
    /// Bytes that the caller gives or is given.
    fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.size()
    }
}

/// A planned model with its arena; one for each thread that infers.
pub struct Session {
    plan: Plan,
    isa: Isa,
    arena: Buffer,
    scratch: Buffer,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// None where one is all that was asked for, or no step is worth dividing.
    threads: Option<Threads>,
}

impl Session {
    /// Plans `model`: chooses kernels, packs weights, lays out the arena, starts threads.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        Self::planned(model, options, None)
    }

    /// As [`Session::new`], with all values of an inference in `memory`, whose contents do not
    /// matter: nothing of them is allocated.
    ///
    /// Weights are still packed into memory of the allocator. Fails with [`ErrorKind::Input`] where
    /// `memory` has fewer than [`Session::memory_bytes`].
    pub fn new_in(model: &Model, options: &Options, memory: &'static mut [u8]) -> Result<Self> {
        Self::planned(model, options, Some(memory))
    }

    /// Bytes that [`Session::new_in`] needs, wherever they begin.
    pub fn memory_bytes(&self) -> usize {
        Buffer::room(self.plan.arena_bytes) + Buffer::room(self.plan.scratch_bytes)
    }

    fn planned(
        model: &Model,
        options: &Options,
        memory: Option<&'static mut [u8]>,
    ) -> Result<Self> {
        let isa = match options.isa {
            Some(isa) => isa,
            None => default_isa()?,
        };
        let (graph, count) = (model.graph(), options.threads);
        if !(1..=Options::MOST_THREADS).contains(&count) {
            let what = format!("{count} is no number from 1 to {}", Options::MOST_THREADS);
            return Err(Error::new(ErrorKind::Input, "threads", what));
        }
        let plan = Plan::new(graph, isa, count, options.direct)?;
        let [arena, scratch] = match memory {
            None => [plan.arena_bytes, plan.scratch_bytes].map(Buffer::new),
            Some(memory) => Buffer::split([plan.arena_bytes, plan.scratch_bytes], memory)?,
        };
        let threads = if plan.is_divided { Some(Threads::new(count)?) } else { None };
        let port = |&id: &ValueId| {
            let value = graph.value(id);
            Port {
                name: value.name.clone(),
                dtype: value.dtype,
                shape: value.shape.clone(),
                value: id,
                place: plan.places[id.0],
            }
        };
        Ok(Self {
            inputs: graph.inputs.iter().map(port).collect(),
            outputs: graph.outputs.iter().map(port).collect(),
            arena,
            scratch,
            isa,
            plan,
            threads,
        })
    }

    /// Runs one inference; the answers are then in [`Session::output`].
    pub fn run(&mut self, inputs: &[View<'_>]) -> Result<()> {
        self.run_steps(inputs, || {})
    }

    /// As [`Session::run`]; `observer` sees every value right after it was computed, inputs first.
    ///
    /// Allocates for values that lie in the arena with a margin.
    pub fn run_observed(
        &mut self,
        inputs: &[View<'_>],
        observer: &mut dyn FnMut(ValueId, View<'_>),
    ) -> Result<()> {
        self.set_inputs(inputs)?;
        let (arena, scratch) = (self.arena.bytes(), self.scratch.bytes());
        for port in &self.inputs {
            observe(port.value, port.place, arena, observer);
        }
        for step in &self.plan.steps {
            step.run(arena, scratch, self.threads.as_mut());
            observe(step.value, step.output, arena, observer);
        }
        Ok(())
    }

    /// Runs one inference; `after` is called when the input is in place and after each step.
    pub(crate) fn run_steps(&mut self, inputs: &[View<'_>], mut after: impl FnMut()) -> Result<()> {
        self.set_inputs(inputs)?;
        after();
        let (arena, scratch) = (self.arena.bytes(), self.scratch.bytes());
        for step in &self.plan.steps {
            step.run(arena, scratch, self.threads.as_mut());
            after();
        }
        Ok(())
    }

    /// Output `index` of the last run; empty where there is no such output.
    pub fn output(&self, index: usize) -> View<'_> {
        match self.outputs.get(index) {
            Some(port) => view(port.place.bytes(self.arena.shared()), port.dtype),
            None => View::F32(&[]),
        }
    }

    /// Runs a network of one f32 input and gives its first output, widened to f32 reals.
    pub fn predict(&mut self, input: &[f32]) -> Result<&[f32]> {
        self.run(&[View::F32(input)])?;
        match self.output(0) {
            View::F32(values) => Ok(values),
            View::I8(_) => Err(Error::new(
                ErrorKind::Input,
                "output 0",
                "is int8; read it with Session::output",
            )),
        }
    }

    /// The inputs that [`Session::run`] wants, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The steps of an inference in their order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = PlannedStep> + '_ {
        self.plan.steps.iter().map(|step| step.report(self.isa))
    }

    /// Threads that share the work: 1 also where no step is worth dividing.
    pub fn threads(&self) -> usize {
        self.threads.as_ref().map_or(1, Threads::count)
    }

    /// Bytes for all values of one inference.
    pub fn arena_bytes(&self) -> usize {
        self.plan.arena_bytes
    }

    /// Bytes of working memory besides the arena.
    pub fn scratch_bytes(&self) -> usize {
        self.plan.scratch_bytes
    }

    fn set_inputs(&mut self, inputs: &[View<'_>]) -> Result<()> {
        let refuse = |at: String, what: String| Err(Error::new(ErrorKind::Input, at, what));
        if inputs.len() != self.inputs.len() {
            let what =
                format!("{} were given, the model takes {}", inputs.len(), self.inputs.len());
            return refuse("inputs".into(), what);
        }
        let arena = self.arena.bytes();
        for (port, input) in self.inputs.iter().zip(inputs) {
            let bytes = input.bytes();
            if input.dtype() != port.dtype || bytes.len() != port.bytes() {
                let what = format!(
                    "takes {} values of {} (shape {}), {} of {} were given",
                    port.shape.elements(),
                    port.dtype,
                    port.shape,
                    bytes.len() / input.dtype().size(),
                    input.dtype()
                );
                return refuse(format!("input {:?}", port.name), what);
            }
            port.place.set(bytes, arena);
        }
        Ok(())
    }
}

#[cfg(feature = "std")]
fn default_isa() -> Result<Isa> {
    Ok(Isa::from_env()?.unwrap_or_else(Isa::best))
}

#[cfg(not(feature = "std"))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as with std")]
fn default_isa() -> Result<Isa> {
    Ok(Isa::best())
}

/// Shows a value to an observer, without its margin.
fn observe(
    value: ValueId,
    place: Place,
    arena: &[u8],
    observer: &mut dyn FnMut(ValueId, View<'_>),
) {
    let bytes = place.bytes(arena);
    if place.is_dense() {
        return observer(value, view(bytes, place.dtype));
    }
    let Channels { first, count } = place.channels;
    let channels = first..first + count;
    match view(bytes, place.dtype) {
        View::I8(values) => observer(value, View::I8(&place.image.dense_copy(channels, values))),
        View::F32(values) => observer(value, View::F32(&place.image.dense_copy(channels, values))),
    }
}

fn view(bytes: &[u8], dtype: DType) -> View<'_> {
    match dtype {
        DType::I8 => View::I8(bytemuck::cast_slice(bytes)),
        _ => View::F32(bytemuck::cast_slice(bytes)),
    }
}

/// Bytes that begin at a multiple of [`ALIGNMENT`].
struct Buffer {
    bytes: Bytes,
    start: usize,
    len: usize,
}

enum Bytes {
    Owned(Vec<u8>),
    Given(&'static mut [u8]),
}

impl Buffer {
    fn new(len: usize) -> Self {
        Self::aligned(Bytes::Owned(vec![0; Self::room(len)]), len)
    }

    /// Two buffers in memory of the caller's.
    fn split([first, second]: [usize; 2], memory: &'static mut [u8]) -> Result<[Self; 2]> {
        let (needed, given) = (Self::room(first) + Self::room(second), memory.len());
        let parts = memory.split_at_mut_checked(Self::room(first));
        if let Some((front, back)) = parts.filter(|(_, rest)| rest.len() >= Self::room(second)) {
            Ok([
                Self::aligned(Bytes::Given(front), first),
                Self::aligned(Bytes::Given(back), second),
            ])
        } else {
            let what = format!("has {given} bytes; this model needs {needed} of them here");
            Err(Error::new(ErrorKind::Input, "memory", what))
        }
    }

    /// Bytes among which so many begin at a multiple of the alignment.
    fn room(len: usize) -> usize {
        len + ALIGNMENT
    }

    fn aligned(bytes: Bytes, len: usize) -> Self {
        let start = bytes.shared().as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let bytes = match &mut self.bytes {
            Bytes::Owned(bytes) => bytes,
            Bytes::Given(bytes) => &mut **bytes,
        };
        &mut bytes[self.start..][..self.len]
    }

    fn shared(&self) -> &[u8] {
        &self.bytes.shared()[self.start..][..self.len]
    }
}

impl Bytes {
    fn shared(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Given(bytes) => bytes,
        }
    }
}
