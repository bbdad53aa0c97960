//! What transformers do with tokens.

use hipflask_runtime::graph::{Node, Op};
use hipflask_runtime::{Result, Tensor};

use super::super::tensors::data_type;
use super::moves::reshape;
use super::writer::Writer;
use super::{attribute, grouped};

/// Writes one of these operations.
pub(super) fn write(w: &mut Writer<'_>, node: &Node, x: &[String], y: &str) -> Result<()> {
    let dims = w.graph.value(node.inputs[0]).shape.to_vec();
    match (&node.op, &dims[..]) {
        (Op::Tokens, &[_, c, h, wide]) => {
            let rows = w.fresh(&format!("{}.rows", node.name));
            reshape(w, node, &rows.clone(), &x[0], &rows, &[c, h * wide]);
            w.node("Transpose", &node.name, &[rows], y, [attribute::sizes("perm", &[0, 2, 1])]);
        }
        (Op::Embedding, _) => {
            let weight = w.weight(node, "weight")?.unwrap_or_default();
            embedding(w, node, &weight, &x[0], y);
        }
        (&Op::EmbeddingGroups { groups }, _) => {
            let weight = grouped::widened(w, node, groups)?;
            embedding(w, node, &weight, &x[0], y);
        }
        (Op::AddPosition, _) => {
            let weight = w.weight(node, "weight")?;
            let inputs: Vec<String> = [x[0].clone()].into_iter().chain(weight).collect();
            w.node("Add", &node.name, &inputs, y, []);
        }
        (Op::Attention { heads }, &[_, t, width]) => {
            attention(w, node, x, y, [t, *heads, width / 3 / heads]);
        }
        (Op::MeanTokens, _) => mean(w, node, x, y),
        (op, dims) => unreachable!("{} of {dims:?} in a checked graph", op.name()),
    }
    Ok(())
}

/// Rows by ids, which are floats: rounded down and kept within the vocabulary.
fn embedding(w: &mut Writer<'_>, node: &Node, weight: &str, ids: &str, y: &str) {
    let rows = w.graph.weight(node, "weight").map_or(1, |weight| weight.shape()[0]);
    let whole = w.step("Floor", node, "floor", &[ids], []);
    let (first, last) = (w.number(0.0), w.number((rows - 1) as f32));
    let known = w.step("Clip", node, "known", &[whole, first, last], []);
    let to = attribute::int("to", i64::from(data_type::INT64));
    let ids = w.step("Cast", node, "ids", &[known], [to]);
    w.node("Gather", &node.name, &[weight, &ids], y, [attribute::int("axis", 0)]);
}

/// `softmax(q · kᵀ / √d) · v` for each head, with q, k and v side by side in `x`.
fn attention(w: &mut Writer<'_>, node: &Node, x: &[String], y: &str, [t, heads, d]: [usize; 3]) {
    let parts = w.fresh(&format!("{}.parts", node.name));
    reshape(w, node, &parts.clone(), &x[0], &parts, &[t, 3, heads, d]);
    // [3, n, heads, t, d]
    let order = attribute::sizes("perm", &[2, 0, 3, 1, 4]);
    let parts = w.step("Transpose", node, "heads", &[parts], [order]);
    let [q, k, v] = [("q", 0), ("k", 1), ("v", 2)].map(|(part, index)| {
        let index = scalar(w, index);
        w.step("Gather", node, part, &[&parts, &index], [attribute::int("axis", 0)])
    });
    let columns = attribute::sizes("perm", &[0, 1, 3, 2]);
    let keys = w.step("Transpose", node, "columns", &[k], [columns]);
    let scores = w.step("MatMul", node, "scores", &[q, keys], []);
    let root = w.number((1.0 / (d as f64).sqrt()) as f32);
    let mut scores = w.step("Mul", node, "scaled", &[scores, root], []);
    let used = x.get(1).map(|ids| used(w, node, ids));
    if let Some(used) = &used {
        // [n, 1, 1, t]
        let axes = w.ints(&format!("{}.axes", node.name), &[1, 2]);
        let keys = w.step("Unsqueeze", node, "keys", &[used, &axes], []);
        let low = w.number(f32::MIN);
        scores = w.step("Where", node, "masked", &[keys, scores, low], []);
    }
    let weights = w.step("Softmax", node, "weights", &[scores], [attribute::int("axis", -1)]);
    let outputs = w.step("MatMul", node, "outputs", &[weights, v], []);
    let order = attribute::sizes("perm", &[0, 2, 1, 3]);
    let tokens = w.step("Transpose", node, "tokens", &[outputs], [order]);
    let Some(used) = used else {
        return reshape(w, node, &node.name, &tokens, y, &[t, heads * d]);
    };
    // Where all tokens are padding, none has been heeded.
    let joined = w.fresh(&format!("{}.joined", node.name));
    reshape(w, node, &joined.clone(), &tokens, &joined, &[t, heads * d]);
    let count = count(w, node, &used);
    let (zero, one) = (w.number(0.0), w.number(1.0));
    let some = w.step("Clip", node, "some", &[&count, &zero, &one], []);
    let axes = w.ints(&format!("{}.last", node.name), &[2]);
    let some = w.step("Unsqueeze", node, "whether", &[some, axes], []);
    w.node("Mul", &node.name, &[joined, some], y, []);
}

/// The mean over tokens, without those whose id is 0.
fn mean(w: &mut Writer<'_>, node: &Node, x: &[String], y: &str) {
    let Some(ids) = x.get(1) else {
        let attributes = [attribute::sizes("axes", &[1]), attribute::int("keepdims", 0)];
        return w.node("ReduceMean", &node.name, &[&x[0]], y, attributes);
    };
    let used = used(w, node, ids);
    let axes = w.ints(&format!("{}.axes", node.name), &[2]);
    let mask = w.step("Unsqueeze", node, "mask", &[&used, &axes], []);
    let zero = w.number(0.0);
    let kept = w.step("Where", node, "kept", &[&mask, &x[0], &zero], []);
    let first = w.ints(&format!("{}.tokens", node.name), &[1]);
    let sum = w.step("ReduceSum", node, "sum", &[&kept, &first], [attribute::int("keepdims", 0)]);
    let count = count(w, node, &used);
    let one = w.number(1.0);
    let count = w.step("Max", node, "divisor", &[count, one], []);
    w.node("Div", &node.name, &[sum, count], y, []);
}

/// Whether each id is no padding, `[n, t]`.
fn used(w: &mut Writer<'_>, node: &Node, ids: &str) -> String {
    let zero = w.number(0.0);
    let padding = w.step("Equal", node, "padding", &[ids, &zero], []);
    w.step("Not", node, "used", &[padding], [])
}

/// How many are used, `[n, 1]`.
fn count(w: &mut Writer<'_>, node: &Node, used: &str) -> String {
    let to = attribute::int("to", i64::from(data_type::FLOAT));
    let ones = w.step("Cast", node, "ones", &[used], [to]);
    let axes = w.ints(&format!("{}.one", node.name), &[1]);
    w.step("ReduceSum", node, "count", &[ones, axes], [attribute::int("keepdims", 1)])
}

/// An index that is no list.
fn scalar(w: &mut Writer<'_>, index: i32) -> String {
    w.shared(&format!("index.{index}"), &Tensor::from_i32([], &[index]))
}
