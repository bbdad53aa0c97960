//! Parts of values: `Slice` and `Split`.

use hipflask_runtime::Result;
use hipflask_runtime::graph::{Op, ValueId};

use super::elementwise::axis;
use crate::onnx::importer::Importer;
use crate::onnx::node::{OnnxNode, fault, unsupported};

/// `Slice` of a range, or of every second (third, …) row or column of an image, which is a pool of
/// single pixels; the bounds are attributes before opset 10.
pub(super) fn slice<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let mut x = importer.value(node, 0)?;
    let shape = importer.shape(x).to_vec();
    let mut listed = Vec::with_capacity(4);
    for (index, name) in (1..).zip(["starts", "ends", "axes", "steps"]) {
        listed.push(match importer.opset {
            ..10 => node.ints(name).map(<[i64]>::to_vec),
            _ => importer.ints(node, index)?,
        });
    }
    let [Some(starts), Some(ends), axes, steps] = &listed[..] else {
        return Err(fault("has no starts or no ends"));
    };
    let mut stride = [1, 1];
    let mut parts: Vec<Op> = Vec::new();
    for (i, (&start, &end)) in starts.iter().zip(ends).enumerate() {
        let get = |list: &Option<Vec<i64>>, otherwise: i64| {
            list.as_ref().map_or(Some(otherwise), |list| list.get(i).copied())
        };
        let (Some(along), Some(step)) = (get(axes, i64::try_from(i).unwrap_or(0)), get(steps, 1))
        else {
            return Err(fault("starts, ends, axes and steps differ in length"));
        };
        let along = axis(along, shape.len())?;
        let size = shape.get(along).copied().unwrap_or(0);
        let (start, end) = bounds(size, start, end);
        let [rows, columns] = &mut stride;
        match (usize::try_from(step).unwrap_or(0), along) {
            (1, _) if (start, end) == (0, size) => {}
            (1, _) if along > 0 => parts.push(Op::Slice { axis: along, start, end }),
            (step @ 2.., 2) if shape.len() == 4 && (start, end) == (0, size) => *rows = step,
            (step @ 2.., 3) if shape.len() == 4 && (start, end) == (0, size) => *columns = step,
            _ => {
                return Err(unsupported(format!(
                    "takes {start} to {end} by {step} of dimension {along} of {shape:?}; only ranges \
                     behind the batch, and steps over the whole height and width, are supported"
                )));
            }
        }
    }
    if stride != [1, 1] {
        parts.push(Op::MaxPool2d { kernel: [1, 1], stride, padding: [0; 4] });
    }
    let Some(last) = parts.pop() else { return importer.bind(node.output()?, x) };
    for (i, part) in parts.into_iter().enumerate() {
        x = importer.emit_part(&format!("{}.part{i}", node.name()), part, &[x], [])?;
    }
    importer.emit(node, last, &[x], [])?;
    Ok(())
}

/// Begin and end within `0..size`; negative ones count from the end.
fn bounds(size: usize, start: i64, end: i64) -> (usize, usize) {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let within = |at: i64| {
        let at = if at < 0 { at.saturating_add(size) } else { at };
        usize::try_from(at.clamp(0, size)).unwrap_or(0)
    };
    (within(start), within(end))
}

/// `Split` into parts one after the other; their sizes are an attribute before opset 13.
pub(super) fn split<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let shape = importer.shape(x).to_vec();
    let along = axis(node.int("axis", 0), shape.len())?;
    let size = shape.get(along).copied().unwrap_or(0);
    let outputs = &node.proto.output;
    let listed = match importer.opset {
        ..13 => node.ints("split").map(<[i64]>::to_vec),
        _ => importer.ints(node, 1)?,
    };
    let sizes: Vec<usize> = if let Some(sizes) = listed {
        sizes.iter().map(|&s| usize::try_from(s).unwrap_or(0)).collect()
    } else {
        // The last may be smaller.
        let each = size.div_ceil(outputs.len().max(1));
        let left = |i: usize| size.saturating_sub(i.saturating_mul(each)).min(each);
        (0..outputs.len()).map(left).collect()
    };
    let total = sizes.iter().try_fold(0_usize, |n, &s| n.checked_add(s));
    if total != Some(size) || sizes.len() != outputs.len() {
        return Err(fault(format!("splits {size} into {sizes:?} and {} outputs", outputs.len())));
    }
    let mut start = 0_usize;
    for (i, (output, &part)) in outputs.iter().zip(&sizes).enumerate() {
        let end = start.saturating_add(part);
        let name = format!("{}.part{i}", node.name());
        let id: ValueId =
            importer.emit_part(&name, Op::Slice { axis: along, start, end }, &[x], [])?;
        importer.bind(output, id)?;
        start = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn bounds_count_from_the_end_and_stay_within() {
        assert_eq!(bounds(8, 2, 5), (2, 5));
        assert_eq!(bounds(8, -3, i64::MAX), (5, 8));
        assert_eq!(bounds(8, i64::MIN, -1), (0, 7));
        assert_eq!(bounds(8, 9, 12), (8, 8));
    }
}
