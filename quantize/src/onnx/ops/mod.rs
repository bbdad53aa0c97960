//! What each ONNX operator becomes; one file for each family.

mod activation;
mod constant;
mod conv;
mod elementwise;
mod integer;
mod linear;
mod norm;
mod pool;
mod shape;

use hipflask_runtime::Result;

use super::importer::Importer;
use super::node::{OnnxNode, unsupported};

/// Imports one node.
pub(super) fn import<'a>(importer: &mut Importer<'a>, node: OnnxNode<'a>) -> Result<()> {
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
    match node.op() {
        "Conv" => conv::conv(importer, node),
        "Pad" => conv::pad(importer, node),
        "Gemm" => linear::gemm(importer, node),
        "MatMul" => linear::mat_mul(importer, node),
        "BatchNormalization" => norm::batch_norm(importer, node),
        "Relu" | "HardSwish" | "Tanh" => activation::plain(importer, node),
        "Sigmoid" => activation::sigmoid(importer, node),
        "HardSigmoid" => activation::hard_sigmoid(importer, node),
        "Clip" => activation::clip(importer, node),
        "Add" | "Sum" => elementwise::add(importer, node),
        "Concat" => elementwise::concat(importer, node),
        "Softmax" => elementwise::softmax(importer, node),
        "MaxPool" => pool::max(importer, node),
        "AveragePool" => pool::average(importer, node),
        "GlobalAveragePool" => pool::global(importer, node),
        "ReduceMean" => pool::reduce_mean(importer, node),
        "Slice" => pool::slice(importer, node),
        "Flatten" => shape::flatten(importer, node),
        "Reshape" => shape::reshape(importer, node),
        "Squeeze" => shape::squeeze(importer, node),
        "Unsqueeze" => shape::unsqueeze(importer, node),
        "Identity" | "Dropout" => shape::same(importer, node),
        "Constant" => constant::constant(importer, node),
        other => Err(unsupported(remedy(other))),
    }
}

/// Why there is no such operator, and what to do instead.
fn remedy(op: &str) -> String {
    let instead = match op {
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger" => {
            return "the model is quantized already; give the float model, hipflask quantizes it \
                    itself"
                .into();
        }
        "LogSoftmax" => "export the logits, or use Softmax",
        "Gelu" | "Erf" | "Elu" | "Selu" | "LeakyRelu" | "PRelu" | "Mish" | "Softplus" => {
            "train with Relu, HardSwish or SiLU instead"
        }
        "GlobalMaxPool" | "ReduceMax" => "use MaxPool with the image's size as its kernel",
        "ConvTranspose" | "Upsample" | "Resize" => "only networks that shrink images are supported",
        "LSTM" | "GRU" | "RNN" | "If" | "Loop" | "Scan" => {
            "only feed-forward networks are supported"
        }
        "Transpose" => "export in the order [n, c, h, w], PyTorch's, without transpositions",
        "LayerNormalization" | "InstanceNormalization" | "GroupNormalization" => {
            "use batch normalization"
        }
        "Mul" | "Div" | "Sub" => {
            "fold it into the layer before or after it, or leave it to the preprocessing"
        }
        _ => "simplify the model (onnxsim) or replace it by a layer that docs/onnx.md lists",
    };
    format!("the operator is not supported: {instead}")
}
