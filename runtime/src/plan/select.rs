//! From a node to its kernel: what is computed, for which shape, on which instruction set.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::Slot;
use crate::dtype::DType;
use crate::graph::{Activation, Graph, Layout, Node, Op, Value};
use crate::kernels::{
    self, AddI8, AvgPoolI8, ConvF32, ConvI8, ConvShape, Isa, PoolShape, RescaleI8,
};
use crate::quant::{Output, QuantParams};
use crate::{Error, ErrorKind, Result};

/// A node's kernel with its packed weights and constants.
pub(crate) enum Kernel {
    /// The output is the input under another shape.
    Alias,
    ConvI8(Box<ConvI8>),
    ConvF32(Box<ConvF32>),
    BatchNorm {
        isa: Isa,
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    Activation {
        isa: Isa,
        function: Activation,
    },
    Table(Box<[i8; 256]>),
    AddI8(AddI8),
    AddF32 {
        isa: Isa,
        range: (f32, f32),
    },
    /// Bytes of each input that follow one another, and the int8 change of scale.
    Concat {
        chunks: Vec<usize>,
        rescale: Vec<Option<RescaleI8>>,
    },
    MaxPoolI8 {
        isa: Isa,
        shape: PoolShape,
    },
    MaxPoolF32 {
        isa: Isa,
        shape: PoolShape,
    },
    AvgPoolI8(AvgPoolI8),
    AvgPoolF32 {
        isa: Isa,
        shape: PoolShape,
        count_include_pad: bool,
    },
    PadI8 {
        image: [usize; 3],
        padding: [usize; 4],
        fill: i8,
    },
    PadF32 {
        image: [usize; 3],
        padding: [usize; 4],
    },
    Softmax {
        isa: Isa,
        classes: usize,
    },
    Quantize {
        isa: Isa,
        params: QuantParams,
    },
    Dequantize {
        isa: Isa,
        params: QuantParams,
    },
}

impl Kernel {
    /// Chooses for a node of a checked graph in the device's layout.
    pub(super) fn select(graph: &Graph, node: &Node, isa: Isa) -> Result<Self> {
        let (x, y) = (graph.value(node.inputs[0]), graph.value(node.output));
        let int8 = x.dtype == DType::I8;
        let image = Layout::Nhwc.image(&x.shape).unwrap_or([1, 1, x.shape.elements()]);
        Ok(match &node.op {
            Op::Flatten | Op::Reshape { .. } => Self::Alias,
            Op::Conv2d { .. } | Op::Linear => convolution(graph, node, isa)?,
            Op::BatchNorm { eps } => batch_norm(graph, node, *eps, isa)?,
            Op::Activation { function } if !int8 => Self::Activation { isa, function: *function },
            Op::Activation { .. } => {
                let table = graph.i8s(node, "table")?.try_into();
                Self::Table(Box::new(table.map_err(|_| refused(node, "needs 256 entries"))?))
            }
            Op::Add if int8 => {
                let b = graph.value(node.inputs[1]);
                let (a, b, y) = (params(node, x)?, params(node, b)?, params(node, y)?);
                Self::AddI8(AddI8::new(isa, a, b, y.scale, output(node, y)))
            }
            Op::Add => Self::AddF32 { isa, range: range(node) },
            Op::Concat { axis } => concat(graph, node, *axis, isa)?,
            Op::MaxPool2d { kernel, stride, padding } => {
                let shape = pool_shape(image, y, *kernel, *stride, *padding);
                if int8 { Self::MaxPoolI8 { isa, shape } } else { Self::MaxPoolF32 { isa, shape } }
            }
            Op::AvgPool2d { kernel, stride, padding, count_include_pad } => {
                let shape = pool_shape(image, y, *kernel, *stride, *padding);
                average(node, (x, y), shape, *count_include_pad, isa)?
            }
            Op::GlobalAvgPool => {
                let [h, w, c] = image;
                average(node, (x, y), PoolShape::global(h, w, c), false, isa)?
            }
            Op::Softmax => Self::Softmax { isa, classes: image[2] },
            Op::Pad { padding } if int8 => {
                Self::PadI8 { image, padding: *padding, fill: params(node, x)?.zero_point }
            }
            Op::Pad { padding } => Self::PadF32 { image, padding: *padding },
            Op::Quantize => Self::Quantize { isa, params: params(node, y)? },
            Op::Dequantize => Self::Dequantize { isa, params: params(node, x)? },
        })
    }

    /// Working memory of one run.
    pub(super) fn scratch_bytes(&self) -> usize {
        match self {
            Self::ConvI8(conv) => conv.scratch_len(),
            Self::ConvF32(conv) => conv.scratch_len(),
            _ => 0,
        }
    }

    /// Computes the output's slot from the inputs' slots, which do not overlap it.
    pub(crate) fn run(&self, arena: &mut [u8], inputs: &[Slot], output: Slot, scratch: &mut [u8]) {
        match self {
            Self::Alias => {}
            Self::Concat { chunks, rescale } => {
                concatenate(arena, inputs, output, chunks, rescale);
            }
            Self::AddI8(add) => {
                let (y, [a, b]) = split(arena, output, [inputs[0], inputs[1]]);
                add.run(i8s(a), i8s(b), i8s_mut(y));
            }
            Self::AddF32 { isa, range } => {
                let (y, [a, b]) = split(arena, output, [inputs[0], inputs[1]]);
                kernels::add_f32(*isa, f32s(a), f32s(b), *range, f32s_mut(y));
            }
            _ => {
                let (y, [x]) = split(arena, output, [inputs[0]]);
                self.run_unary(x, y, scratch);
            }
        }
    }

    fn run_unary(&self, x: &[u8], y: &mut [u8], scratch: &mut [u8]) {
        match self {
            Self::ConvI8(conv) => conv.run(i8s(x), i8s_mut(y), scratch),
            Self::ConvF32(conv) => conv.run(f32s(x), f32s_mut(y), scratch),
            Self::BatchNorm { isa, scale, shift } => {
                kernels::batch_norm_f32(*isa, scale, shift, f32s(x), f32s_mut(y));
            }
            Self::Activation { isa, function } => {
                kernels::activation_f32(*isa, *function, f32s(x), f32s_mut(y));
            }
            Self::Table(table) => kernels::lut_i8(table, i8s(x), i8s_mut(y)),
            Self::MaxPoolI8 { isa, shape } => kernels::max_pool_i8(*isa, shape, i8s(x), i8s_mut(y)),
            Self::MaxPoolF32 { isa, shape } => {
                kernels::max_pool_f32(*isa, shape, f32s(x), f32s_mut(y));
            }
            Self::AvgPoolI8(pool) => pool.run(i8s(x), i8s_mut(y)),
            Self::AvgPoolF32 { isa, shape, count_include_pad } => {
                kernels::avg_pool_f32(*isa, shape, *count_include_pad, f32s(x), f32s_mut(y));
            }
            Self::PadI8 { image, padding, fill } => {
                kernels::pad(*image, *padding, *fill, i8s(x), i8s_mut(y));
            }
            Self::PadF32 { image, padding } => {
                kernels::pad(*image, *padding, 0.0, f32s(x), f32s_mut(y));
            }
            Self::Softmax { isa, classes } => {
                kernels::softmax_f32(*isa, *classes, f32s(x), f32s_mut(y));
            }
            Self::Quantize { isa, params } => {
                kernels::quantize(*isa, *params, f32s(x), i8s_mut(y));
            }
            Self::Dequantize { isa, params } => {
                kernels::dequantize(*isa, *params, i8s(x), f32s_mut(y));
            }
            Self::Alias | Self::Concat { .. } | Self::AddI8(_) | Self::AddF32 { .. } => {}
        }
    }
}

fn convolution(graph: &Graph, node: &Node, isa: Isa) -> Result<Kernel> {
    let (x, y) = (graph.value(node.inputs[0]), graph.value(node.output));
    let weight = graph.weight(node, "weight").map(|w| w.shape().clone()).unwrap_or_default();
    let shape = match &node.op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            let sizes = (Layout::Nhwc.image(&x.shape), Layout::Nhwc.image(&y.shape));
            let ((Some([in_h, in_w, in_c]), Some([out_h, out_w, out_c])), Some([_, kh, kw, _])) =
                (sizes, weight.dims::<4>())
            else {
                return Err(refused(node, "is no convolution of an image"));
            };
            ConvShape {
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
            }
        }
        _ => ConvShape::linear(x.shape.elements(), y.shape.elements()),
    };
    if x.dtype == DType::I8 {
        let (xq, yq) = (params(node, x)?, params(node, y)?);
        let (bias, multiplier) = (graph.i32s(node, "bias")?, graph.f32s(node, "multiplier")?);
        let weight = graph.i8s(node, "weight")?;
        let output = output(node, yq);
        let conv = ConvI8::new(isa, shape, weight, &bias, &multiplier, xq.zero_point, output);
        return Ok(Kernel::ConvI8(Box::new(conv)));
    }
    let bias = match graph.weight(node, "bias") {
        Some(_) => graph.f32s(node, "bias")?.into_owned(),
        None => vec![0.0; shape.out_c],
    };
    let weight = graph.f32s(node, "weight")?;
    Ok(Kernel::ConvF32(Box::new(ConvF32::new(isa, shape, &weight, &bias, range(node)))))
}

/// `γ/σ` and `β - μ·γ/σ`, in f64.
fn batch_norm(graph: &Graph, node: &Node, eps: f32, isa: Isa) -> Result<Kernel> {
    let (gamma, beta) = (graph.f32s(node, "weight")?, graph.f32s(node, "bias")?);
    let (mean, variance) = (graph.f32s(node, "running_mean")?, graph.f32s(node, "running_var")?);
    let (mut scale, mut shift) = (Vec::new(), Vec::new());
    for c in 0..gamma.len() {
        let deviation = sqrt(f64::from(variance[c]) + f64::from(eps));
        let gain = f64::from(gamma[c]) / deviation;
        scale.push(gain as f32);
        shift.push((f64::from(beta[c]) - f64::from(mean[c]) * gain) as f32);
    }
    Ok(Kernel::BatchNorm { isa, scale, shift })
}

/// Square root by Newton's iteration, which needs no `std`; NaN for negative numbers.
fn sqrt(x: f64) -> f64 {
    if x <= 0.0 {
        return if x == 0.0 { 0.0 } else { f64::NAN };
    }
    // Halving the exponent gives two digits; each step doubles them.
    let mut root = f64::from_bits((x.to_bits() >> 1) + 0x1ff7_a3be_a91d_9b1b);
    for _ in 0..5 {
        root = 0.5 * (root + x / root);
    }
    root
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
    let output = output(node, yq);
    Ok(Kernel::AvgPoolI8(AvgPoolI8::new(isa, shape, xq, yq.scale, count_include_pad, output)))
}

fn pool_shape(
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
fn concat(graph: &Graph, node: &Node, axis: usize, isa: Isa) -> Result<Kernel> {
    let y = graph.value(node.output);
    let (mut chunks, mut rescale) = (Vec::new(), Vec::new());
    for &id in &node.inputs {
        let x = graph.value(id);
        chunks.push(x.shape[axis..].iter().product::<usize>() * x.dtype.size());
        rescale.push(match x.dtype {
            DType::I8 => Some(RescaleI8::new(isa, params(node, x)?, params(node, y)?)),
            _ => None,
        });
    }
    Ok(Kernel::Concat { chunks, rescale })
}

fn concatenate(
    arena: &mut [u8],
    inputs: &[Slot],
    output: Slot,
    chunks: &[usize],
    rescale: &[Option<RescaleI8>],
) {
    let stretch: usize = chunks.iter().sum();
    let mut start = 0;
    for ((&input, &chunk), rescale) in inputs.iter().zip(chunks).zip(rescale) {
        let (y, [x]) = split(arena, output, [input]);
        for (y, x) in y.chunks_exact_mut(stretch).zip(x.chunks_exact(chunk)) {
            let y = &mut y[start..start + chunk];
            match rescale {
                Some(rescale) => rescale.run(i8s(x), i8s_mut(y)),
                None => y.copy_from_slice(x),
            }
        }
        start += chunk;
    }
}

/// The output's slot, writable, beside the inputs' slots.
fn split<const N: usize>(
    arena: &mut [u8],
    output: Slot,
    inputs: [Slot; N],
) -> (&mut [u8], [&[u8]; N]) {
    let (before, rest) = arena.split_at_mut(output.offset);
    let (output_bytes, after) = rest.split_at_mut(output.bytes);
    let (before, after) = (&*before, &*after);
    let end = output.offset + output.bytes;
    let inputs = inputs.map(|slot| match slot.offset.checked_sub(end) {
        Some(offset) => &after[offset..][..slot.bytes],
        None => &before[slot.offset..][..slot.bytes],
    });
    (output_bytes, inputs)
}

fn params(node: &Node, value: &Value) -> Result<QuantParams> {
    value.quant.ok_or_else(|| refused(node, "has an int8 value without scale"))
}

/// The int8 clamp of a node's output: the whole range, or what its fused activation leaves.
fn output(node: &Node, y: QuantParams) -> Output {
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

fn i8s(bytes: &[u8]) -> &[i8] {
    bytemuck::cast_slice(bytes)
}

fn i8s_mut(bytes: &mut [u8]) -> &mut [i8] {
    bytemuck::cast_slice_mut(bytes)
}

fn f32s(bytes: &[u8]) -> &[f32] {
    bytemuck::cast_slice(bytes)
}

fn f32s_mut(bytes: &mut [u8]) -> &mut [f32] {
    bytemuck::cast_slice_mut(bytes)
}

#[cfg(test)]
mod tests {
    use super::sqrt;

    #[test]
    fn newton_equals_the_hardware_square_root() {
        for i in 1..2000 {
            let x = 1e-12 * 1.03_f64.powi(i);
            assert!((sqrt(x) / x.sqrt() - 1.0).abs() < 1e-15, "{x}");
        }
    }
}
