//! Golden samples as constants of the program.

use hipflask_runtime::golden::Golden;
use hipflask_runtime::{DType, Error, ErrorKind, Model, Result};

use super::{Network, text};

/// The text of the samples and of the function that verifies them, and their bytes.
pub(super) fn module(golden: &Golden, model: &Model, network: &Network) -> Result<(String, usize)> {
    let refused = |what: &str| Err(Error::new(ErrorKind::Mismatch, "golden samples", what));
    if !golden.is_of(model) {
        return refused("were recorded with another model: use the golden file of the same bundle");
    }
    let (input, output) = (network.elements(network.input), network.elements(network.output));
    let fits = |rows: &[Vec<f32>], len: usize| rows.iter().all(|row| row.len() == len);
    if !fits(&golden.inputs, input) || !fits(&golden.outputs, output) {
        return refused("have other sizes than the network");
    }
    let inputs: Vec<u8> = golden
        .inputs
        .iter()
        .flatten()
        .map(|&value| network.input_params.quantize(value).cast_unsigned())
        .collect();
    let answers = golden.outputs.iter().flatten();
    let outputs: Vec<u8> = match network.graph.value(network.output).dtype {
        // They were widened when they were recorded.
        DType::I8 => answers.map(|&value| (value as i8).cast_unsigned()).collect(),
        _ => answers.flat_map(|value| value.to_le_bytes()).collect(),
    };
    let output_bytes = outputs.len() / golden.outputs.len().max(1);
    let values = std::iter::once(network.input).chain(network.graph.nodes.iter().map(|n| n.output));
    let mut rows = String::new();
    let mut count = 0;
    for id in values {
        let name = &network.graph.value(id).name;
        let recorded = golden.digests().iter().find(|(of, _)| of == name);
        let digest = recorded.and_then(|(_, digest)| u64::from_str_radix(digest, 16).ok());
        let digest = digest.map_or("None".into(), |digest| format!("Some({digest:#018x})"));
        rows += &format!("        ({}, {digest}),\n", text::string(name));
        count += 1;
    }
    let place = network.place(network.output);
    let text = format!(
        "
/// Recorded samples with the exact answers.
pub static GOLDEN: Golden = Golden {{
    inputs: {inputs_text},
    outputs: {outputs_text},
    sizes: ({input}, {output_bytes}),
    values: &[
{rows}    ],
}};

/// Whether the samples' bits are those that were recorded.
pub fn verify(arena: &mut Arena<ARENA>) -> Verdict {{
    GOLDEN.verify::<{count}>(&mut arena.0, {place:?}, |arena, input, after| steps(arena, input, after))
}}
",
        inputs_text = text::bytes(&inputs),
        outputs_text = text::bytes(&outputs),
    );
    Ok((text, inputs.len() + outputs.len()))
}
