//! The operations: real, standard ones, each with the weights it reads by name.

use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::groups::Groups;

/// An elementwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x · relu6(x + 3) / 6` (Howard et al. 2019)
    HardSwish,
    /// `relu6(x + 3) / 6`
    HardSigmoid,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `tanh(x)`
    Tanh,
    /// `x · sigmoid(x)`
    Silu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`: the approximation of `x · Φ(x)`
    /// (Hendrycks & Gimpel 2016), PyTorch's `approximate="tanh"`
    Gelu,
    /// `x · Φ(x)`, Φ the normal distribution: PyTorch's GELU without approximation
    GeluErf,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Relu,
        Self::Relu6,
        Self::HardSwish,
        Self::HardSigmoid,
        Self::Sigmoid,
        Self::Tanh,
        Self::Silu,
        Self::Gelu,
        Self::GeluErf,
    ];

    /// The name in files and recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::HardSwish => "hard-swish",
            Self::HardSigmoid => "hard-sigmoid",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::GeluErf => "gelu-erf",
        }
    }

    /// The real interval to which ReLU and ReLU6 clamp: these can be fused into a producer.
    pub const fn clamp(self) -> Option<(f32, f32)> {
        match self {
            Self::Relu => Some((0.0, f32::INFINITY)),
            Self::Relu6 => Some((0.0, 6.0)),
            _ => None,
        }
    }
}

/// What a node computes. Shapes below are written for [`Layout::Nhwc`](super::Layout::Nhwc).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Op {
    /// Cross-correlation of `[n, h, w, i]` with `weight` `[o, kh, kw, i / groups]`, plus `bias` `[o]`.
    Conv2d {
        /// Step in height and width.
        stride: [usize; 2],
        /// Zeros added at top, left, bottom, right.
        padding: [usize; 4],
        /// Distance between taps in height and width.
        dilation: [usize; 2],
        /// Channel groups; as many as channels is a depthwise convolution.
        groups: usize,
    },
    /// `x · weightᵀ + bias`: `[n, i]` or each token of `[n, t, i]` by `weight` `[o, i]`.
    Linear,
    /// [`Linear`](Self::Linear) with the `weight` as integers in groups along `i`, of `scale`
    /// `[o, groups]`; in f32.
    LinearGroups {
        /// How they are stored: `weight` is `[o, i]` of int8, or `[o, i / 2]` bytes of two int4.
        groups: Groups,
    },
    /// `(x - running_mean) / sqrt(running_var + eps) · weight + bias`, a channel at a time.
    BatchNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// `(x - mean) / sqrt(variance + eps) · weight + bias` over the last dimension of `[n, d]` or
    /// `[n, t, d]` (Ba et al. 2016); in f32.
    LayerNorm {
        /// Added to the variance, which is the mean of squared deviations.
        eps: f32,
    },
    /// The pixels of `[n, h, w, c]` row by row as tokens: `[n, h · w, c]`.
    Tokens,
    /// Rows of `weight` `[vocabulary, d]`: ids `[n, t]`, stored as f32, to `[n, t, d]`.
    ///
    /// An id is rounded down; one below 0, beyond the vocabulary or NaN takes the nearest row, NaN
    /// the first.
    Embedding,
    /// [`Embedding`](Self::Embedding) with the rows as integers in groups along `d`, of `scale`
    /// `[vocabulary, groups]`.
    EmbeddingGroups {
        /// How they are stored: `weight` is `[vocabulary, d]` of int8, or `[vocabulary, d / 2]` bytes
        /// of two int4.
        groups: Groups,
    },
    /// Adds `weight` `[1, t, d]`, a learned vector a position; in f32.
    AddPosition,
    /// Self-attention (Vaswani et al. 2017), a head at a time: `softmax(q · kᵀ / √(d / heads)) · v`;
    /// in f32.
    ///
    /// `[n, t, 3d]`, each token's q, k and v one after another and their heads within them, to
    /// `[n, t, d]`. With ids `[n, t]` as a second input, no token heeds one whose id is 0
    /// (padding); where all are, the result is 0.
    Attention {
        /// Divides `d`.
        heads: usize,
    },
    /// Mean over the tokens: `[n, t, d]` to `[n, d]`; in f32.
    ///
    /// With ids `[n, t]` as a second input, those whose id is 0 do not count; of none it is 0.
    MeanTokens,
    /// An elementwise function; int8 reads it from `table`.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// Elementwise sum of two values of one shape.
    Add,
    /// Elementwise product: of two values of one shape, or of an image and a factor for each of its
    /// channels, `[n, 1, 1, c]`.
    Mul,
    /// Joins values along `axis`.
    Concat {
        /// Dimension along which the inputs follow one another.
        axis: usize,
    },
    /// The part of a value from `start` to before `end` along `axis`.
    Slice {
        /// Dimension that is cut, not the batch.
        axis: usize,
        /// First index that stays.
        start: usize,
        /// Index after the last one that stays.
        end: usize,
    },
    /// Takes the channels of an image by turns from each of `groups` groups: `[n, h, w, groups, c /
    /// groups]`, of which the last two dimensions are exchanged (Zhang et al. 2018, ShuffleNet).
    ChannelShuffle {
        /// Groups, a divisor of the channels.
        groups: usize,
    },
    /// Largest value of each window; padding never wins.
    MaxPool2d {
        /// Window height and width.
        kernel: [usize; 2],
        /// Step in height and width.
        stride: [usize; 2],
        /// Padding at top, left, bottom, right.
        padding: [usize; 4],
    },
    /// Mean of each window.
    AvgPool2d {
        /// Window height and width.
        kernel: [usize; 2],
        /// Step in height and width.
        stride: [usize; 2],
        /// Padding at top, left, bottom, right.
        padding: [usize; 4],
        /// Whether padding counts as zeros in the mean.
        count_include_pad: bool,
    },
    /// Mean over height and width: `[n, h, w, c]` to `[n, 1, 1, c]`.
    GlobalAvgPool,
    /// `[n, …]` to `[n, all the rest]`, in the layout's order.
    Flatten,
    /// The same elements under another shape (with the batch dimension).
    Reshape {
        /// The new shape.
        shape: alloc::vec::Vec<usize>,
    },
    /// `exp(x) / Σ exp(x)` over the last dimension.
    Softmax,
    /// Zeros around height and width.
    Pad {
        /// Zeros at top, left, bottom, right.
        padding: [usize; 4],
    },
    /// Channels of zeros before and after those of an image.
    PadChannels {
        /// Channels before.
        before: usize,
        /// Channels after.
        after: usize,
    },
    /// f32 to int8 with the output's parameters.
    Quantize,
    /// int8 to f32 with the input's parameters.
    Dequantize,
}

/// A tensor that an operation reads: `{node}.{role}` in the file, PyTorch's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Last part of the tensor's name.
    pub name: &'static str,
    /// Element type asked for; F32 weights may also be stored as F16.
    pub dtype: DType,
    /// Whether the operation needs it.
    pub required: bool,
}

const fn role(name: &'static str, dtype: DType, required: bool) -> Role {
    Role { name, dtype, required }
}

const FLOAT: [Role; 2] = [role("weight", DType::F32, true), role("bias", DType::F32, false)];
const INT8: [Role; 4] = [
    role("weight", DType::I8, true),
    role("bias", DType::I32, true),
    role("scale", DType::F32, true),
    role("multiplier", DType::F32, true),
];
const NORM: [Role; 4] = [
    role("weight", DType::F32, true),
    role("bias", DType::F32, true),
    role("running_mean", DType::F32, true),
    role("running_var", DType::F32, true),
];
const SCALE_AND_SHIFT: [Role; 2] =
    [role("weight", DType::F32, true), role("bias", DType::F32, true)];
const W8: [Role; 3] = [
    role("weight", DType::I8, true),
    role("scale", DType::F16, true),
    role("bias", DType::F32, false),
];
const W4: [Role; 3] = [
    role("weight", DType::U8, true),
    role("scale", DType::F16, true),
    role("bias", DType::F32, false),
];
const W8_ROWS: [Role; 2] = [role("weight", DType::I8, true), role("scale", DType::F16, true)];
const W4_ROWS: [Role; 2] = [role("weight", DType::U8, true), role("scale", DType::F16, true)];
const ROWS: [Role; 1] = [role("weight", DType::F32, true)];
const TABLE: [Role; 1] = [role("table", DType::I8, true)];

impl Op {
    /// The tensors read when the input has `dtype`.
    pub const fn roles(&self, dtype: DType) -> &'static [Role] {
        match (self, dtype) {
            (Self::Conv2d { .. } | Self::Linear, DType::I8) => &INT8,
            (Self::Conv2d { .. } | Self::Linear, _) => &FLOAT,
            (Self::BatchNorm { .. }, _) => &NORM,
            (Self::LayerNorm { .. }, _) => &SCALE_AND_SHIFT,
            (Self::Embedding | Self::AddPosition, _) => &ROWS,
            (Self::LinearGroups { groups: Groups { bits: 4, .. } }, _) => &W4,
            (Self::LinearGroups { .. }, _) => &W8,
            (Self::EmbeddingGroups { groups: Groups { bits: 4, .. } }, _) => &W4_ROWS,
            (Self::EmbeddingGroups { .. }, _) => &W8_ROWS,
            (Self::Activation { .. }, DType::I8) => &TABLE,
            _ => &[],
        }
    }

    /// How many inputs: smallest and largest number.
    pub const fn arity(&self) -> (usize, usize) {
        match self {
            Self::Add | Self::Mul => (2, 2),
            Self::Attention { .. } | Self::MeanTokens => (1, 2),
            Self::Concat { .. } => (1, 64),
            _ => (1, 1),
        }
    }

    /// The name in files and tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "conv2d",
            Self::Linear => "linear",
            Self::LinearGroups { .. } => "linear-groups",
            Self::BatchNorm { .. } => "batch-norm",
            Self::LayerNorm { .. } => "layer-norm",
            Self::Tokens => "tokens",
            Self::Embedding => "embedding",
            Self::EmbeddingGroups { .. } => "embedding-groups",
            Self::AddPosition => "add-position",
            Self::Attention { .. } => "attention",
            Self::MeanTokens => "mean-tokens",
            Self::Activation { function } => function.name(),
            Self::Add => "add",
            Self::Mul => "mul",
            Self::Concat { .. } => "concat",
            Self::Slice { .. } => "slice",
            Self::ChannelShuffle { .. } => "channel-shuffle",
            Self::MaxPool2d { .. } => "max-pool2d",
            Self::AvgPool2d { .. } => "avg-pool2d",
            Self::GlobalAvgPool => "global-avg-pool",
            Self::Flatten => "flatten",
            Self::Reshape { .. } => "reshape",
            Self::Softmax => "softmax",
            Self::Pad { .. } => "pad",
            Self::PadChannels { .. } => "pad-channels",
            Self::Quantize => "quantize",
            Self::Dequantize => "dequantize",
        }
    }

    /// Whether the operation only passes int8 values on, so that scale and zero point stay.
    pub const fn keeps_quant(&self) -> bool {
        matches!(
            self,
            Self::MaxPool2d { .. }
                | Self::Flatten
                | Self::Reshape { .. }
                | Self::Slice { .. }
                | Self::ChannelShuffle { .. }
                | Self::Pad { .. }
                | Self::PadChannels { .. }
                | Self::Tokens
        )
    }

    /// Whether the operation knows f32 alone: in an int8 network, conversions stand around it.
    pub const fn is_real(&self) -> bool {
        matches!(
            self,
            Self::BatchNorm { .. }
                | Self::Softmax
                | Self::LayerNorm { .. }
                | Self::LinearGroups { .. }
                | Self::Embedding
                | Self::EmbeddingGroups { .. }
                | Self::AddPosition
                | Self::Attention { .. }
                | Self::MeanTokens
        )
    }

    /// Whether ReLU or ReLU6 can be part of it.
    pub const fn fuses_activations(&self) -> bool {
        matches!(self, Self::Conv2d { .. } | Self::Linear | Self::LinearGroups { .. } | Self::Add)
    }

    /// How its weights are grouped, where they are.
    pub const fn groups(&self) -> Option<Groups> {
        match self {
            Self::LinearGroups { groups } | Self::EmbeddingGroups { groups } => Some(*groups),
            _ => None,
        }
    }
}
