//! Layer normalization in single steps: `(x - mean) / sqrt(mean((x - mean)²) + eps) · w + b`.

use std::collections::BTreeSet;

use super::net::{Net, both_orders};
use super::{Found, Pattern};
use crate::onnx::node::OnnxNode;

/// The normalization that ends with `last`, its division, product or sum.
pub(super) fn layer_norm<'a>(net: &Net<'a, '_>, last: OnnxNode<'a>) -> Found<'a> {
    let mut inner = BTreeSet::new();
    let (index, ..) = net.producer(last.output().ok()?)?;
    inner.insert(index);
    let mut node = last;
    let constant = |node: &mut OnnxNode<'a>, op: &str, inner: &mut BTreeSet<usize>| {
        if node.op() != op {
            return None;
        }
        let (x, vector) = both_orders(*node)?.into_iter().find(|(_, c)| net.is_constant(c))?;
        let (index, before, _) = net.producer(x)?;
        // A number is no weight of a norm, and a list of one may be either.
        if net.dims(vector)?.is_empty() {
            return None;
        }
        inner.insert(index);
        *node = before;
        Some(vector)
    };
    let bias = constant(&mut node, "Add", &mut inner);
    let weight = constant(&mut node, "Mul", &mut inner);
    let (deviation, root) = match node.op() {
        "Div" => (node.input(0)?, node.input(1)?),
        "Mul" => both_orders(node)?.into_iter().find_map(|(d, inverse)| {
            let inverse = net.made_by(inverse, "Reciprocal", &mut inner)?;
            Some((d, inverse.input(0)?))
        })?,
        _ => return None,
    };
    let root = net.made_by(root, "Sqrt", &mut inner)?;
    let sum = net.made_by(root.input(0)?, "Add", &mut inner)?;
    let (variance, eps) =
        both_orders(sum)?.into_iter().find_map(|(v, e)| Some((v, net.number(e)?)))?;
    let squares = mean_of(net, variance, &mut inner)?;
    let squared = match net.made_by(squares, "Pow", &mut inner) {
        Some(power) if net.number(power.input(1)?)?.to_bits() == 2.0_f32.to_bits() => {
            power.input(0)?
        }
        Some(_) => return None,
        None => {
            let product = net.made_by(squares, "Mul", &mut inner)?;
            (product.input(0)? == product.input(1)?).then(|| product.input(0))??
        }
    };
    let x = deviation_of(net, deviation, &mut inner)?;
    // Some exporters subtract the mean twice.
    if squared != deviation && deviation_of(net, squared, &mut inner)? != x {
        return None;
    }
    Some((Pattern::LayerNorm { x, weight, bias, eps }, inner))
}

/// What `value` is, minus the mean of it.
fn deviation_of<'a>(
    net: &Net<'a, '_>,
    value: &str,
    inner: &mut BTreeSet<usize>,
) -> Option<&'a str> {
    let difference = net.made_by(value, "Sub", inner)?;
    let x = difference.input(0)?;
    (mean_of(net, difference.input(1)?, inner)? == x).then_some(x)
}

/// What `value` is the mean of over the last dimension, which it keeps.
fn mean_of<'a>(net: &Net<'a, '_>, value: &str, inner: &mut BTreeSet<usize>) -> Option<&'a str> {
    let mean = net.made_by(value, "ReduceMean", inner)?;
    let last = matches!(net.axes(mean, 18)?[..], [-1 | 2]);
    (last && mean.int("keepdims", 1) != 0).then(|| mean.input(0))?
}
