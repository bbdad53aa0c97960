//! Bias correction: the mean error of each output channel is taken out of its bias (Nagel et al. 2019,
//! «Data-Free Quantization Through Weight Equalization and Bias Correction», section 4.2; empirical,
//! as in appendix D).
//!
//! The mean of a channel over all positions is its weights times the mean patch of the input, plus its
//! bias. So the error before the activation, which int8 cuts off, is known from the inputs alone.

use hipflask_runtime::graph::Graph;
use hipflask_runtime::{Model, Options, Session, Tensor, View};

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
    let layers: Vec<(Layer, Patches)> = int8_layers(float, int8)
        .into_iter()
        .filter_map(|layer| Patches::of(float, &layer.float).map(|patches| (layer, patches)))
        .collect();
    let wanted = float_means(float, &layers, samples, go_on)?;
    for ((layer, patches), wanted) in layers.iter().zip(&wanted) {
        let mut found = Means::new(patches);
        let all = 0..samples.len();
        for_inputs(int8, layer.place, samples, all, go_on, |x| found.add(patches, x))?;
        correct(float, int8, layer, patches, [&wanted.finish(), &found.finish()])?;
    }
    Ok(())
}

/// The mean patches of all layers of the float graph, which stay what they are: in one pass.
fn float_means(
    float: &Graph,
    layers: &[(Layer, Patches)],
    samples: &dyn Inputs,
    go_on: GoOn<'_>,
) -> Result<Vec<Means>> {
    let mut means: Vec<Means> = layers.iter().map(|(_, patches)| Means::new(patches)).collect();
    let mut session = Session::new(&Model::from_graph(float.clone())?, &Options::default())?;
    for index in 0..samples.len() {
        check(go_on)?;
        session.run_observed(&[View::F32(&samples.get(index))], &mut |value, view| {
            let View::F32(x) = view else { return };
            for ((layer, patches), means) in layers.iter().zip(&mut means) {
                if layer.float.inputs[0] == value {
                    means.add(patches, x);
                }
            }
        })?;
    }
    Ok(means)
}

/// The mean patch of each group, one after another, over positions and samples.
struct Means {
    sums: Vec<f64>,
    positions: usize,
    patch: Vec<f32>,
}

impl Means {
    fn new(patches: &Patches) -> Self {
        let sums = vec![0.0; patches.groups * patches.len];
        Self { sums, positions: 0, patch: vec![0.0; patches.len] }
    }

    /// Takes in all positions of the layer's input `x`.
    fn add(&mut self, patches: &Patches, x: &[f32]) {
        for (group, sums) in self.sums.chunks_mut(patches.len).enumerate() {
            for position in 0..patches.positions {
                patches.read(x, position, group, &mut self.patch);
                for (sum, &v) in sums.iter_mut().zip(&self.patch) {
                    *sum += f64::from(v);
                }
            }
        }
        self.positions += patches.positions;
    }

    fn finish(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.positions as f64).collect()
    }
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
