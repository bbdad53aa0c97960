//! An int8 network as the source text of a Rust program: for microcontrollers, where loading a file
//! would cost more flash than the network itself.
//!
//! The program calls the kernels of [`hipflask_runtime::compiled`] one after another on an arena that
//! is planned here; weights are constants.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a graph that was checked"
)]

mod golden;
mod node;
mod text;

use std::fmt::Write as _;
use std::ops::Range;

use hipflask_runtime::compiled::{QuantParams, places};
use hipflask_runtime::golden::Golden;
use hipflask_runtime::graph::{Graph, Node, Op, ValueId};
use hipflask_runtime::input::Preprocess;
use hipflask_runtime::{DType, Error, ErrorKind, Model, Result as RuntimeResult};

use crate::error::Result;
use node::Statements;

/// A program, and what it needs.
#[derive(Clone, Debug)]
pub struct Source {
    /// The text of a Rust module.
    pub text: String,
    /// Bytes of all values of an inference.
    pub arena_bytes: usize,
    /// Bytes of weights and tables.
    pub constant_bytes: usize,
}

/// The network of `model` as a Rust module; with `golden` samples it can prove itself.
///
/// Its int8 input is what the network quantizes first. An error names the node that is not int8, or
/// of an operation that has no compiled kernel.
pub fn to_source(model: &Model, golden: Option<&Golden>) -> Result<Source> {
    let network = Network::new(model.graph())?;
    let mut statements = Statements::new(&network);
    for node in &network.graph.nodes {
        statements.node(node).map_err(|e| e.in_file(&format!("node {:?}", node.name)))?;
    }
    let (constants, steps, mut constant_bytes) = statements.finish();
    let mut text = head(model, &network);
    text += &pixels(model, &network);
    text += &run(&network, &steps);
    text += &constants;
    if let Some(golden) = golden {
        let (golden, bytes) = golden::module(golden, model, &network)?;
        text += &golden;
        constant_bytes += bytes;
    }
    Ok(Source { text, arena_bytes: network.arena_bytes, constant_bytes })
}

/// The int8 part of a network behind the quantization of its input, and where its values lie.
struct Network {
    graph: Graph,
    /// Of the int8 input.
    input_params: QuantParams,
    input: ValueId,
    output: ValueId,
    places: Vec<Range<usize>>,
    arena_bytes: usize,
}

impl Network {
    fn new(graph: &Graph) -> RuntimeResult<Self> {
        let ([_], [output]) = (&graph.inputs[..], &graph.outputs[..]) else {
            let what =
                "a compiled network has one input and one output: load the model file instead";
            return Err(Error::new(ErrorKind::Unsupported, "graph", what));
        };
        let output = *output;
        let mut graph = graph.clone();
        // Where an input is int8 already, there is nothing to leave out.
        while graph.value(graph.inputs[0]).dtype != DType::I8 {
            let is_next = |node: &Node| {
                node.inputs[..] == graph.inputs[..]
                    && matches!(node.op, Op::Quantize | Op::Reshape { .. } | Op::Flatten)
            };
            if !graph.nodes.first().is_some_and(is_next)
                || graph.use_counts()[graph.inputs[0].0] != 1
            {
                let what = "begins with real numbers: only int8 networks are compiled: quantize it \
                            with hipflask quantize, or load the model file instead";
                return Err(Error::new(ErrorKind::Unsupported, "graph", what));
            }
            let node = graph.nodes.remove(0);
            graph.inputs = vec![node.output];
        }
        let input = graph.inputs[0];
        let Some(input_params) = graph.value(input).quant else {
            let what = "is int8 without a scale";
            return Err(Error::new(ErrorKind::Graph, "input", what));
        };
        let (places, arena_bytes) = places(&graph);
        Ok(Self { graph, input_params, input, output, places, arena_bytes })
    }

    fn elements(&self, id: ValueId) -> usize {
        self.graph.value(id).shape.elements()
    }

    fn place(&self, id: ValueId) -> &Range<usize> {
        &self.places[id.0]
    }
}

/// Up to the constants that say sizes.
fn head(model: &Model, network: &Network) -> String {
    let Network { graph, input, output, arena_bytes, input_params, .. } = network;
    let (inputs, outputs) = (network.elements(*input), network.elements(*output));
    let (from, to) = (graph.value(*input), graph.value(*output));
    let labels: Vec<String> = model.card().labels.iter().map(|label| text::string(label)).collect();
    let answers = if to.dtype == DType::I8 { "i8" } else { "f32" };
    format!(
        "\
//! The network `{name}` as a program, made by hipflask {version}: do not edit.
//!
//! From {inputs} int8 values {from_shape} to {outputs} of {answers} {to_shape}; its bits are those of
//! the model file.
#![allow(unused_imports, clippy::all, clippy::pedantic)]

use hipflask_runtime::compiled::*;

/// Bytes of all values of an inference.
pub const ARENA: usize = {arena_bytes};
/// Values of an input.
pub const INPUT: usize = {inputs};
/// Values of an output.
pub const OUTPUT: usize = {outputs};
/// Scale and zero point of the input: `quantize` of these gives it from real numbers.
pub const INPUT_PARAMS: QuantParams = {params};
/// Names of the classes; empty where the model has none.
pub const LABELS: [&str; {label_count}] = [{labels}];
",
        name = text::comment(&graph.name),
        version = env!("CARGO_PKG_VERSION"),
        from_shape = from.shape,
        to_shape = to.shape,
        params = text::params(*input_params),
        label_count = labels.len(),
        labels = labels.join(", "),
    )
}

/// Bytes of an image straight to the int8 input, where the model says how they become real numbers.
fn pixels(model: &Model, network: &Network) -> String {
    // Of the image itself: the int8 input may be a row of its pixels.
    let graph = model.graph();
    let image = graph.inputs.first().and_then(|&id| graph.layout.image(&graph.value(id).shape));
    let (Some(Preprocess::Image(rule)), Some([_, _, channels])) = (model.preprocess(), image)
    else {
        return String::new();
    };
    let tables = (0..channels).map(|channel| {
        let table = rule.table(channel).map(|value| network.input_params.quantize(value));
        format!("    {},\n", text::array(&table))
    });
    format!(
        "
/// What each byte of an image becomes, a table a channel.
pub static PIXELS: [[i8; 256]; {channels}] = [
{tables}];

/// The input from the bytes of an image, `[h, w, c]`.
pub fn input_of_pixels(pixels: &[u8; INPUT], input: &mut [i8; INPUT]) {{
    for (input, pixel) in input.chunks_exact_mut({channels}).zip(pixels.chunks_exact({channels})) {{
        for ((input, &pixel), table) in input.iter_mut().zip(pixel).zip(&PIXELS) {{
            *input = table[usize::from(pixel)];
        }}
    }}
}}
",
        tables = tables.collect::<String>()
    )
}

/// The functions that compute.
fn run(network: &Network, steps: &str) -> String {
    let (input, output) = (network.place(network.input), network.place(network.output));
    let (answer, cast) = match network.graph.value(network.output).dtype {
        DType::I8 => ("i8", "i8s"),
        _ => ("f32", "f32s"),
    };
    let mut text = format!(
        "
/// Computes the answers to `input`.
pub fn run(arena: &mut Arena<ARENA>, input: &[i8; INPUT], output: &mut [{answer}; OUTPUT]) {{
    steps(&mut arena.0, input, |_, _| {{}});
    output.copy_from_slice({cast}(&arena.0[{output:?}]));
}}

/// Computes all values; `after` is given the number and the bytes of each.
fn steps(arena: &mut [u8], input: &[i8], mut after: impl FnMut(usize, &[u8])) {{
    i8s_mut(&mut arena[{input:?}]).copy_from_slice(input);
    after(0, &arena[{input:?}]);
"
    );
    let _ = writeln!(text, "{steps}}}");
    text
}
