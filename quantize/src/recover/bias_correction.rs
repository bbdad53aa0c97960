//! Bias correction: the mean error of each output channel is taken out of its bias (Nagel et al. 2019,
//! «Data-Free Quantization Through Weight Equalization and Bias Correction», section 4.2; empirical,
//! as in appendix D).
//!
//! The mean of a channel over all positions is its weights times the mean patch of the input, plus its
//! bias. So the error before the activation, which int8 cuts off, is known from the inputs alone.

use hipflask_runtime::Tensor;
use hipflask_runtime::graph::Graph;

use super::layers::{Layer, for_inputs, input_params, int8_layers};
use super::patches::Patches;
use super::{GoOn, check};
use crate::error::{Error, Result};
use crate::inputs::Inputs;

/// Largest magnitude of a corrected bias: with the products it stays within 32 bits.
const LARGEST_BIAS: f64 = (1_u32 << 30) as f64;

/// Moves the biases of all int8 layers of `int8`, in execution order, so that on `samples` the mean of
/// each of their output channels before the activation is that of `float`.
///
/// Each layer is corrected behind those before it: what they have left of their error is corrected too.
pub fn correct_biases(
    float: &Graph,
    int8: &mut Graph,
    samples: &dyn Inputs,
    go_on: GoOn<'_>,
) -> Result<()> {
    if samples.is_empty() {
        return Err(Error::NoSamples);
    }
    for layer in int8_layers(float, int8) {
        check(go_on)?;
        let place = float.nodes.iter().position(|node| node.name == layer.float.name);
        let Some((place, patches)) = place.zip(Patches::of(float, &layer.float)) else { continue };
        let wanted = mean_patches(float, place, &patches, samples, go_on)?;
        let found = mean_patches(int8, layer.place, &patches, samples, go_on)?;
        correct(float, int8, &layer, &patches, [&wanted, &found])?;
    }
    Ok(())
}

/// The mean patch of each group, one after another, over all positions of all samples.
fn mean_patches(
    graph: &Graph,
    place: usize,
    patches: &Patches,
    samples: &dyn Inputs,
    go_on: GoOn<'_>,
) -> Result<Vec<f64>> {
    let mut sums = vec![0.0_f64; patches.groups * patches.len];
    let mut patch = vec![0.0_f32; patches.len];
    for_inputs(graph, place, samples, 0..samples.len(), go_on, |x| {
        for (group, sums) in sums.chunks_mut(patches.len).enumerate() {
            for position in 0..patches.positions {
                patches.read(x, position, group, &mut patch);
                for (sum, &v) in sums.iter_mut().zip(&patch) {
                    *sum += f64::from(v);
                }
            }
        }
    })?;
    let count = (samples.len() * patches.positions) as f64;
    sums.iter_mut().for_each(|sum| *sum /= count);
    Ok(sums)
}

/// Takes the difference of the channels' means with the mean patches `wanted` and `found` out of the
/// biases.
fn correct(
    float: &Graph,
    int8: &mut Graph,
    layer: &Layer,
    patches: &Patches,
    [wanted, found]: [&[f64]; 2],
) -> Result<()> {
    let node = int8.nodes[layer.place].clone();
    let x = input_params(int8, &node);
    let (real, weights) = (float.f32s(&layer.float, "weight")?, int8.i8s(&node, "weight")?);
    let scales = int8.f32s(&node, "scale")?;
    let mut biases = int8.i32s(&node, "bias")?.into_owned();
    let real_bias = match float.weight(&layer.float, "bias") {
        Some(_) => float.f32s(&layer.float, "bias")?.into_owned(),
        None => vec![0.0; biases.len()],
    };
    let per_group = biases.len() / patches.groups;
    let rows = real.chunks(patches.len).zip(weights.chunks(patches.len));
    for (c, (real, quantized)) in rows.enumerate() {
        let group = c / per_group * patches.len..(c / per_group + 1) * patches.len;
        let means = wanted[group.clone()].iter().zip(&found[group]);
        let step = f64::from(x.scale) * f64::from(scales[c]);
        let sum: i32 = quantized.iter().map(|&q| i32::from(q)).sum();
        // The bias in the file has the zero point's share subtracted.
        let own_bias = f64::from(biases[c] + i32::from(x.zero_point) * sum) * step;
        let mut error = own_bias - f64::from(real_bias[c]);
        for ((&w, &q), (wanted, found)) in real.iter().zip(quantized).zip(means) {
            error += f64::from(q) * f64::from(scales[c]) * found - f64::from(w) * wanted;
        }
        let corrected = f64::from(biases[c]) - (error / step).round_ties_even();
        biases[c] = corrected.clamp(-LARGEST_BIAS, LARGEST_BIAS) as i32;
    }
    int8.tensors.insert(node.tensor_name("bias"), Tensor::from_i32([biases.len()], &biases));
    Ok(())
}
