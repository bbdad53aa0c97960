//! Elementwise functions, recognised by their values: whatever nodes of one variable and numbers
//! compute what an activation does, are it.

use std::collections::{BTreeMap, BTreeSet};

use hipflask_runtime::graph::Activation;

use super::net::Net;
use super::{Found, Pattern};
use crate::onnx::node::OnnxNode;

/// Most nodes of one function.
const MOST: usize = 12;
/// Quarters at which functions are compared, from -8 to 8.
const POINTS: std::ops::RangeInclusive<i32> = -32..=32;
/// How far they may be apart, beside 1: a few roundings of f32 in the file's constants.
const TOLERANCE: f64 = 1e-5;

/// The function that ends with `last`.
pub(super) fn function<'a>(net: &Net<'a, '_>, last: OnnxNode<'a>) -> Found<'a> {
    let output = last.output().ok()?;
    // What may be the variable: all values on the way, the nearest first.
    let mut seen = vec![output];
    let mut at = 0;
    while let Some(&name) = seen.get(at) {
        at = at.saturating_add(1);
        let Some((_, node, 0)) = net.producer(name) else { continue };
        if !is_known(node.op()) {
            continue;
        }
        for input in node.proto.input.iter().map(String::as_str) {
            if seen.len() <= MOST && net.number(input).is_none() && !seen.contains(&input) {
                seen.push(input);
            }
        }
    }
    seen.iter().skip(1).find_map(|x| {
        let mut inner = BTreeSet::new();
        let at = |value: f64, inner: &mut BTreeSet<usize>| {
            let mut known = BTreeMap::from([(*x, value)]);
            evaluate(net, output, &mut known, inner)
        };
        at(0.5, &mut inner)?;
        if inner.len() < 2 {
            return None;
        }
        let values: Option<Vec<(f64, f64)>> = POINTS
            .map(|i| f64::from(i) / 4.0)
            .map(|point| Some((point, at(point, &mut inner)?)))
            .collect();
        let values = values?;
        let is = |function: &Activation| {
            let close = |&(point, y): &(f64, f64)| {
                (exact(*function, point) - y).abs() <= TOLERANCE * y.abs().max(1.0)
            };
            values.iter().all(close)
        };
        let function = Activation::ALL.into_iter().find(is)?;
        Some((Pattern::Function { x, function }, inner))
    })
}

fn is_known(op: &str) -> bool {
    matches!(
        op,
        "Add"
            | "Sub"
            | "Mul"
            | "Div"
            | "Pow"
            | "Erf"
            | "Tanh"
            | "Sigmoid"
            | "HardSigmoid"
            | "Clip"
            | "Relu"
            | "Exp"
            | "Neg"
            | "Sqrt"
            | "Min"
            | "Max"
            | "Reciprocal"
    )
}

/// The number that the value called `name` has, where those in `known` have theirs; nodes that
/// compute it go into `inner`.
fn evaluate<'a>(
    net: &Net<'a, '_>,
    name: &'a str,
    known: &mut BTreeMap<&'a str, f64>,
    inner: &mut BTreeSet<usize>,
) -> Option<f64> {
    if let Some(&value) = known.get(name) {
        return Some(value);
    }
    if let Some(number) = net.number(name) {
        return Some(f64::from(number));
    }
    let (index, node, _) = net.producer(name)?;
    if !is_known(node.op()) || known.len() > MOST {
        return None;
    }
    let mut input = |i: usize| evaluate(net, node.input(i)?, known, inner);
    let x = input(0)?;
    let float = |name: &str, default: f32| f64::from(node.float(name, default));
    let value = match node.op() {
        "Add" => x + input(1)?,
        "Sub" => x - input(1)?,
        "Mul" => x * input(1)?,
        "Div" => x / input(1)?,
        "Pow" => x.powf(input(1)?),
        "Min" => x.min(input(1)?),
        "Max" => x.max(input(1)?),
        "Erf" => erf(x),
        "Tanh" => x.tanh(),
        "Sigmoid" => sigmoid(x),
        "Exp" => x.exp(),
        "Neg" => -x,
        "Sqrt" => x.sqrt(),
        "Reciprocal" => 1.0 / x,
        "Relu" => x.max(0.0),
        "HardSigmoid" => (x * float("alpha", 0.2) + float("beta", 0.5)).clamp(0.0, 1.0),
        "Clip" if net.opset < 11 => x.max(float("min", f32::MIN)).min(float("max", f32::MAX)),
        "Clip" => {
            let low = if node.input(1).is_some() { input(1)? } else { f64::MIN };
            let high = if node.input(2).is_some() { input(2)? } else { f64::MAX };
            x.max(low).min(high)
        }
        _ => return None,
    };
    inner.insert(index);
    known.insert(name, value);
    Some(value)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// An activation as its paper has it.
fn exact(function: Activation, x: f64) -> f64 {
    let ramp = (x + 3.0).clamp(0.0, 6.0) / 6.0;
    match function {
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::HardSwish => x * ramp,
        Activation::HardSigmoid => ramp,
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            0.5 * x * (1.0 + (root * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Activation::GeluErf => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
    }
}

/// The error function to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let sum = poly.iter().fold(0.0, |sum, a| (sum + a) * t);
    (1.0 - sum * (-x * x).exp()).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn the_error_function_at_known_points() {
        // DLMF, table 7.23.
        for (x, wanted) in
            [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)]
        {
            assert!((erf(x) - wanted).abs() < 2e-7 && (erf(-x) + wanted).abs() < 2e-7);
        }
    }
}
