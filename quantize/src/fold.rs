//! Folding batch norm into the layer before it (Jacob et al. 2018, section 3.2).

use hipflask_runtime::graph::{Graph, Node, Op};
use hipflask_runtime::{DType, Result as RuntimeResult, Tensor};

use crate::error::{Error, Result};

/// The graph as it is quantized: the device's layout, batch norms folded, simplified.
///
/// A batch norm of an image that does not directly follow a convolution becomes a depthwise one of
/// its own, which runs in int8 as well; one of a vector stays as it is. A NaN or an infinity among
/// the weights, or one that folding makes, is refused with the tensor's name.
pub fn prepare(graph: &Graph) -> Result<Graph> {
    check_finite(graph)?;
    let mut graph = graph.clone().into_nhwc()?;
    let uses = graph.use_counts();
    let mut nodes: Vec<Node> = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        if let (Op::BatchNorm { eps }, &[x]) = (&node.op, &node.inputs[..])
            && uses[x.0] == 1
            && let Some(producer) = nodes.iter_mut().find(|n| n.output == x)
            && matches!(producer.op, Op::Conv2d { .. } | Op::Linear)
            && producer.activation.is_none()
        {
            fold_into(&mut graph, producer, &node, *eps)?;
            producer.output = node.output;
            continue;
        }
        let node = match node.op {
            Op::BatchNorm { eps } if graph.value(node.output).shape.len() == 4 => {
                as_depthwise(&mut graph, node, eps)?
            }
            _ => node,
        };
        nodes.push(node);
    }
    graph.nodes = nodes;
    let graph = graph.compacted().simplified();
    check_finite(&graph)?;
    Ok(graph)
}

fn check_finite(graph: &Graph) -> Result<()> {
    let floats = graph.tensors.iter().filter(|(_, t)| matches!(t.dtype(), DType::F32 | DType::F16));
    for (name, tensor) in floats {
        if let Some(&found) = tensor.f32s()?.iter().find(|v| !v.is_finite()) {
            return Err(Error::Weight { tensor: name.clone(), found, format: "no student" });
        }
    }
    Ok(())
}

/// Windows of one pixel, with weights `γ/σ` and biases `β - μ · γ/σ`, in f64.
fn as_depthwise(graph: &mut Graph, norm: Node, eps: f32) -> RuntimeResult<Node> {
    let read = |role: &str| graph.f32s(&norm, role);
    let (gamma, beta) = (read("weight")?, read("bias")?);
    let (mean, variance) = (read("running_mean")?, read("running_var")?);
    let (mut weight, mut bias) = (Vec::new(), Vec::new());
    for c in 0..gamma.len() {
        let gain = f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(eps)).sqrt();
        weight.push(gain as f32);
        bias.push((f64::from(beta[c]) - f64::from(mean[c]) * gain) as f32);
    }
    let groups = weight.len();
    let weight = Tensor::from_f32([groups, 1, 1, 1], &weight);
    graph.tensors.insert(norm.tensor_name("weight"), weight);
    graph.tensors.insert(norm.tensor_name("bias"), Tensor::from_f32([groups], &bias));
    let op = Op::Conv2d { stride: [1; 2], padding: [0; 4], dilation: [1; 2], groups };
    Ok(Node { op, ..norm })
}

/// `w' = w · γ/σ`, `b' = (b - μ) · γ/σ + β` with `σ = sqrt(var + eps)`, in f64.
fn fold_into(graph: &mut Graph, layer: &Node, norm: &Node, eps: f32) -> RuntimeResult<()> {
    let read = |node: &Node, role: &str| -> RuntimeResult<Vec<f64>> {
        Ok(graph.f32s(node, role)?.iter().map(|&v| f64::from(v)).collect())
    };
    let (gamma, beta) = (read(norm, "weight")?, read(norm, "bias")?);
    let (mean, variance) = (read(norm, "running_mean")?, read(norm, "running_var")?);
    let mut weight = read(layer, "weight")?;
    let bias = match graph.weight(layer, "bias") {
        Some(_) => read(layer, "bias")?,
        None => vec![0.0; gamma.len()],
    };
    let row = weight.len() / gamma.len();
    let mut folded = Vec::with_capacity(gamma.len());
    for (c, row) in weight.chunks_mut(row).enumerate() {
        let gain = gamma[c] / (variance[c] + f64::from(eps)).sqrt();
        for w in row {
            *w *= gain;
        }
        folded.push(((bias[c] - mean[c]) * gain + beta[c]) as f32);
    }
    let weight: Vec<f32> = weight.iter().map(|&w| w as f32).collect();
    let name = layer.tensor_name("weight");
    let shape = graph.tensors[&name].shape().clone();
    graph.tensors.insert(name, Tensor::from_f32(shape, &weight));
    graph.tensors.insert(layer.tensor_name("bias"), Tensor::from_f32([folded.len()], &folded));
    Ok(())
}
