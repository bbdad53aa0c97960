//! Activations on int8 as tables of 256 entries, computed once here.

use hipflask_runtime::Tensor;
use hipflask_runtime::graph::Activation;
use hipflask_runtime::kernels::evaluate;
use hipflask_runtime::quant::QuantParams;

/// Output parameters that a function's own range asks for (LiteRT's int8 specification).
pub(crate) fn fixed_params(function: Activation) -> Option<QuantParams> {
    match function {
        Activation::Sigmoid | Activation::HardSigmoid => {
            Some(QuantParams { scale: 1.0 / 256.0, zero_point: -128 })
        }
        Activation::Tanh => Some(QuantParams { scale: 1.0 / 128.0, zero_point: 0 }),
        _ => None,
    }
}

/// Entry `q + 128` is what becomes of input `q`.
pub(crate) fn table(function: Activation, x: QuantParams, y: QuantParams) -> Tensor {
    let entries: Vec<i8> =
        (-128..=127_i8).map(|q| y.quantize(evaluate(function, x.dequantize(q)))).collect();
    Tensor::from_i8([256], &entries)
}
