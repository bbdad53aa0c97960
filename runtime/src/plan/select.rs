//! From a node to its kernel: what is computed, for which shape, on which instruction set.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::elementwise::Elementwise;
use super::kernel::{Copy, Kernel, Part};
use super::place::Lay;
use crate::dtype::DType;
use crate::graph::{Activation, Graph, Layout, Node, Op, Value};
use crate::groups::Groups;
use crate::kernels::math::sqrt;
use crate::kernels::{
    AddI8, Attention, AvgPoolI8, ConvF32, ConvI8, ConvShape, Image, Isa, MulI8, PlacedConv,
    PoolShape, RescaleI8, WeightOnlyLinear,
};
use crate::quant::{Output, QuantParams};
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result};

impl Kernel {
    /// Chooses for a node of a checked graph in the device's layout.
    ///
    /// `lays` says how each value lies in memory.
    pub(super) fn select(
        graph: &Graph,
        node: &Node,
        (isa, direct): (Isa, bool),
        lays: &[Lay],
    ) -> Result<Self> {
        let (x, y) = (graph.value(node.inputs[0]), graph.value(node.output));
        let int8 = x.dtype == DType::I8;
        let Image { h, w, c, .. } = lays[node.inputs[0].0].image;
        let image = [h, w, c];
        Ok(match &node.op {
            Op::Flatten | Op::Reshape { .. } | Op::Tokens => Self::Alias,
            Op::Conv2d { .. } | Op::Linear => convolution(graph, node, (isa, direct), lays)?,
            Op::BatchNorm { eps } => Self::Elementwise(batch_norm(graph, node, *eps, isa)?),
            Op::Activation { function } if !int8 => {
                Self::Elementwise(Elementwise::Activation { isa, function: *function })
            }
            Op::Activation { .. } => {
                let table = graph.i8s(node, "table")?.try_into();
                let table = table.map_err(|_| refused(node, "needs 256 entries"))?;
                Self::Elementwise(Elementwise::Table(Box::new(table)))
            }
            Op::LayerNorm { eps } => Self::LayerNorm {
                isa,
                weight: graph.f32s(node, "weight")?.into_owned(),
                bias: graph.f32s(node, "bias")?.into_owned(),
                eps: *eps,
            },
            &Op::LinearGroups { groups } => weight_only(graph, node, groups, isa)?,
            &Op::EmbeddingGroups { groups } => Self::WeightOnlyEmbedding {
                groups,
                weight: grouped(graph, node)?.clone(),
                scales: graph.f32s(node, "scale")?.into_owned(),
            },
            Op::Embedding => Self::Embedding { rows: graph.f32s(node, "weight")?.into_owned() },
            Op::AddPosition => {
                Self::AddConstant { isa, values: graph.f32s(node, "weight")?.into_owned() }
            }
            Op::Attention { heads } => {
                let shape = Attention { tokens: h, width: c / 3, heads: *heads };
                Self::Attention { isa, shape }
            }
            Op::MeanTokens => Self::MeanTokens { isa },
            Op::Add if int8 => {
                let b = graph.value(node.inputs[1]);
                let (a, b, y) = (params(node, x)?, params(node, b)?, params(node, y)?);
                let add = AddI8::new(isa, a, b, y.scale, int8_output(node, y));
                Self::Elementwise(Elementwise::AddI8(add))
            }
            Op::Add => Self::Elementwise(Elementwise::AddF32 { isa, range: range(node) }),
            Op::Mul if int8 => {
                let b = graph.value(node.inputs[1]);
                let (a, b, y) = (params(node, x)?, params(node, b)?, params(node, y)?);
                Self::MulI8(MulI8::new(isa, a, b, y.scale, int8_output(node, y)))
            }
            Op::Mul => Self::MulF32 { isa },
            Op::Concat { axis } => concat(graph, node, *axis, isa, lays)?,
            &Op::Slice { axis, start, end } => {
                let inner = x.shape[axis + 1..].iter().product::<usize>() * x.dtype.size();
                let stretch = x.shape[axis] * inner;
                Self::Slice { stretch, range: start * inner..end * inner }
            }
            Op::ChannelShuffle { groups } => {
                Self::Shuffle { channels: c, groups: *groups, dtype: x.dtype }
            }
            Op::MaxPool2d { kernel, stride, padding } => {
                let shape = pool_shape(image, y, *kernel, *stride, *padding);
                if int8 { Self::MaxPoolI8 { isa, shape } } else { Self::MaxPoolF32 { isa, shape } }
            }
            Op::AvgPool2d { kernel, stride, padding, count_include_pad } => {
                let shape = pool_shape(image, y, *kernel, *stride, *padding);
                average(node, (x, y), shape, *count_include_pad, isa)?
            }
            Op::GlobalAvgPool => average(node, (x, y), PoolShape::global(h, w, c), false, isa)?,
            Op::Softmax => Self::Softmax { isa, classes: image[2] },
            Op::Pad { padding } if int8 => {
                Self::PadI8 { image, padding: *padding, fill: params(node, x)?.zero_point }
            }
            Op::Pad { padding } => Self::PadF32 { image, padding: *padding },
            &Op::PadChannels { before, after } => {
                let size = x.dtype.size();
                // All bytes of an f32 zero are zero.
                let fill = x.quant.map_or(0, |quant| quant.zero_point);
                let [before, channels, after] = [before, c, after].map(|count| count * size);
                Self::PadChannels { before, channels, after, fill: fill.cast_unsigned() }
            }
            Op::Quantize => {
                Self::Elementwise(Elementwise::Quantize { isa, params: params(node, y)? })
            }
            Op::Dequantize => {
                Self::Elementwise(Elementwise::Dequantize { isa, params: params(node, x)? })
            }
        })
    }
}

/// The geometry of a convolution or a linear layer; none of another node.
pub fn conv_shape(graph: &Graph, node: &Node) -> Option<ConvShape> {
    let (x, y) = (graph.value(node.inputs[0]), graph.value(node.output));
    let Op::Conv2d { stride, padding, dilation, groups } = &node.op else {
        let (&inputs, &outputs) = (x.shape.last()?, y.shape.last()?);
        let tokens = x.shape.elements() / inputs;
        let layer = ConvShape::linear(inputs, outputs);
        let shape = ConvShape { in_h: tokens, out_h: tokens, ..layer };
        return matches!(node.op, Op::Linear).then_some(shape);
    };
    let [in_h, in_w, in_c] = Layout::Nhwc.image(&x.shape)?;
    let [out_h, out_w, out_c] = Layout::Nhwc.image(&y.shape)?;
    let [_, kh, kw, _] = graph.weight(node, "weight")?.shape().dims::<4>()?;
    Some(ConvShape {
        in_h,
        in_w,
        in_c,
        out_h,
        out_w,
        out_c,
        kernel: [kh, kw],
        stride: *stride,
        padding: [padding[0], padding[1]],
        dilation: *dilation,
        groups: *groups,
    })
}

fn convolution(
    graph: &Graph,
    node: &Node,
    (isa, direct): (Isa, bool),
    lays: &[Lay],
) -> Result<Kernel> {
    let (x, y) = (graph.value(node.inputs[0]), graph.value(node.output));
    let shape =
        conv_shape(graph, node).ok_or_else(|| refused(node, "is no convolution of an image"))?;
    let (from, to) = (lays[node.inputs[0].0], lays[node.output.0]);
    let conv = PlacedConv {
        shape,
        x: from.image.margin,
        y: to.image.margin,
        channels: (to.channels.first, to.image.c),
        overread: true,
    };
    if x.dtype == DType::I8 {
        let (xq, yq) = (params(node, x)?, params(node, y)?);
        let (bias, multiplier) = (graph.i32s(node, "bias")?, graph.f32s(node, "multiplier")?);
        let weight = graph.i8s(node, "weight")?;
        let output = int8_output(node, yq);
        let conv = ConvI8::new(isa, conv, weight, &bias, &multiplier, xq.zero_point, output);
        return Ok(Kernel::ConvI8(Box::new(conv)));
    }
    let bias = match graph.weight(node, "bias") {
        Some(_) => graph.f32s(node, "bias")?.into_owned(),
        None => vec![0.0; shape.out_c],
    };
    let weight = graph.f32s(node, "weight")?;
    let pack = if direct { ConvF32::direct } else { ConvF32::new };
    Ok(Kernel::ConvF32(Box::new(pack(isa, conv, &weight, &bias, range(node)))))
}

fn weight_only(graph: &Graph, node: &Node, groups: Groups, isa: Isa) -> Result<Kernel> {
    let (x, weight) = (graph.value(node.inputs[0]), grouped(graph, node)?);
    let (k, n) = (x.shape.last().copied().unwrap_or(1), weight.shape()[0]);
    let tokens = x.shape.elements() / k;
    let scales = graph.f32s(node, "scale")?;
    let bias = match graph.weight(node, "bias") {
        Some(_) => graph.f32s(node, "bias")?.into_owned(),
        None => vec![0.0; n],
    };
    let weights = (weight.bytes(), &*scales);
    let layer = WeightOnlyLinear::new(isa, groups, (tokens, k), weights, &bias, range(node));
    Ok(Kernel::WeightOnlyLinear(layer))
}

/// The weight of a node with groups, which a checked graph has.
fn grouped<'a>(graph: &'a Graph, node: &Node) -> Result<&'a Tensor> {
    graph.weight(node, "weight").ok_or_else(|| refused(node, "has no weight"))
}

/// `γ/σ` and `β - μ·γ/σ`, in f64.
fn batch_norm(graph: &Graph, node: &Node, eps: f32, isa: Isa) -> Result<Elementwise> {
    let (gamma, beta) = (graph.f32s(node, "weight")?, graph.f32s(node, "bias")?);
    let (mean, variance) = (graph.f32s(node, "running_mean")?, graph.f32s(node, "running_var")?);
    let (mut scale, mut shift) = (Vec::new(), Vec::new());
    for c in 0..gamma.len() {
        let deviation = sqrt(f64::from(variance[c]) + f64::from(eps));
        let gain = f64::from(gamma[c]) / deviation;
        scale.push(gain as f32);
        shift.push((f64::from(beta[c]) - f64::from(mean[c]) * gain) as f32);
    }
    Ok(Elementwise::BatchNorm { isa, scale, shift })
}

fn average(
    node: &Node,
    (x, y): (&Value, &Value),
    shape: PoolShape,
    count_include_pad: bool,
    isa: Isa,
) -> Result<Kernel> {
    if x.dtype != DType::I8 {
        return Ok(Kernel::AvgPoolF32 { isa, shape, count_include_pad });
    }
    if shape.kernel[0] * shape.kernel[1] >= 1 << 23 {
        return Err(refused(node, "averages more pixels than 32-bit sums can hold"));
    }
    let (xq, yq) = (params(node, x)?, params(node, y)?);
    let output = int8_output(node, yq);
    Ok(Kernel::AvgPoolI8(AvgPoolI8::new(isa, shape, xq, yq.scale, count_include_pad, output)))
}

/// The geometry of a pooling from an image `[h, w, c]` to `y`, with padding at top, left, bottom,
/// right.
pub fn pool_shape(
    [in_h, in_w, channels]: [usize; 3],
    y: &Value,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
) -> PoolShape {
    let [out_h, out_w, _] = Layout::Nhwc.image(&y.shape).unwrap_or([1, 1, channels]);
    let padding = [padding[0], padding[1]];
    PoolShape { in_h, in_w, channels, out_h, out_w, kernel, stride, padding }
}

/// An input's part of each stretch of the output is everything from the axis inwards.
fn concat(graph: &Graph, node: &Node, axis: usize, isa: Isa, lays: &[Lay]) -> Result<Kernel> {
    let y = graph.value(node.output);
    let mut parts = Vec::new();
    for &id in &node.inputs {
        let x = graph.value(id);
        let bytes = x.shape[axis..].iter().product::<usize>() * x.dtype.size();
        parts.push(match x.dtype {
            _ if lays[id.0].part_of.is_some() => Part { bytes, copy: Copy::Done },
            DType::I8 => {
                let rescale = RescaleI8::new(isa, params(node, x)?, params(node, y)?);
                Part { bytes, copy: Copy::Rescaled(rescale) }
            }
            _ => Part { bytes, copy: Copy::Plain },
        });
    }
    Ok(Kernel::Concat { parts })
}

fn params(node: &Node, value: &Value) -> Result<QuantParams> {
    value.quant.ok_or_else(|| refused(node, "has an int8 value without scale"))
}

/// The int8 clamp of a node's output: the whole range, or what its fused activation leaves.
pub fn int8_output(node: &Node, y: QuantParams) -> Output {
    let (lo, hi) = match node.activation.and_then(Activation::clamp) {
        Some((lo, hi)) => (y.quantize(lo), y.quantize(hi)),
        None => (i8::MIN, i8::MAX),
    };
    Output { zero_point: y.zero_point, lo, hi }
}

/// The f32 clamp of a node's output.
fn range(node: &Node) -> (f32, f32) {
    node.activation.and_then(Activation::clamp).unwrap_or((f32::NEG_INFINITY, f32::INFINITY))
}

fn refused(node: &Node, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("node {:?}", node.name), what)
}
