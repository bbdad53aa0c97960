//! Changes of shape, and nodes that pass their input on.

use hipflask_runtime::Result;
use hipflask_runtime::graph::Op;

use super::elementwise::axis;
use super::transpose;
use crate::onnx::importer::{Constant, Importer};
use crate::onnx::node::{OnnxNode, fault, unsupported};
use crate::onnx::tensors::{Floats, data_type};

/// `Flatten` behind the batch.
pub(super) fn flatten<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let shape = match importer.view(node, 0) {
        Some(image) => importer.shape(image),
        None => importer.shape(importer.value(node, 0)?),
    };
    if axis(node.int("axis", 1), shape.len())? != 1 {
        return Err(unsupported("only axis = 1, which keeps the batch, is supported"));
    }
    let features = shape.elements();
    to_shape(importer, node, &[1, features])
}

/// `Reshape` of a value or a constant to a constant shape.
pub(super) fn reshape<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let wanted = match importer.opset {
        ..5 => node.ints("shape").map(<[i64]>::to_vec),
        _ => importer.ints(node, 1)?,
    };
    let wanted = wanted.ok_or_else(|| fault("input 1, the shape, is missing"))?;
    let literal = node.int("allowzero", 0) != 0;
    let resolved = |from: &[usize]| {
        resolve(&wanted, from, literal).ok_or_else(|| {
            fault(format!("cannot make {wanted:?} of a value with the shape {from:?}"))
        })
    };
    if let Some(constant) = importer.optional_constant(node.required(0)?)? {
        let dims = resolved(&constant.dims)?;
        return importer.bind_constant(node, Constant::Floats(Floats { dims, ..constant }));
    }
    let from = match importer.view(node, 0) {
        Some(image) => {
            // As ONNX has it, channels last.
            let [n, c, h, w] = importer.shape(image).dims().unwrap_or([1; 4]);
            vec![n, h, w, c]
        }
        None => importer.shape(importer.value(node, 0)?).to_vec(),
    };
    let shape = resolved(&from)?;
    to_shape(importer, node, &shape)
}

/// `Cast` between floats, which changes nothing here.
pub(super) fn cast<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let to = i32::try_from(node.int("to", 0)).unwrap_or(0);
    if matches!(to, data_type::FLOAT | data_type::FLOAT16 | data_type::DOUBLE | data_type::BFLOAT16)
    {
        return same(importer, node);
    }
    Err(unsupported(format!("casts to ONNX's type {to}; only between floats is supported")))
}

/// `Squeeze`; the dimensions are an attribute before opset 13.
pub(super) fn squeeze<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let from = importer.shape(x).to_vec();
    let dropped: Vec<usize> = match axes(importer, node)? {
        Some(axes) => axes.iter().map(|&a| axis(a, from.len())).collect::<Result<_>>()?,
        None => (0..from.len()).filter(|&i| from.get(i) == Some(&1)).collect(),
    };
    if dropped.iter().any(|&i| from.get(i) != Some(&1)) {
        return Err(fault(format!("dimensions {dropped:?} of {from:?} are not all 1")));
    }
    let kept = from.iter().enumerate().filter(|(i, _)| !dropped.contains(i));
    let shape: Vec<usize> = kept.map(|(_, &size)| size).collect();
    to_shape(importer, node, &shape)
}

/// `Unsqueeze`; the dimensions are an attribute before opset 13.
pub(super) fn unsqueeze<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let mut shape = importer.shape(x).to_vec();
    let listed = axes(importer, node)?.unwrap_or_default();
    let rank = shape.len().saturating_add(listed.len());
    let mut added: Vec<usize> = listed.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?;
    added.sort_unstable();
    for at in added {
        if at > shape.len() {
            return Err(fault(format!("dimensions {listed:?} are beyond the shape")));
        }
        shape.insert(at, 1);
    }
    to_shape(importer, node, &shape)
}

/// `Identity`, and `Dropout` as in evaluation.
pub(super) fn same<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    if importer.pass_constant(node)? {
        return Ok(());
    }
    let x = importer.value(node, 0)?;
    importer.bind(node.output()?, x)
}

/// Gives `node`'s input the shape `to`: nothing where it has it, `Flatten` where it is
/// `[1, features]`, `Reshape` else.
fn to_shape<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>, to: &[usize]) -> Result<()> {
    if let Some(image) = importer.view(node, 0) {
        return transpose::view_to_shape(importer, node, image, to);
    }
    let x = importer.value(node, 0)?;
    let from = importer.shape(x);
    if from[..] == *to {
        return importer.bind(node.output()?, x);
    }
    let op = match to {
        &[1, features] if features == from.elements() => Op::Flatten,
        [1, _, ..] if to.len() <= 4 => Op::Reshape { shape: to.to_vec() },
        _ => {
            return Err(unsupported(format!(
                "makes {to:?} of {from}; only shapes that begin with the batch of 1, of at most 4 \
                 dimensions, are supported"
            )));
        }
    };
    let planes = from.dims::<4>().is_some_and(|[n, c, h, w]| *to == [n, c, h.saturating_mul(w)]);
    if planes && importer.bind_planes(node, x)? {
        return Ok(());
    }
    importer.emit(node, op, &[x], [])?;
    Ok(())
}

fn axes<'a>(importer: &Importer<'a>, node: OnnxNode<'a>) -> Result<Option<Vec<i64>>> {
    match importer.opset {
        ..13 => Ok(node.ints("axes").map(<[i64]>::to_vec)),
        _ => importer.ints(node, 1),
    }
}

/// The shape that `wanted` asks of a value with the shape `from`: 0 copies a dimension (unless
/// `literal`), -1 is what is left.
pub(super) fn resolve(wanted: &[i64], from: &[usize], literal: bool) -> Option<Vec<usize>> {
    let elements = from.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))?;
    let mut shape = Vec::with_capacity(wanted.len());
    let mut known = 1_usize;
    let mut open = None;
    for (i, &size) in wanted.iter().enumerate() {
        let size = match size {
            -1 if open.is_none() => {
                open = Some(i);
                1
            }
            0 if !literal => *from.get(i)?,
            size => usize::try_from(size).ok()?,
        };
        known = known.checked_mul(size)?;
        shape.push(size);
    }
    if let Some(size) = open.and_then(|i| shape.get_mut(i)) {
        *size = elements.checked_div(known)?;
        known = known.checked_mul(*size)?;
    }
    (known == elements).then_some(shape)
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn shapes_are_resolved_as_onnx_says() {
        let from = [1, 6, 2, 2];
        assert_eq!(resolve(&[1, 24], &from, false), Some(vec![1, 24]));
        assert_eq!(resolve(&[-1, 24], &from, false), Some(vec![1, 24]));
        assert_eq!(resolve(&[0, -1], &from, false), Some(vec![1, 24]));
        assert_eq!(resolve(&[0, -1], &from, true), None);
        assert_eq!(resolve(&[-1, -1], &from, false), None);
        assert_eq!(resolve(&[5, -1], &from, false), None);
        assert_eq!(resolve(&[1, 25], &from, false), None);
        assert_eq!(resolve(&[i64::MAX, i64::MAX], &from, false), None);
        assert_eq!(resolve(&[0, 0, 0, 0, 0], &from, false), None);
    }
}
