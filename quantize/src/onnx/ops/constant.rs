//! Constants among the nodes.

use hipflask_runtime::Result;

use crate::onnx::importer::{Constant, Importer};
use crate::onnx::integers::Ints;
use crate::onnx::node::{OnnxNode, unsupported};
use crate::onnx::tensors::Floats;

/// `Constant`
pub(super) fn constant<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let constant = if let Some(tensor) = node.tensor("value") {
        Constant::Stored(tensor)
    } else if let Some(values) = node.floats("value_floats") {
        Constant::Floats(Floats { dims: vec![values.len()], values: values.to_vec() })
    } else if node.has("value_float") {
        Constant::Floats(Floats { dims: vec![], values: vec![node.float("value_float", 0.0)] })
    } else if let Some(values) = node.ints("value_ints") {
        Constant::Ints(Ints::list(values.to_vec()))
    } else if node.has("value_int") {
        Constant::Ints(Ints { dims: vec![], values: vec![node.int("value_int", 0)] })
    } else {
        return Err(unsupported("only constants of floats and integers are supported"));
    };
    importer.bind_constant(node, constant)
}
