//! From ranges to integers: weights, biases and multipliers of one int8 layer.

use hipflask_runtime::Tensor;
use hipflask_runtime::quant::{QuantParams, multiplier};

use crate::error::{Error, Result};

/// Largest magnitude of a quantized bias: leaves room for the products in 32 bits.
const LARGEST_BIAS: f64 = (1_u32 << 29) as f64;

/// The four tensors of an int8 convolution or linear layer, by role.
pub(crate) type LayerTensors = [(&'static str, Tensor); 4];

/// Quantizes a layer: `weight` is `[o, …]` row by row, `bias` one an output channel.
///
/// Weights are symmetric per channel in [-127, 127]. The bias is at `s_x · s_w` and has
/// `zero_point_x · Σ w` already subtracted.
pub(crate) fn layer(
    name: &str,
    shape: &[usize],
    weight: &[f32],
    bias: &[f32],
    x: QuantParams,
    y: QuantParams,
) -> Result<LayerTensors> {
    let channels = bias.len();
    for (role, values) in [("weight", weight), ("bias", bias)] {
        if let Some(&found) = values.iter().find(|v| !v.is_finite()) {
            return Err(Error::Weight { tensor: format!("{name}.{role}"), found, format: "int8" });
        }
    }
    let mut quantized = Vec::with_capacity(weight.len());
    let (mut biases, mut scales, mut multipliers) = (Vec::new(), Vec::new(), Vec::new());
    for (row, &bias) in weight.chunks(weight.len() / channels).zip(bias) {
        let scale = weight_scale(row, bias, x);
        let start = quantized.len();
        quantized.extend(row.iter().map(|&w| quantize_weight(w, scale)));
        let sum: i32 = quantized[start..].iter().map(|&w| i32::from(w)).sum();
        let steps = f64::from(bias) / (f64::from(x.scale) * f64::from(scale));
        biases.push(steps.round_ties_even() as i32 - i32::from(x.zero_point) * sum);
        scales.push(scale);
        multipliers.push(multiplier(x.scale, scale, y.scale));
    }
    Ok([
        ("weight", Tensor::from_i8(shape, &quantized)),
        ("bias", Tensor::from_i32([channels], &biases)),
        ("scale", Tensor::from_f32([channels], &scales)),
        ("multiplier", Tensor::from_f32([channels], &multipliers)),
    ])
}

/// `max|w| / 127`, raised where the bias would not fit its 32 bits.
fn weight_scale(row: &[f32], bias: f32, x: QuantParams) -> f32 {
    let largest = row.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
    let for_bias = f64::from(bias.abs()) / (f64::from(x.scale) * LARGEST_BIAS);
    let scale = (largest / 127.0).max(for_bias as f32);
    if scale >= f32::MIN_POSITIVE { scale } else { 1.0 }
}

fn quantize_weight(w: f32, scale: f32) -> i8 {
    (w / scale).round_ties_even().clamp(-127.0, 127.0) as i8
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const X: QuantParams = QuantParams { scale: 0.5, zero_point: 10 };
    const Y: QuantParams = QuantParams { scale: 0.25, zero_point: 0 };

    #[test]
    fn a_layer_by_hand() {
        // Scale 2.54 / 127 = 0.02: weights 127 and -64 (-1.27 / 0.02 = -63.5, ties to even).
        // Bias 1 / (0.5 · 0.02) = 100, minus 10 · (127 - 64) = 630, is -530.
        let tensors = layer("fc", &[1, 2], &[2.54, -1.27], &[1.0], X, Y).unwrap();
        let [weight, bias, scale, multiplier] = tensors.map(|(_, t)| t);
        assert_eq!(weight.i8s().unwrap(), [127, -64]);
        assert_eq!(bias.i32s().unwrap()[..], [-530]);
        assert!((scale.f32s().unwrap()[0] - 0.02).abs() < 1e-7);
        assert!((multiplier.f32s().unwrap()[0] - 0.04).abs() < 1e-7);
    }

    #[test]
    fn a_channel_of_zeros_and_a_huge_bias_stay_in_range() {
        let tensors = layer("fc", &[2, 1], &[0.0, 1e-20], &[0.0, 1e6], X, Y).unwrap();
        let biases = tensors[1].1.i32s().unwrap().into_owned();
        assert_eq!(biases[0], 0);
        assert!(biases[1] > 0 && f64::from(biases[1]) <= LARGEST_BIAS * 1.01, "{biases:?}");
    }

    #[test]
    fn a_nan_weight_is_named() {
        let error = layer("fc", &[1, 1], &[f32::NAN], &[0.0], X, Y).unwrap_err();
        assert!(error.to_string().contains("fc.weight"), "{error}");
    }
}
