//! Pools, and what only moves or joins elements.

use hipflask_runtime::graph::{Node, Op};

use super::attribute;
use super::writer::Writer;

/// Writes one of these.
pub(super) fn write(w: &mut Writer<'_>, node: &Node, x: &[String], y: &str) {
    let window = |kernel: &[usize], stride: &[usize], padding: &[usize]| {
        [("kernel_shape", kernel), ("strides", stride), ("pads", padding)]
            .map(|(name, sizes)| attribute::sizes(name, sizes))
    };
    match &node.op {
        Op::MaxPool2d { kernel, stride, padding } => {
            w.node("MaxPool", &node.name, x, y, window(kernel, stride, padding));
        }
        Op::AvgPool2d { kernel, stride, padding, count_include_pad } => {
            let counted = attribute::int("count_include_pad", i64::from(*count_include_pad));
            let window = window(kernel, stride, padding).into_iter().chain([counted]);
            w.node("AveragePool", &node.name, x, y, window);
        }
        Op::GlobalAvgPool => w.node("GlobalAveragePool", &node.name, x, y, []),
        Op::Flatten => w.node("Flatten", &node.name, x, y, [attribute::int("axis", 1)]),
        Op::Reshape { shape } => reshape(w, node, &node.name, &x[0], y, &shape[1..]),
        Op::Concat { axis } => {
            w.node("Concat", &node.name, x, y, [attribute::int("axis", *axis as i64)]);
        }
        Op::Slice { axis, start, end } => {
            let mut inputs = vec![x[0].clone()];
            for (part, value) in [("starts", start), ("ends", end), ("axes", axis)] {
                inputs.push(w.ints(&format!("{}.{part}", node.name), &[*value as i64]));
            }
            w.node("Slice", &node.name, &inputs, y, []);
        }
        Op::ChannelShuffle { groups } => {
            let Some([_, c, h, wide]) = w.graph.value(node.inputs[0]).shape.dims::<4>() else {
                return;
            };
            let grouped = w.fresh(&format!("{}.groups", node.name));
            let split = [*groups, c / groups, h, wide];
            reshape(w, node, &grouped.clone(), &x[0], &grouped, &split);
            let order = attribute::sizes("perm", &[0, 2, 1, 3, 4]);
            let turned = w.step("Transpose", node, "turns", &[grouped], [order]);
            reshape(w, node, &node.name, &turned, y, &[c, h, wide]);
        }
        Op::Pad { padding: [top, left, bottom, right] } => {
            pad(w, node, x, y, [0, 0, *top, *left, 0, 0, *bottom, *right]);
        }
        Op::PadChannels { before, after } => {
            pad(w, node, x, y, [0, *before, 0, 0, 0, *after, 0, 0]);
        }
        other => unreachable!("{} is written elsewhere", other.name()),
    }
}

/// `Reshape` to `[n, rest]` with the batch as it is.
pub(super) fn reshape(
    w: &mut Writer<'_>,
    node: &Node,
    name: &str,
    x: &str,
    y: &str,
    rest: &[usize],
) {
    let shape: Vec<i64> = [0].into_iter().chain(rest.iter().map(|&size| size as i64)).collect();
    let shape = w.ints(&format!("{}.shape", node.name), &shape);
    w.node("Reshape", name, &[x, &shape], y, []);
}

fn pad(w: &mut Writer<'_>, node: &Node, x: &[String], y: &str, pads: [usize; 8]) {
    let pads = w.ints(&format!("{}.pads", node.name), &pads.map(|p| p as i64));
    let zero = w.number(0.0);
    w.node("Pad", &node.name, &[&x[0], &pads, &zero], y, []);
}
