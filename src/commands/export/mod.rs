//! `export`: writes a model as ONNX for other runtimes, or as a Rust program.

mod source;

use std::io::Write;

use anyhow::{Context, Result, bail};
use hipflask_quantize::onnx::OPSET;
use hipflask_runtime::graph::{Graph, Layout, ValueId};
use hipflask_runtime::{DType, Shape};
use serde::Serialize;

use super::print_json;
use crate::args::{Common, ExportArgs};
use crate::files::write;
use crate::open;
use crate::outcome::Outcome;

#[derive(Serialize)]
struct Document {
    file: String,
    bytes: usize,
    /// `float`, `qdq` or `nbits`
    format: &'static str,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// A value given or taken by the caller, whose batch may be of any size.
#[derive(Serialize)]
struct Port {
    name: String,
    /// Behind the batch, `[c, h, w]` for images.
    shape: Vec<usize>,
}

/// Runs the command.
pub fn run(args: &ExportArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let model = open::model_file(&args.model)?;
    let name = args.model.display().to_string();
    let path = args.out.clone().unwrap_or_else(|| args.model.with_extension("onnx"));
    if path.extension().is_some_and(|extension| extension == "rs") {
        return source::write(args, &path, *common, out);
    }
    if args.golden.is_some() {
        bail!("--golden: only a Rust program (--out NAME.rs) holds golden samples");
    }
    if path == args.model {
        bail!("{name}: is ONNX already: give another name with --out");
    }
    let bytes = open::to_onnx(&model).with_context(|| format!("{name}: cannot be exported"))?;
    write(&path, &bytes)?;
    let int8 = model.graph.values.iter().any(|value| value.dtype == DType::I8);
    let grouped = model.graph.nodes.iter().any(|node| node.op.groups().is_some());
    let ports = |ids: &[ValueId]| ids.iter().map(|&id| Port::new(&model.graph, id)).collect();
    let document = Document {
        file: path.display().to_string(),
        bytes: bytes.len(),
        format: match (int8, grouped) {
            (true, _) => "qdq",
            (_, true) => "nbits",
            _ => "float",
        },
        inputs: ports(&model.graph.inputs),
        outputs: ports(&model.graph.outputs),
    };
    if common.json {
        print_json(out, &document)?;
        return Ok(Outcome::Done);
    }
    let Document { file, bytes, inputs, outputs, .. } = &document;
    let kind = match document.format {
        "qdq" => "int8 as QDQ",
        "nbits" => "weights in groups as ONNX Runtime's MatMulNBits",
        _ => "float",
    };
    writeln!(out, "{file}: {bytes} bytes, {kind}, opset {OPSET}")?;
    for (what, ports) in [("input", inputs), ("output", outputs)] {
        for Port { name, shape } in ports {
            let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
            writeln!(out, "{what:<8}{name} [N, {}]", sizes.join(", "))?;
        }
    }
    Ok(Outcome::Done)
}

impl Port {
    fn new(graph: &Graph, id: ValueId) -> Self {
        let value = graph.value(id);
        let shape = match graph.layout.image(&value.shape) {
            Some(image) => Layout::Nchw.shape(image),
            None => Shape::from(&value.shape[..]),
        };
        Self { name: value.name.clone(), shape: shape[1..].to_vec() }
    }
}
