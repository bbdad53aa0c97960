//! Export as ONNX (opset 17): float networks as they are, int8 ones with `QuantizeLinear` and
//! `DequantizeLinear` around float operators (QDQ), as ONNX Runtime's and OpenVINO's tools write.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a graph that was checked"
)]

mod attribute;
mod elementwise;
mod grouped;
mod layers;
mod moves;
mod tokens;
mod writer;

use std::collections::BTreeMap;

use hipflask_runtime::graph::{Graph, LoadLimits, Node, Op};
use hipflask_runtime::{DType, Error, ErrorKind, Result as RuntimeResult};
use prost::Message;

use super::proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use crate::error::Result;
pub(super) use writer::CONTRIBUTED;
use writer::Writer;

/// The version of ONNX's operators that is written: the first with `LayerNormalization`.
pub const OPSET: i64 = 17;
/// The version of the file format that came with it.
const IR_VERSION: i64 = 8;
/// Protocol buffers end here.
const MOST_BYTES: usize = i32::MAX as usize;

/// `graph` as the bytes of an ONNX file, with a dynamic batch `N` and images as `[n, c, h, w]`;
/// `metadata` goes along by key.
///
/// Half-precision weights are widened. Linear layers with weights in groups become ONNX Runtime's own
/// `MatMulNBits`, which other runtimes need not know; embeddings with them become f32. Of an int8 graph, weights are int8 along their first axis,
/// biases int32 and activations int8 with their own zero points; inputs and outputs stay float.
///
/// An error names the node that ONNX cannot say: an int8 function whose table is not the one that
/// [`to_int8`](crate::to_int8) makes, or an image whose elements would change their order.
pub fn to_bytes(graph: &Graph, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    graph.check(&LoadLimits::default())?;
    let graph = graph.clone().into_nchw()?;
    let mut writer = Writer::new(&graph);
    for node in &graph.nodes {
        write(&mut writer, node).map_err(|e| e.in_file(&format!("node {:?}", node.name)))?;
    }
    let (proto, contributed) = writer.finish();
    let mut opset_import = vec![OperatorSetIdProto { domain: String::new(), version: OPSET }];
    if contributed {
        opset_import.push(OperatorSetIdProto { domain: CONTRIBUTED.into(), version: 1 });
    }
    let entry = |(key, value): (&String, &String)| StringStringEntryProto {
        key: key.clone(),
        value: value.clone(),
    };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "hipflask".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(proto),
        opset_import,
        metadata_props: metadata.iter().map(entry).collect(),
    };
    let bytes = model.encoded_len();
    if bytes > MOST_BYTES {
        let what = format!("{bytes} bytes; one ONNX file holds at most {MOST_BYTES}");
        return Err(Error::new(ErrorKind::Limit, "graph", what).into());
    }
    Ok(model.encode_to_vec())
}

/// Writes what computes the output of `node`.
fn write(w: &mut Writer<'_>, node: &Node) -> RuntimeResult<()> {
    match node.op {
        Op::Quantize => {
            let x = w.name(node.inputs[0]);
            w.quantize(&node.name, &x, node.output);
            return Ok(());
        }
        Op::Dequantize => {
            let y = w.name(node.output);
            w.dequantize(&node.name, node.inputs[0], &y);
            return Ok(());
        }
        _ => {}
    }
    let inputs: Vec<String> = node.inputs.iter().map(|&id| w.real(id)).collect();
    let int8 = w.graph.value(node.output).dtype == DType::I8;
    let whole = if int8 { w.fresh(&format!("{}.real", node.name)) } else { w.name(node.output) };
    match node.activation {
        None => operation(w, node, &inputs, &whole)?,
        Some(function) => {
            let before = w.fresh(&format!("{}.sum", node.name));
            operation(w, node, &inputs, &before)?;
            let name = format!("{}.{}", node.name, function.name());
            elementwise::function(w, &name, function, &before, &whole);
        }
    }
    if int8 {
        w.quantize(&format!("{}.q", node.name), &whole, node.output);
    }
    Ok(())
}

/// The operation itself, in float: from the values called `x` to the one called `y`.
fn operation(w: &mut Writer<'_>, node: &Node, x: &[String], y: &str) -> RuntimeResult<()> {
    match &node.op {
        Op::Conv2d { .. } => layers::conv(w, node, &x[0], y)?,
        Op::Linear => layers::linear(w, node, &x[0], y)?,
        &Op::LinearGroups { groups } => grouped::linear(w, node, groups, &x[0], y)?,
        Op::BatchNorm { eps } => layers::batch_norm(w, node, *eps, &x[0], y)?,
        Op::LayerNorm { eps } => layers::layer_norm(w, node, *eps, &x[0], y)?,
        Op::Activation { function } => elementwise::activation(w, node, *function, &x[0], y)?,
        Op::Add => w.node("Add", &node.name, x, y, []),
        Op::Mul => w.node("Mul", &node.name, x, y, []),
        Op::Softmax => w.node("Softmax", &node.name, x, y, [attribute::int("axis", 1)]),
        Op::Tokens
        | Op::Embedding
        | Op::EmbeddingGroups { .. }
        | Op::AddPosition
        | Op::Attention { .. }
        | Op::MeanTokens => tokens::write(w, node, x, y)?,
        _ => moves::write(w, node, x, y),
    }
    Ok(())
}
