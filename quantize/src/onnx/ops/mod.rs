//! What each ONNX operator becomes; one file for each family.

mod activation;
mod affine;
mod constant;
mod conv;
mod elementwise;
mod integer;
mod linear;
mod nbits;
mod norm;
mod pattern;
mod pool;
mod quantized;
mod shape;
mod slice;
mod transpose;

use hipflask_runtime::Result;

use super::export::CONTRIBUTED;
use super::importer::Importer;
use super::node::{OnnxNode, unsupported};
use super::patterns::Pattern;

/// Imports one node, or the pattern that ends with it.
pub(super) fn import<'a>(
    importer: &mut Importer<'a>,
    node: OnnxNode<'a>,
    pattern: Option<&Pattern<'a>>,
) -> Result<()> {
    if let Some(pattern) = pattern {
        return pattern::import(importer, node, pattern);
    }
    if node.proto.domain == CONTRIBUTED && node.op() == "MatMulNBits" {
        return nbits::mat_mul(importer, node);
    }
    if !matches!(node.proto.domain.as_str(), "" | "ai.onnx") {
        return Err(unsupported(format!(
            "belongs to the operator set {:?}, and only ONNX's own is supported: export without \
             operators of a runtime (for onnxruntime: without its graph optimizations)",
            node.proto.domain
        )));
    }
    if integer::fold(importer, node)? {
        return Ok(());
    }
    if importer.begin_view(node) {
        let done = dispatch(importer, node);
        importer.end_view(node);
        return done;
    }
    dispatch(importer, node)
}

/// Whether an operator computes each element by itself, so that it does not matter in which order
/// they lie.
pub(super) fn is_elementwise(op: &str) -> bool {
    matches!(
        op,
        "Relu"
            | "HardSwish"
            | "Tanh"
            | "Sigmoid"
            | "HardSigmoid"
            | "Clip"
            | "Gelu"
            | "Add"
            | "Sum"
            | "Mul"
            | "QuantizeLinear"
            | "DequantizeLinear"
            | "Identity"
            | "Dropout"
    )
}

/// Whether a graph input is an image with channels last that all its readers reorder at once.
pub(super) fn reorders_input<'a>(mut readers: impl Iterator<Item = OnnxNode<'a>>) -> bool {
    readers.all(|n| n.op() == "Transpose" && n.ints("perm") == Some(&transpose::TO_FIRST[..]))
}

fn dispatch<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
    match node.op() {
        "Conv" => conv::conv(importer, node),
        "Pad" => conv::pad(importer, node),
        "Gemm" => linear::gemm(importer, node),
        "MatMul" => linear::mat_mul(importer, node),
        "BatchNormalization" => norm::batch_norm(importer, node),
        "Relu" | "HardSwish" | "Tanh" | "Sigmoid" => activation::plain(importer, node),
        "Gelu" => activation::gelu(importer, node),
        "HardSigmoid" => activation::hard_sigmoid(importer, node),
        "Clip" => activation::clip(importer, node),
        "Add" | "Sum" => elementwise::add(importer, node),
        "Mul" => elementwise::mul(importer, node),
        "Sub" => elementwise::sub(importer, node),
        "Div" => elementwise::div(importer, node),
        "Concat" => elementwise::concat(importer, node),
        "Softmax" => elementwise::softmax(importer, node),
        "MaxPool" => pool::max(importer, node),
        "AveragePool" => pool::average(importer, node),
        "GlobalAveragePool" => pool::global(importer, node),
        "ReduceMean" => pool::reduce_mean(importer, node),
        "Slice" => slice::slice(importer, node),
        "Split" => slice::split(importer, node),
        "Transpose" => transpose::transpose(importer, node),
        "Cast" => shape::cast(importer, node),
        "LayerNormalization" => norm::layer_norm(importer, node),
        "Flatten" => shape::flatten(importer, node),
        "Reshape" => shape::reshape(importer, node),
        "Squeeze" => shape::squeeze(importer, node),
        "Unsqueeze" => shape::unsqueeze(importer, node),
        "Identity" | "Dropout" => shape::same(importer, node),
        "Constant" => constant::constant(importer, node),
        "QuantizeLinear" => quantized::quantize(importer, node),
        "DequantizeLinear" => quantized::dequantize(importer, node),
        other => Err(unsupported(remedy(other))),
    }
}

/// Why there is no such operator, and what to do instead.
fn remedy(op: &str) -> String {
    let instead = match op {
        "DynamicQuantizeLinear" | "ConvInteger" | "MatMulInteger" => {
            return "the model finds its ranges while it runs; give the float model, hipflask \
                    quantizes it itself, or one with static ranges in the format QDQ"
                .into();
        }
        "QLinearConv" | "QLinearMatMul" => {
            return "of quantized models, those in the format QDQ are read (for onnxruntime: \
                    quant_format = QuantFormat.QDQ); or give the float model"
                .into();
        }
        "LogSoftmax" => "export the logits, or use Softmax",
        "Erf" | "Elu" | "Selu" | "LeakyRelu" | "PRelu" | "Mish" | "Softplus" => {
            "train with Relu, HardSwish or SiLU instead"
        }
        "GlobalMaxPool" | "ReduceMax" => "use MaxPool with the image's size as its kernel",
        "ConvTranspose" | "Upsample" | "Resize" => "only networks that shrink images are supported",
        "LSTM" | "GRU" | "RNN" | "If" | "Loop" | "Scan" => {
            "only feed-forward networks are supported"
        }
        "InstanceNormalization" | "GroupNormalization" => "use batch normalization",
        _ => "simplify the model (onnxsim) or replace it by a layer that docs/onnx.md lists",
    };
    format!("the operator is not supported: {instead}")
}
