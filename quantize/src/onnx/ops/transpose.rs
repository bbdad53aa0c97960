//! `Transpose`, where it can be folded away: images that a file keeps as `[n, h, w, c]` stay
//! `[n, c, h, w]` here, and the names of the former become views of the latter.

use hipflask_runtime::Result;
use hipflask_runtime::graph::{Op, ValueId};

use crate::onnx::importer::{Constant, Importer};
use crate::onnx::node::{OnnxNode, unsupported};
use crate::onnx::tensors::Floats;

/// From `[n, c, h, w]` to channels last.
const TO_LAST: [i64; 4] = [0, 2, 3, 1];
/// Back.
pub(super) const TO_FIRST: [i64; 4] = [0, 3, 1, 2];

/// `Transpose` of an image between the two orders, of its rows of pixels to tokens, or of a constant
/// matrix.
pub(super) fn transpose<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    if let Some(constant) = importer.optional_constant(node.required(0)?)? {
        return importer.bind_constant(node, Constant::Floats(matrix(node, constant)?));
    }
    let order = node.ints("perm").unwrap_or_default();
    if let Some(image) = importer.view(node, 0) {
        if order == TO_FIRST {
            return importer.bind(node.output()?, image);
        }
    } else if let Some(image) = importer.planes(node, 0) {
        importer.emit(node, Op::Tokens, &[image], [])?;
        return Ok(());
    } else {
        let x = importer.value(node, 0)?;
        if order == TO_LAST && importer.shape(x).len() == 4 {
            return importer.bind_view(node.output()?, x);
        }
    }
    Err(unsupported(format!(
        "reorders dimensions by {order:?}; only images between [n, c, h, w] and [n, h, w, c], or their \
         pixels to tokens: export in PyTorch's order, without transpositions"
    )))
}

/// What `to` makes of an image that the file sees with channels last.
pub(super) fn view_to_shape<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    image: ValueId,
    to: &[usize],
) -> Result<()> {
    let [_, c, h, w] = importer.shape(image).dims().unwrap_or([1; 4]);
    let pixels = h.saturating_mul(w);
    match to {
        _ if *to == [1, h, w, c] => importer.bind_view(node.output()?, image),
        &[1, features] if Some(features) == pixels.checked_mul(c) => {
            let flat = importer.emit(node, Op::Flatten, &[image], [])?;
            if pixels > 1 && c > 1 {
                importer.note_pixels_flattened(flat, [h, w, c]);
            }
            Ok(())
        }
        _ if *to == [1, pixels, c] => importer.emit(node, Op::Tokens, &[image], []).map(|_| ()),
        _ => Err(unsupported(format!(
            "makes {to:?} of an image [n, h, w, c]; only features or tokens"
        ))),
    }
}

/// A constant matrix with its dimensions exchanged.
fn matrix(node: OnnxNode<'_>, constant: Floats) -> Result<Floats> {
    let order = node.ints("perm").unwrap_or(&[1, 0]);
    let &[rows, columns] = &constant.dims[..] else {
        return Err(unsupported(format!(
            "reorders a constant of shape {:?}; only matrices: fold constants before the export \
             (onnxsim)",
            constant.dims
        )));
    };
    if order != [1, 0] {
        return Ok(constant);
    }
    let column = |c: usize| constant.values.iter().skip(c).step_by(columns.max(1));
    let values = (0..columns).flat_map(column).copied().collect();
    Ok(Floats { dims: vec![columns, rows], values })
}
