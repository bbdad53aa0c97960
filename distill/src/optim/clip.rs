//! Gradient clipping by the global norm (Pascanu, Mikolov & Bengio 2013).

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::Parameter;
use crate::Result;

/// Scales the gradients of `parameters` down so that their joint L2 norm is at most `max_norm`.
///
/// Returns the norm before, as PyTorch's `clip_grad_norm_`. A norm that is NaN or infinite is
/// returned with the gradients untouched: the caller must stop.
pub fn clip_grad_norm(
    gradients: &mut GradStore,
    parameters: &[Parameter],
    max_norm: f64,
) -> Result<f64> {
    let squares = parameters
        .iter()
        .filter_map(|parameter| gradients.get(&parameter.var))
        .map(|gradient| gradient.sqr()?.sum_all()?.to_dtype(candle_core::DType::F64))
        .collect::<candle_core::Result<Vec<_>>>()?;
    if squares.is_empty() {
        return Ok(0.0);
    }
    // One copy from the device for all tensors.
    let norm = Tensor::stack(&squares, 0)?.sum_all()?.to_scalar::<f64>()?.sqrt();
    if norm.is_finite() && norm > max_norm {
        // PyTorch's small constant, so that clipped gradients are the same.
        let scale = max_norm / (norm + 1e-6);
        for Parameter { var, .. } in parameters {
            if let Some(gradient) = gradients.remove(var) {
                gradients.insert(var, (gradient * scale)?);
            }
        }
    }
    Ok(norm)
}
