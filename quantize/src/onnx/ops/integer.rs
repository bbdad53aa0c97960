//! Nodes that compute with shapes: they are evaluated here, and leave only constants.

use hipflask_runtime::Result;

use super::elementwise::axis;
use crate::onnx::importer::{Constant, Importer};
use crate::onnx::integers::{Ints, sliced};
use crate::onnx::node::{OnnxNode, fault, unsupported};

/// Inputs of a node of integers; those of a shape are at most its dimensions.
const MOST_INPUTS: usize = 64;

/// Evaluates a node all of whose inputs are constant integers, or `Shape`; says whether it was one.
pub(super) fn fold<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<bool> {
    let result = match node.op() {
        "Shape" if !node.has("start") && !node.has("end") => {
            let shape = importer.shape(importer.value(node, 0)?).iter();
            Ints::list(shape.map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect())
        }
        "Concat" | "ConstantOfShape" | "Gather" | "Slice" | "Reshape" | "Transpose" | "Squeeze"
        | "Unsqueeze" | "Cast"
            if node.proto.input.len() <= MOST_INPUTS =>
        {
            let names = node.proto.input.iter().filter(|name| !name.is_empty());
            let inputs: Option<Vec<Ints>> = names.map(|name| importer.integers(name)).collect();
            match inputs {
                Some(inputs) if !inputs.is_empty() => evaluate(importer.opset, node, &inputs)?,
                _ => return Ok(false),
            }
        }
        _ => return Ok(false),
    };
    importer.bind_constant(node, Constant::Ints(result))?;
    Ok(true)
}

fn evaluate(opset: i64, node: OnnxNode<'_>, inputs: &[Ints]) -> Result<Ints> {
    let x = inputs.first().ok_or_else(|| fault("has no input"))?;
    let rank = x.dims.len();
    match node.op() {
        "Cast" => Ok(x.clone()),
        "Concat" => Ints::concat(inputs, axis(node.int("axis", 0), rank)?),
        "ConstantOfShape" => {
            let dims = x.values.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>();
            let value = node.tensor("value").map_or(Some(0), |tensor| {
                // One element, in either of the two places for it.
                let raw = tensor.raw_data.first_chunk().map(|&b| i64::from_le_bytes(b));
                raw.or_else(|| tensor.int64_data.first().copied())
            });
            match (dims, value) {
                (Some(dims), Some(value)) => Ints::filled(dims, value),
                _ => Err(unsupported("makes something else than integers of a known shape")),
            }
        }
        "Gather" => {
            let along = axis(node.int("axis", 0), rank)?;
            let indices = inputs.get(1).ok_or_else(|| fault("input 1 is missing"))?;
            let size = x.dims.get(along).copied().unwrap_or(0);
            let chosen: Result<Vec<usize>> =
                indices.values.iter().map(|&i| axis(i, size)).collect();
            let mut result = x.select(along, &chosen?)?;
            if indices.dims.is_empty() {
                result.dims.remove(along);
            }
            Ok(result)
        }
        "Slice" => slice(opset, x, inputs),
        "Reshape" => {
            let wanted = inputs.get(1).ok_or_else(|| fault("input 1 is missing"))?;
            let dims = super::shape::resolve(&wanted.values, &x.dims, false);
            let dims = dims
                .ok_or_else(|| fault(format!("cannot make {:?} of {:?}", wanted.values, x.dims)))?;
            Ints::new(dims, x.values.clone())
        }
        "Transpose" => x.transposed(),
        // Between a number and a list of one; all else about shapes is in lists.
        "Squeeze" if x.values.len() == 1 => Ints::new(vec![], x.values.clone()),
        "Unsqueeze" if x.values.len() == 1 => Ints::new(vec![1], x.values.clone()),
        other => Err(unsupported(format!("{other} of integers of shape {:?}", x.dims))),
    }
}

fn slice(opset: i64, x: &Ints, inputs: &[Ints]) -> Result<Ints> {
    let (Some(starts), Some(ends)) = (inputs.get(1), inputs.get(2)) else {
        return Err(unsupported(format!("slices integers by attributes in opset {opset}")));
    };
    let mut result = x.clone();
    for (i, (&start, &end)) in starts.values.iter().zip(&ends.values).enumerate() {
        let listed = |input: usize, otherwise: i64| {
            inputs.get(input).map_or(Some(otherwise), |list| list.values.get(i).copied())
        };
        let (Some(along), Some(step)) = (listed(3, i64::try_from(i).unwrap_or(0)), listed(4, 1))
        else {
            return Err(fault("starts, ends, axes and steps differ in length"));
        };
        let along = axis(along, result.dims.len())?;
        let size = result.dims.get(along).copied().unwrap_or(0);
        let indices = sliced(size, start, end, step).ok_or_else(|| fault("a step of 0"))?;
        result = result.select(along, &indices)?;
    }
    Ok(result)
}
