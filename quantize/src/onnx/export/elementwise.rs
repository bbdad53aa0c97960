//! Elementwise functions.

use hipflask_runtime::graph::{Activation, Node};
use hipflask_runtime::{Error, ErrorKind, Result};

use super::attribute;
use super::writer::Writer;
use crate::lut;

/// A node that is a function; of an int8 one, the table must be what the function gives.
pub(super) fn activation(
    w: &mut Writer<'_>,
    node: &Node,
    f: Activation,
    x: &str,
    y: &str,
) -> Result<()> {
    let params = |id| w.graph.value(id).quant;
    if let (Some(from), Some(to)) = (params(node.inputs[0]), params(node.output)) {
        let wanted = lut::table(f, from, to);
        if w.graph.i8s(node, "table")? != wanted.i8s()? {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "",
                format!(
                    "its table is not that of {}, and ONNX has no operator for another: quantize \
                     the f32 student again",
                    f.name()
                ),
            ));
        }
    }
    function(w, &node.name, f, x, y);
    Ok(())
}

/// The function `f` from the value called `x` to the one called `y`.
pub(super) fn function(w: &mut Writer<'_>, name: &str, f: Activation, x: &str, y: &str) {
    let part = |w: &mut Writer<'_>, op: &str, part: &str, inputs: &[&str]| {
        let y = w.fresh(&format!("{name}.{part}"));
        w.node(op, &y, inputs, &y, []);
        y
    };
    match f {
        Activation::Relu => w.node("Relu", name, &[x], y, []),
        Activation::Relu6 => {
            let (low, high) = (w.number(0.0), w.number(6.0));
            w.node("Clip", name, &[x, &low, &high], y, []);
        }
        Activation::HardSwish => w.node("HardSwish", name, &[x], y, []),
        Activation::HardSigmoid => {
            let sixth = [attribute::float("alpha", 1.0 / 6.0), attribute::float("beta", 0.5)];
            w.node("HardSigmoid", name, &[x], y, sixth);
        }
        Activation::Sigmoid => w.node("Sigmoid", name, &[x], y, []),
        Activation::Tanh => w.node("Tanh", name, &[x], y, []),
        Activation::Silu => {
            let gate = part(w, "Sigmoid", "sigmoid", &[x]);
            w.node("Mul", name, &[x, &gate], y, []);
        }
        // x / 2 · (1 + erf(x / √2)), as PyTorch writes it.
        Activation::GeluErf => {
            let [root, one, half] =
                [std::f32::consts::SQRT_2, 1.0, 0.5].map(|value| w.number(value));
            let scaled = part(w, "Div", "scaled", &[x, &root]);
            let erf = part(w, "Erf", "erf", &[&scaled]);
            let gate = part(w, "Add", "gate", &[&erf, &one]);
            let product = part(w, "Mul", "product", &[x, &gate]);
            w.node("Mul", name, &[&product, &half], y, []);
        }
        // x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), in the order in which PyTorch writes it.
        Activation::Gelu => {
            let [three, cubic, root, one, half] =
                [3.0, 0.044_715, 0.797_884_6, 1.0, 0.5].map(|value| w.number(value));
            let cube = part(w, "Pow", "cube", &[x, &three]);
            let scaled = part(w, "Mul", "cubic", &[&cube, &cubic]);
            let sum = part(w, "Add", "inner", &[x, &scaled]);
            let inner = part(w, "Mul", "scaled", &[&sum, &root]);
            let tanh = part(w, "Tanh", "tanh", &[&inner]);
            let gate = part(w, "Add", "gate", &[&tanh, &one]);
            let product = part(w, "Mul", "product", &[x, &gate]);
            w.node("Mul", name, &[&product, &half], y, []);
        }
    }
}
