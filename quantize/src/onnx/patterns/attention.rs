//! Self-attention: q, k and v side by side, as timm and hipflask export it.

use std::collections::BTreeSet;

use super::net::{Net, both_orders};
use super::tokens::{counted, used};
use super::{Found, Pattern};
use crate::onnx::node::OnnxNode;

/// Attention whose heads `last` joins.
pub(super) fn plain<'a>(net: &Net<'a, '_>, last: OnnxNode<'a>) -> Found<'a> {
    let mut inner = BTreeSet::new();
    let pattern = joined(net, last, &mut inner)?;
    match pattern {
        Pattern::Attention { ids: None, .. } => Some((pattern, inner)),
        _ => None,
    }
}

/// Attention that heeds no padding, whose result is 0 where all is: `last` multiplies with whether
/// there is any token.
pub(super) fn masked<'a>(net: &Net<'a, '_>, last: OnnxNode<'a>) -> Found<'a> {
    if last.op() != "Mul" {
        return None;
    }
    both_orders(last)?.into_iter().find_map(|(tokens, some)| {
        let mut inner = BTreeSet::new();
        let last = net.made_by(tokens, "Reshape", &mut inner)?;
        let pattern = joined(net, last, &mut inner)?;
        let some = net.made_by(some, "Unsqueeze", &mut inner)?;
        let some = net.made_by(some.input(0)?, "Clip", &mut inner)?;
        let counted = counted(net, some.input(0)?, &mut inner)?;
        match pattern {
            Pattern::Attention { ids: Some(ids), .. } if ids == counted => Some((pattern, inner)),
            _ => None,
        }
    })
}

/// The attention whose heads the reshape `last` joins.
fn joined<'a>(
    net: &Net<'a, '_>,
    last: OnnxNode<'a>,
    inner: &mut BTreeSet<usize>,
) -> Option<Pattern<'a>> {
    let order = net.made_by(last.input(0)?, "Transpose", inner)?;
    if order.ints("perm")? != [0, 2, 1, 3] {
        return None;
    }
    let output = net.made_by(order.input(0)?, "MatMul", inner)?;
    let softmax = net.made_by(output.input(0)?, "Softmax", inner)?;
    if !matches!(softmax.int("axis", -1), -1 | 3) {
        return None;
    }
    let mut scores = softmax.input(0)?;
    let mut ids = None;
    if let Some(choice) = net.made_by(scores, "Where", inner) {
        let mask = net.made_by(choice.input(0)?, "Unsqueeze", inner)?;
        // Far below every score, so that its weight is 0.
        if net.number(choice.input(2)?)? > -1e9 {
            return None;
        }
        ids = Some(used(net, mask.input(0)?, inner)?);
        scores = choice.input(1)?;
    }
    let mut scale = 1.0;
    scores = unscaled(net, scores, &mut scale, inner);
    let product = net.made_by(scores, "MatMul", inner)?;
    let q = unscaled(net, product.input(0)?, &mut scale, inner);
    let columns = unscaled(net, product.input(1)?, &mut scale, inner);
    let columns = net.made_by(columns, "Transpose", inner)?;
    if columns.ints("perm")? != [0, 1, 3, 2] {
        return None;
    }
    let k = unscaled(net, columns.input(0)?, &mut scale, inner);
    let parts =
        [(q, 0), (k, 1), (output.input(1)?, 2)].map(|(value, i)| part(net, value, i, inner));
    let [Some(q), Some(k), Some(v)] = parts else { return None };
    if (q, k) != (k, v) {
        return None;
    }
    let heads = net.made_by(q, "Transpose", inner)?;
    if heads.ints("perm")? != [2, 0, 3, 1, 4] {
        return None;
    }
    let split = net.made_by(heads.input(0)?, "Reshape", inner)?;
    Some(Pattern::Attention { x: split.input(0)?, split: split.input(1)?, scale, ids })
}

/// `value` before it was multiplied or divided by numbers, which go into `scale`.
fn unscaled<'a>(
    net: &Net<'a, '_>,
    mut value: &'a str,
    scale: &mut f64,
    inner: &mut BTreeSet<usize>,
) -> &'a str {
    while let Some((index, node, _)) = net.producer(value) {
        let found = match node.op() {
            "Mul" => both_orders(node).and_then(|orders| {
                orders.into_iter().find_map(|(x, c)| Some((x, f64::from(net.number(c)?))))
            }),
            "Div" => node
                .input(0)
                .zip(node.input(1))
                .and_then(|(x, c)| Some((x, 1.0 / f64::from(net.number(c)?)))),
            _ => None,
        };
        let Some((x, factor)) = found else { break };
        *scale *= factor;
        inner.insert(index);
        value = x;
    }
    value
}

/// The value of whose first dimension `value` is number `index`.
fn part<'a>(
    net: &Net<'a, '_>,
    value: &'a str,
    index: i64,
    inner: &mut BTreeSet<usize>,
) -> Option<&'a str> {
    let (at, node, _) = net.producer(value)?;
    match node.op() {
        "Gather" if node.int("axis", 0) == 0 => {
            let chosen = net.ints(node.input(1)?)?;
            inner.insert(at);
            (chosen == [index]).then(|| node.input(0))?
        }
        "Squeeze" if net.axes(node, 13)? == [0] => {
            let (split_at, split, output) = net.producer(node.input(0)?)?;
            if split.op() != "Split" || split.int("axis", 0) != 0 {
                return None;
            }
            inner.extend([at, split_at]);
            (i64::try_from(output).ok()? == index).then(|| split.input(0))?
        }
        _ => None,
    }
}
