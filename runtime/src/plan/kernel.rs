//! What a step computes, with packed weights and constants.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::elementwise::Elementwise;
use super::place::{Place, split};
use crate::dtype::DType;
use crate::groups::Groups;
use crate::kernels::{
    self, Attention, AvgPoolI8, ConvF32, ConvI8, Isa, MulI8, PoolShape, RescaleI8, WeightOnlyLinear,
};
use crate::tensor::Tensor;
use crate::threads::Threads;

/// What an input gives to a joined value.
pub(crate) struct Part {
    /// Bytes that follow one another.
    pub(crate) bytes: usize,
    pub(crate) copy: Copy,
}

/// How an input comes to its place in a joined value.
pub(crate) enum Copy {
    /// It was computed there.
    Done,
    /// As it is.
    Plain,
    /// With another int8 scale and zero point, or the same.
    Rescaled(RescaleI8),
}

/// A node's kernel with its packed weights and constants.
pub(crate) enum Kernel {
    /// The output is the input under another shape.
    Alias,
    ConvI8(Box<ConvI8>),
    ConvF32(Box<ConvF32>),
    Elementwise(Elementwise),
    /// Parts of each stretch of the output, one an input.
    Concat {
        parts: Vec<Part>,
    },
    MulI8(MulI8),
    MulF32 {
        isa: Isa,
    },
    /// Bytes `range` of each `stretch` of the input.
    Slice {
        stretch: usize,
        range: Range<usize>,
    },
    /// Bytes of each pixel: new ones, the input's, new ones.
    PadChannels {
        before: usize,
        channels: usize,
        after: usize,
        fill: u8,
    },
    Shuffle {
        channels: usize,
        groups: usize,
        dtype: DType,
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
    LayerNorm {
        isa: Isa,
        weight: Vec<f32>,
        bias: Vec<f32>,
        eps: f32,
    },
    WeightOnlyLinear(WeightOnlyLinear),
    Embedding {
        rows: Vec<f32>,
    },
    /// The weights stay where the file has them.
    WeightOnlyEmbedding {
        groups: Groups,
        weight: Tensor,
        scales: Vec<f32>,
    },
    AddConstant {
        isa: Isa,
        values: Vec<f32>,
    },
    Attention {
        isa: Isa,
        shape: Attention,
    },
    MeanTokens {
        isa: Isa,
    },
}

impl Kernel {
    /// Working memory of one run.
    pub(super) fn scratch_bytes(&self) -> usize {
        match self {
            Self::ConvI8(conv) => conv.scratch_len(),
            Self::ConvF32(conv) => conv.scratch_len(),
            Self::Attention { shape, .. } => shape.scratch_len() * size_of::<f32>(),
            Self::WeightOnlyLinear(layer) => layer.scratch_len() * size_of::<f32>(),
            _ => 0,
        }
    }

    /// Bytes of its input that have to be readable, if these may be more than the image.
    pub(super) fn input_bytes(&self) -> usize {
        match self {
            Self::ConvI8(conv) => conv.input_len(),
            Self::ConvF32(conv) => conv.input_len() * size_of::<f32>(),
            _ => 0,
        }
    }

    /// Computes the output's place from the inputs' places, which do not overlap it unless the
    /// kernel goes element by element.
    pub(crate) fn run(
        &self,
        arena: &mut [u8],
        inputs: &[Place],
        output: Place,
        scratch: &mut [u8],
    ) {
        match self {
            Self::Alias => {}
            Self::Elementwise(kernel) => kernel.run(arena, inputs, output),
            Self::Concat { parts } => concatenate(arena, inputs, output, parts),
            Self::ConvI8(conv) => {
                let (y, [x]) = split(arena, output, [inputs[0]]);
                conv.run(i8s(x), i8s_mut(y), scratch);
            }
            Self::ConvF32(conv) => {
                let (y, [x]) = split(arena, output, [inputs[0]]);
                conv.run(f32s(x), f32s_mut(y), scratch);
            }
            Self::MulI8(_) | Self::MulF32 { .. } => {
                let (y, [a, b]) = split(arena, output, [inputs[0], inputs[1]]);
                let [a_bytes, b_bytes] = [inputs[0], inputs[1]].map(Place::image_bytes);
                let (a, b, y) = (&a[..a_bytes], &b[..b_bytes], &mut y[..output.image_bytes()]);
                match self {
                    Self::MulI8(mul) => mul.run(i8s(a), i8s(b), i8s_mut(y)),
                    Self::MulF32 { isa } => kernels::mul_f32(*isa, f32s(a), f32s(b), f32s_mut(y)),
                    _ => unreachable!("the arm is of products"),
                }
            }
            Self::WeightOnlyLinear(layer) => {
                let (y, [x]) = split(arena, output, [inputs[0]]);
                let (x, y) = (&x[..inputs[0].image_bytes()], &mut y[..output.image_bytes()]);
                layer.run(f32s(x), f32s_mut(y), f32s_mut(&mut scratch[..self.scratch_bytes()]));
            }
            Self::Attention { isa, shape } => {
                of_tokens(arena, inputs, output, |x, ids, y| {
                    let scratch = &mut scratch[..self.scratch_bytes()];
                    shape.run(*isa, x, ids, y, f32s_mut(scratch));
                });
            }
            Self::MeanTokens { isa } => {
                of_tokens(arena, inputs, output, |x, ids, y| {
                    kernels::mean_tokens_f32(*isa, x, ids, y);
                });
            }
            _ => {
                let (y, [x]) = split(arena, output, [inputs[0]]);
                let (x_bytes, y_bytes) = (inputs[0].image_bytes(), output.image_bytes());
                self.run_dense(&x[..x_bytes], &mut y[..y_bytes]);
            }
        }
    }

    /// How many of so many threads are worth waking for it.
    pub(super) fn parts(&self, isa: Isa, threads: usize) -> usize {
        match self {
            Self::ConvI8(conv) => conv.parts(isa, threads),
            Self::ConvF32(conv) => conv.parts(isa, threads),
            Self::WeightOnlyLinear(layer) => layer.parts(threads),
            _ => 1,
        }
    }

    /// As [`Kernel::run`] of a kernel with more than one of [`Kernel::parts`].
    pub(super) fn run_divided(
        &self,
        arena: &mut [u8],
        (from, to): (Place, Place),
        scratch: &mut [u8],
        threads: &mut Threads,
    ) {
        let (y, [x]) = split(arena, to, [from]);
        match self {
            Self::ConvI8(conv) => conv.run_divided(i8s(x), i8s_mut(y), scratch, threads),
            Self::ConvF32(conv) => conv.run_divided(f32s(x), f32s_mut(y), scratch, threads),
            Self::WeightOnlyLinear(layer) => {
                let (x, y) = (&x[..from.image_bytes()], &mut y[..to.image_bytes()]);
                let whole = scratch.len() / size_of::<f32>() * size_of::<f32>();
                let scratch = f32s_mut(&mut scratch[..whole]);
                layer.run_divided(f32s(x), f32s_mut(y), scratch, threads);
            }
            _ => unreachable!("only linear layers and convolutions are divided"),
        }
    }

    /// Kernels of one dense image.
    fn run_dense(&self, x: &[u8], y: &mut [u8]) {
        match self {
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
            Self::Slice { stretch, range } => kernels::slice(*stretch, range.clone(), x, y),
            &Self::PadChannels { before, channels, after, fill } => {
                kernels::pad_channels([before, channels, after], fill, x, y);
            }
            &Self::Shuffle { channels, groups, dtype: DType::I8 } => {
                kernels::shuffle(channels, groups, x, y);
            }
            &Self::Shuffle { channels, groups, .. } => {
                kernels::shuffle(channels, groups, f32s(x), f32s_mut(y));
            }
            Self::LayerNorm { isa, weight, bias, eps } => {
                kernels::layer_norm_f32(*isa, (weight, bias), *eps, f32s(x), f32s_mut(y));
            }
            Self::Embedding { rows } => kernels::embed(rows, f32s(x), f32s_mut(y)),
            Self::WeightOnlyEmbedding { groups, weight, scales } => {
                kernels::embed_groups(*groups, weight.bytes(), scales, f32s(x), f32s_mut(y));
            }
            Self::AddConstant { isa, values } => {
                let range = (f32::NEG_INFINITY, f32::INFINITY);
                kernels::add_f32(*isa, f32s(x), values, range, f32s_mut(y));
            }
            Self::Alias
            | Self::Elementwise(_)
            | Self::MulI8(_)
            | Self::MulF32 { .. }
            | Self::Concat { .. }
            | Self::Attention { .. }
            | Self::MeanTokens { .. }
            | Self::WeightOnlyLinear(_)
            | Self::ConvI8(_)
            | Self::ConvF32(_) => {}
        }
    }
}

/// Calls `f` with tokens, their ids where there are any, and the output.
fn of_tokens(
    arena: &mut [u8],
    inputs: &[Place],
    output: Place,
    f: impl FnOnce(&[f32], Option<&[f32]>, &mut [f32]),
) {
    let x = inputs[0];
    let ids = inputs.get(1).copied();
    let (to, [from, from_ids]) = split(arena, output, [x, ids.unwrap_or(x)]);
    let to = f32s_mut(&mut to[..output.image_bytes()]);
    let ids = ids.map(|ids| f32s(&from_ids[..ids.image_bytes()]));
    f(f32s(&from[..x.image_bytes()]), ids, to);
}

fn concatenate(arena: &mut [u8], inputs: &[Place], output: Place, parts: &[Part]) {
    let stretch: usize = parts.iter().map(|part| part.bytes).sum();
    let mut start = 0;
    for (&input, part) in inputs.iter().zip(parts) {
        let at = start;
        start += part.bytes;
        if matches!(part.copy, Copy::Done) {
            continue;
        }
        let (y, [x]) = split(arena, output, [input]);
        let (y, x) = (&mut y[..output.image_bytes()], &x[..input.image_bytes()]);
        for (y, x) in y.chunks_exact_mut(stretch).zip(x.chunks_exact(part.bytes)) {
            let y = &mut y[at..at + part.bytes];
            match &part.copy {
                Copy::Rescaled(rescale) => rescale.run(i8s(x), i8s_mut(y)),
                _ => y.copy_from_slice(x),
            }
        }
    }
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
