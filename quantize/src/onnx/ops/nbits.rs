//! ONNX Runtime's `MatMulNBits`: a linear layer whose weights are 4 or 8-bit integers in blocks.

use hipflask_runtime::Result;

use super::linear::{Parts, linear};
use crate::onnx::importer::{Constant, Importer};
use crate::onnx::node::{OnnxNode, fault, unsupported};
use crate::onnx::tensors::Floats;
use crate::onnx::tensors::data_type::UINT8;

/// `x · ((B - zero point) · scale)ᵀ + bias`, with the weights as floats: `quantize` makes groups of
/// them again.
pub(super) fn mat_mul<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    let x = importer.value(node, 0)?;
    let size = |name: &str, least: usize| {
        let size = usize::try_from(node.int(name, 0)).ok().filter(|&size| size >= least);
        size.ok_or_else(|| fault(format!("{name} = {} is too small", node.int(name, 0))))
    };
    let (k, n, block) = (size("K", 1)?, size("N", 1)?, size("block_size", 16)?);
    let bits = match node.int("bits", 4) {
        bits @ (4 | 8) => bits as usize,
        bits => return Err(unsupported(format!("weights of {bits} bits; only 4 and 8"))),
    };
    if node.input(4).is_some() {
        return Err(unsupported(
            "g_idx, an order of its own; quantize without it (desc_act = false)",
        ));
    }
    let blocks = k.div_ceil(block);
    let stored = unpacked(bytes(importer, node, 1)?, bits);
    let scales = importer.floats(node, 2)?.values;
    let zeros = match node.input(3) {
        Some(_) => unpacked(bytes(importer, node, 3)?, bits),
        None => Vec::new(),
    };
    // A row of zero points ends with a whole byte.
    let zeros_row = if bits == 4 { blocks.next_multiple_of(2) } else { blocks };
    let count = |rows: usize, columns: usize| rows.checked_mul(columns);
    let row = count(blocks, block).filter(|_| count(n, k).is_some());
    let Some(row) = row.filter(|&row| count(n, row) == Some(stored.len())) else {
        return Err(fault(format!("{} weights for N = {n} and K = {k}", stored.len())));
    };
    if count(n, blocks) != Some(scales.len())
        || !zeros.is_empty() && count(n, zeros_row) != Some(zeros.len())
    {
        return Err(fault(format!("{} scales for N = {n} and {blocks} blocks", scales.len())));
    }
    let middle = 1_u8 << bits.saturating_sub(1);
    let mut values = Vec::with_capacity(n.saturating_mul(k));
    for (i, (row, scales)) in stored.chunks(row).zip(scales.chunks(blocks)).enumerate() {
        let zeros = zeros.chunks(zeros_row).nth(i).unwrap_or_default();
        let blocks = row.chunks(block).zip(scales).enumerate();
        let weights = blocks.flat_map(|(b, (stored, &scale))| {
            let zero = i16::from(zeros.get(b).copied().unwrap_or(middle));
            stored.iter().map(move |&q| f32::from(i16::from(q).saturating_sub(zero)) * scale)
        });
        values.extend(weights.take(k));
    }
    let bias = importer.optional_floats(node, 5)?.map(|bias| bias.values);
    if bias.as_ref().is_some_and(|bias| bias.len() != n) {
        return Err(fault(format!("the bias has not {n} elements")));
    }
    let weight = Floats { dims: vec![n, k], values };
    linear(importer, node, x, Parts { weight, bias, layer: None })
}

/// The bytes of input `index`, which must be a constant of the file.
fn bytes<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>, index: usize) -> Result<Vec<u8>> {
    let name = node.required(index)?;
    let tensor = match importer.constant(name) {
        Some(Constant::Stored(tensor)) if tensor.data_type == UINT8 => *tensor,
        _ => return Err(unsupported(format!("input {index} ({name:?}) is no constant of uint8"))),
    };
    let values = importer.small_ints(tensor)?;
    let bytes: Option<Vec<u8>> = values.into_iter().map(|v| u8::try_from(v).ok()).collect();
    bytes.ok_or_else(|| fault(format!("input {index} ({name:?}) has elements beyond uint8")))
}

/// Integers of 8 bits as they are, of 4 bits two a byte, the first in its lower half.
fn unpacked(bytes: Vec<u8>, bits: usize) -> Vec<u8> {
    if bits == 8 { bytes } else { bytes.into_iter().flat_map(|b| [b & 15, b >> 4]).collect() }
}
