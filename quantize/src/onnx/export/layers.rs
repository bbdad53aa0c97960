//! Operations with weights: convolutions, linear layers, norms.

use hipflask_runtime::graph::{Node, Op};
use hipflask_runtime::{DType, Error, ErrorKind, Result, Tensor};

use super::attribute;
use super::writer::Writer;

/// `Conv`
pub(super) fn conv(w: &mut Writer<'_>, node: &Node, x: &str, y: &str) -> Result<()> {
    let &Op::Conv2d { stride, padding, dilation, groups } = &node.op else { return Ok(()) };
    let kernel = w.graph.weight(node, "weight").map_or(vec![], |t| t.shape()[2..].to_vec());
    let (weight, bias) = weights(w, node, false)?;
    let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
    let attributes = [
        attribute::sizes("kernel_shape", &kernel),
        attribute::sizes("strides", &stride),
        attribute::sizes("pads", &padding),
        attribute::sizes("dilations", &dilation),
        attribute::int("group", groups as i64),
    ];
    w.node("Conv", &node.name, &inputs, y, attributes);
    Ok(())
}

/// `Gemm`, or over tokens `MatMul` with a bias that is added.
pub(super) fn linear(w: &mut Writer<'_>, node: &Node, x: &str, y: &str) -> Result<()> {
    if w.graph.value(node.output).shape.len() == 2 {
        let (weight, bias) = weights(w, node, false)?;
        let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
        w.node("Gemm", &node.name, &inputs, y, [attribute::int("transB", 1)]);
        return Ok(());
    }
    let (weight, bias) = weights(w, node, true)?;
    match bias {
        None => w.node("MatMul", &node.name, &[x, &weight], y, []),
        Some(bias) => {
            let product = w.fresh(&format!("{}.product", node.name));
            w.node("MatMul", &node.name, &[x, &weight], &product, []);
            let name = format!("{}.add", node.name);
            w.node("Add", &name, &[&product, &bias], y, []);
        }
    }
    Ok(())
}

/// `BatchNormalization`
pub(super) fn batch_norm(
    w: &mut Writer<'_>,
    node: &Node,
    eps: f32,
    x: &str,
    y: &str,
) -> Result<()> {
    let mut inputs = vec![x.to_string()];
    for role in ["weight", "bias", "running_mean", "running_var"] {
        inputs.extend(w.weight(node, role)?);
    }
    w.node("BatchNormalization", &node.name, &inputs, y, [attribute::float("epsilon", eps)]);
    Ok(())
}

/// `LayerNormalization` over the last dimension.
pub(super) fn layer_norm(
    w: &mut Writer<'_>,
    node: &Node,
    eps: f32,
    x: &str,
    y: &str,
) -> Result<()> {
    let mut inputs = vec![x.to_string()];
    for role in ["weight", "bias"] {
        inputs.extend(w.weight(node, role)?);
    }
    let attributes = [attribute::int("axis", -1), attribute::float("epsilon", eps)];
    w.node("LayerNormalization", &node.name, &inputs, y, attributes);
    Ok(())
}

/// Names of the weight, where `transposed` as `[i, o]`, and of the bias, both as real numbers.
fn weights(w: &mut Writer<'_>, node: &Node, transposed: bool) -> Result<(String, Option<String>)> {
    if w.graph.value(node.inputs[0]).dtype == DType::I8 {
        return quantized(w, node, transposed).map(|(weight, bias)| (weight, Some(bias)));
    }
    let bias = w.weight(node, "bias")?;
    let weight = if transposed && let Some(tensor) = w.graph.weight(node, "weight") {
        let values = w.graph.f32s(node, "weight")?;
        let tensor = Tensor::from_f32(tensor.shape().clone(), &values).transposed([1, 0]);
        Some(w.constant(&node.tensor_name("weight"), &tensor))
    } else {
        w.weight(node, "weight")?
    };
    Ok((weight.ok_or_else(|| missing("weight"))?, bias))
}

/// Int8 weights with a scale for each output channel, and the bias as int32 at `s_x · s_w`, both
/// dequantized.
fn quantized(w: &mut Writer<'_>, node: &Node, transposed: bool) -> Result<(String, String)> {
    let x = w.graph.value(node.inputs[0]).quant.ok_or_else(|| missing("scale of its input"))?;
    let tensor = w.graph.weight(node, "weight").ok_or_else(|| missing("weight"))?;
    let values = w.graph.i8s(node, "weight")?;
    let scales = w.graph.f32s(node, "scale")?;
    let biases = w.graph.i32s(node, "bias")?;
    let channels = scales.len();
    let row = values.len() / channels;
    let mut plain = Vec::with_capacity(channels);
    let mut bias_scales = Vec::with_capacity(channels);
    for ((row, &bias), &scale) in values.chunks(row).zip(biases.iter()).zip(scales.iter()) {
        // The file's bias has `zero_point · Σ w` subtracted (docs/int8.md).
        let sum: i64 = row.iter().map(|&v| i64::from(v)).sum();
        let bias = i64::from(bias) + i64::from(x.zero_point) * sum;
        plain.push(i32::try_from(bias).map_err(|_| {
            Error::new(ErrorKind::Unsupported, "", "a bias without its zero point exceeds 32 bits")
        })?);
        let scale = (f64::from(x.scale) * f64::from(scale)) as f32;
        if scale < f32::MIN_POSITIVE {
            let what = format!("the scale {scale} of a bias is below what a float can hold");
            return Err(Error::new(ErrorKind::Unsupported, "", what));
        }
        bias_scales.push(scale);
    }
    let tensor = if transposed { tensor.transposed([1, 0]) } else { tensor.clone() };
    let name = node.tensor_name("weight");
    let integers = w.constant(&name, &tensor);
    let scale = w.constant(&node.tensor_name("scale"), &Tensor::from_f32([channels], &scales));
    let zero = Tensor::from_i8([channels], &vec![0; channels]);
    let zero = w.constant(&format!("{name}.zero_point"), &zero);
    let axis = attribute::int("axis", i64::from(transposed));
    let weight = w.step("DequantizeLinear", node, "weight.dq", &[integers, scale, zero], [axis]);
    let name = node.tensor_name("bias");
    let integers = w.constant(&name, &Tensor::from_i32([channels], &plain));
    let scale = Tensor::from_f32([channels], &bias_scales);
    let scale = w.constant(&format!("{name}.scale"), &scale);
    let zero = Tensor::from_i32([channels], &vec![0; channels]);
    let zero = w.constant(&format!("{name}.zero_point"), &zero);
    let axis = attribute::int("axis", 0);
    let bias = w.step("DequantizeLinear", node, "bias.dq", &[integers, scale, zero], [axis]);
    Ok((weight, bias))
}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::Graph, "", format!("has no {what}"))
}
