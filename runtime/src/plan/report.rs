//! What a plan says of its steps to readers: `inspect`, `bench --profile`.

use alloc::format;
use alloc::string::{String, ToString};

use serde::Serialize;

use super::elementwise::Elementwise;
use super::{Kernel, Step};
use crate::dtype::DType;
use crate::graph::{Graph, Node, Value};
use crate::groups::Groups;
use crate::kernels::Isa;

/// One step: which kernel computes which node, what it costs, and where its output lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Name of the node.
    pub name: String,
    /// `{isa}-{operation}-{variant}`, as `avx2-depthwise`; `-` where there is nothing to compute.
    ///
    /// The variant of `gemm` is the number of channels in a panel of its tile.
    pub kernel: String,
    /// Type of its input, in which it computes.
    pub dtype: DType,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of weights and inputs.
    pub bytes_read: usize,
    /// Bytes of the output, without a margin around it.
    pub bytes_written: usize,
    /// Where the output's buffer lies in the arena.
    pub offset: usize,
    /// Bytes of that buffer.
    pub bytes: usize,
    /// Bytes of all buffers that hold what is needed during this step: most at the peak of the arena.
    pub alive_bytes: usize,
    /// Bytes of working memory.
    pub scratch_bytes: usize,
    /// Parts that threads compute; 1 where it is not worth dividing.
    pub parts: usize,
}

/// What a step keeps of its node for [`PlannedStep`].
pub(crate) struct About {
    name: String,
    dtype: DType,
    macs: u64,
    bytes_read: usize,
    bytes_written: usize,
    alive_bytes: usize,
}

impl About {
    pub(super) fn new(graph: &Graph, node: &Node, alive_bytes: usize) -> Self {
        let bytes = |value: &Value| value.shape.elements() * value.dtype.size();
        let inputs = node.inputs.iter().map(|&id| bytes(graph.value(id))).sum::<usize>();
        Self {
            name: node.name.clone(),
            dtype: graph.value(node.inputs[0]).dtype,
            macs: graph.node_macs(node),
            bytes_read: graph.node_bytes(node) + inputs,
            bytes_written: bytes(graph.value(node.output)),
            alive_bytes,
        }
    }
}

impl Step {
    /// The step for readers, in a plan for `isa`.
    pub(crate) fn report(&self, isa: Isa) -> PlannedStep {
        let About { dtype, macs, .. } = self.about;
        let moved = !matches!(self.kernel, Kernel::Alias);
        PlannedStep {
            name: self.about.name.clone(),
            kernel: self.kernel.name(isa),
            dtype,
            macs,
            bytes_read: if moved { self.about.bytes_read } else { 0 },
            bytes_written: if moved { self.about.bytes_written } else { 0 },
            offset: self.output.slot.offset,
            bytes: self.output.slot.bytes,
            alive_bytes: self.about.alive_bytes,
            scratch_bytes: self.scratch_bytes(),
            parts: self.parts,
        }
    }
}

impl Kernel {
    /// `{isa}-{operation}-{variant}`; `isa` is the plan's, which a kernel need not follow.
    fn name(&self, isa: Isa) -> String {
        let (isa, operation) = match self {
            Self::Alias => return "-".to_string(),
            Self::ConvI8(conv) => return conv.name(),
            Self::ConvF32(conv) => return conv.name(),
            Self::Elementwise(kernel) => kernel.name(isa),
            Self::Concat { .. } => (isa, "concat"),
            Self::MulI8(_) | Self::MulF32 { .. } => (isa, "mul"),
            Self::MaxPoolI8 { .. } | Self::MaxPoolF32 { .. } => (isa, "maxpool"),
            Self::AvgPoolI8(_) | Self::AvgPoolF32 { .. } => (isa, "avgpool"),
            // The compiler's code for the baseline.
            Self::PadI8 { .. } | Self::PadF32 { .. } | Self::PadChannels { .. } => {
                (Isa::Scalar, "pad")
            }
            Self::Slice { .. } => (Isa::Scalar, "slice"),
            Self::Shuffle { .. } => (Isa::Scalar, "shuffle"),
            Self::Softmax { .. } => (isa, "softmax"),
            Self::LayerNorm { .. } => (isa, "layernorm"),
            Self::WeightOnlyLinear(layer) => return layer.name(),
            Self::Embedding { .. } => (Isa::Scalar, "embedding"),
            Self::WeightOnlyEmbedding { groups: Groups { bits: 4, .. }, .. } => {
                (Isa::Scalar, "w4embedding")
            }
            Self::WeightOnlyEmbedding { .. } => (Isa::Scalar, "w8embedding"),
            Self::AddConstant { .. } => (isa, "add"),
            Self::Attention { .. } => (isa, "attention"),
            Self::MeanTokens { .. } => (isa, "meantokens"),
        };
        format!("{isa}-{operation}")
    }
}

impl Elementwise {
    /// As [`Kernel::name`], in parts.
    fn name(&self, isa: Isa) -> (Isa, &'static str) {
        match self {
            Self::BatchNorm { .. } => (isa, "batchnorm"),
            Self::Activation { .. } => (isa, "activation"),
            Self::Table(_) => (Isa::Scalar, "table"),
            Self::AddI8(_) | Self::AddF32 { .. } => (isa, "add"),
            Self::Quantize { .. } => (isa, "quantize"),
            Self::Dequantize { .. } => (isa, "dequantize"),
        }
    }
}
