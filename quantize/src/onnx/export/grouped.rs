//! Weights in groups: ONNX Runtime's `MatMulNBits`, whose default zero point is the middle of the
//! unsigned integers that it reads.

use hipflask_runtime::graph::Node;
use hipflask_runtime::groups::Groups;
use hipflask_runtime::{Error, ErrorKind, Result, Tensor};

use super::attribute;
use super::writer::Writer;

/// `MatMulNBits`, with a bias that is added.
pub(super) fn linear(
    w: &mut Writer<'_>,
    node: &Node,
    groups: Groups,
    x: &str,
    y: &str,
) -> Result<()> {
    let k = w.graph.value(node.inputs[0]).shape.last().copied().unwrap_or(0);
    let weight = weight(w, node)?;
    let (n, row, count) = (weight.shape()[0], weight.shape()[1], groups.count(k));
    // Blocks are whole: the last one is filled with zero points.
    let blob = groups.size * usize::from(groups.bits) / 8;
    let mut blocks = Vec::with_capacity(n * count * blob);
    for bytes in weight.bytes().chunks(row.max(1)) {
        let start = blocks.len();
        match groups.bits {
            4 => blocks.extend_from_slice(bytes),
            _ => blocks.extend(bytes.iter().map(|byte| byte ^ 0x80)),
        }
        let zero = if groups.bits == 4 { 0x88 } else { 0x80 };
        blocks.resize(start + count * blob, zero);
    }
    let scales = w.graph.f32s(node, "scale")?.into_owned();
    let name = node.tensor_name("weight");
    let weight = w.constant(&name, &Tensor::from_u8([n, count, blob], &blocks));
    let scales = w.constant(&node.tensor_name("scale"), &Tensor::from_f32([n * count], &scales));
    let attributes = [
        attribute::int("K", k as i64),
        attribute::int("N", n as i64),
        attribute::int("bits", groups.bits.into()),
        attribute::int("block_size", groups.size as i64),
    ];
    let Some(bias) = w.weight(node, "bias")? else {
        w.contributed("MatMulNBits", &node.name, &[x, &weight, &scales], y, attributes);
        return Ok(());
    };
    let product = w.fresh(&format!("{}.product", node.name));
    w.contributed("MatMulNBits", &node.name, &[x, &weight, &scales], &product, attributes);
    w.node("Add", &format!("{}.add", node.name), &[&product, &bias], y, []);
    Ok(())
}

/// The weights as f32 `[n, k]`, a constant.
pub(super) fn widened(w: &mut Writer<'_>, node: &Node, groups: Groups) -> Result<String> {
    let (weight, scales) = (weight(w, node)?, w.graph.f32s(node, "scale")?);
    let q = groups.unpack(weight.bytes());
    let (n, k) = (weight.shape()[0], groups.row_len(weight.shape()[1]));
    let rows = q.chunks(k.max(1)).zip(scales.chunks(groups.count(k).max(1)));
    let values: Vec<f32> = rows
        .flat_map(|(q, scales)| {
            let parts = q.chunks(groups.size).zip(scales);
            parts.flat_map(|(q, &scale)| q.iter().map(move |&q| f32::from(q) * scale))
        })
        .collect();
    let name = node.tensor_name("weight");
    Ok(w.constant(&name, &Tensor::from_f32([n, k], &values)))
}

fn weight<'a>(w: &Writer<'a>, node: &Node) -> Result<&'a Tensor> {
    let missing = || Error::new(ErrorKind::Graph, "", "has no weight");
    w.graph.weight(node, "weight").ok_or_else(missing)
}
