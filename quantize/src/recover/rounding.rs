//! Rounding that minimises the error of a layer's output instead of each weight's: one weight after
//! another, each taking up the errors of those before it (Frantar et al. 2022, «GPTQ: Accurate
//! Post-Training Quantization for Generative Pre-trained Transformers», after LeCun et al. 1990 and
//! Hassibi et al. 1993).
//!
//! For a row `w` and the moments `H` of its input patches, the squared error of the output is
//! `(w - ŵ)ᵀ H (w - ŵ)`. With `H = Mᵀ · diag(d) · M` its j-th term is 0 for
//! `ŵ_j = w_j + Σ_{i<j} M_ji (w_i - ŵ_i)`, of which the nearest step is taken: the same choice as the
//! source's, which inverts `H` instead.

use hipflask_runtime::Tensor;
use hipflask_runtime::graph::Graph;

use super::factor::{Factor, Moments};
use super::layers::{Layer, for_inputs, input_params, int8_layers};
use super::patches::Patches;
use super::{GoOn, check};
use crate::error::{Error, Result};
use crate::inputs::{Inputs, spread};

/// Longest row whose moments are gathered: they take `8 k²` bytes, and `k³ / 3` operations to factor.
pub const LONGEST_ROW: usize = 2048;

/// Samples that positions of images are taken from.
const IMAGES: usize = 128;

/// Rounds the weights of all int8 layers of `int8`, in execution order, for the inputs that they get
/// from the layers before them; gives how many rows changed.
///
/// Scales stay. A row keeps its nearest rounding where that is as good. Rows longer than
/// [`LONGEST_ROW`] keep it too.
pub fn round_weights(
    float: &Graph,
    int8: &mut Graph,
    samples: &dyn Inputs,
    go_on: GoOn<'_>,
) -> Result<usize> {
    if samples.is_empty() {
        return Err(Error::NoSamples);
    }
    let mut changed = 0;
    for layer in int8_layers(float, int8) {
        check(go_on)?;
        let Some(patches) = Patches::of(float, &layer.float) else { continue };
        if patches.len > LONGEST_ROW {
            continue;
        }
        let moments = moments(int8, &layer, &patches, samples, go_on)?;
        changed += round(float, int8, &layer, &patches, moments, go_on)?;
    }
    Ok(changed)
}

/// The moments of each group's patches, over enough positions of enough samples.
fn moments(
    int8: &Graph,
    layer: &Layer,
    patches: &Patches,
    samples: &dyn Inputs,
    go_on: GoOn<'_>,
) -> Result<Vec<Moments>> {
    let k = patches.len;
    let wanted = (4 * k).max(4096);
    let count = if patches.positions == 1 { samples.len() } else { samples.len().min(IMAGES) };
    let positions = wanted.div_ceil(count).min(patches.positions);
    let mut moments: Vec<Moments> = (0..patches.groups).map(|_| Moments::new(k)).collect();
    let (mut patch, mut wide) = (vec![0.0_f32; k], vec![0.0_f64; k]);
    let mut shift = 0;
    for_inputs(int8, layer.place, samples, spread(samples.len(), count), go_on, |x| {
        for position in spread(patches.positions, positions) {
            // Other positions in each sample.
            let position = (position + shift) % patches.positions;
            for (group, moments) in moments.iter_mut().enumerate() {
                patches.read(x, position, group, &mut patch);
                wide.iter_mut().zip(&patch).for_each(|(wide, &v)| *wide = f64::from(v));
                moments.add(&wide);
            }
        }
        shift += 1;
    })?;
    Ok(moments)
}

fn round(
    float: &Graph,
    int8: &mut Graph,
    layer: &Layer,
    patches: &Patches,
    moments: Vec<Moments>,
    go_on: GoOn<'_>,
) -> Result<usize> {
    let node = int8.nodes[layer.place].clone();
    let zero_point = i32::from(input_params(int8, &node).zero_point);
    let real = float.f32s(&layer.float, "weight")?;
    let scales = int8.f32s(&node, "scale")?;
    let mut weights = int8.i8s(&node, "weight")?.to_vec();
    let mut biases = int8.i32s(&node, "bias")?.into_owned();
    let (k, per_group) = (patches.len, biases.len() / patches.groups);
    let mut changed = 0;
    for (group, moments) in moments.into_iter().enumerate() {
        let factor = moments.factored();
        for c in group * per_group..(group + 1) * per_group {
            check(go_on)?;
            let row = c * k..(c + 1) * k;
            let steps: Vec<f64> =
                real[row.clone()].iter().map(|&w| f64::from(w) / f64::from(scales[c])).collect();
            let Some(rounded) = better(&factor, &steps, &weights[row.clone()]) else { continue };
            let sum = |row: &[i8]| row.iter().map(|&q| i32::from(q)).sum::<i32>();
            // The bias in the file has the zero point's share subtracted.
            biases[c] += zero_point * (sum(&weights[row.clone()]) - sum(&rounded));
            weights[row].copy_from_slice(&rounded);
            changed += 1;
        }
    }
    let name = node.tensor_name("weight");
    let shape = int8.tensors[&name].shape().clone();
    int8.tensors.insert(name, Tensor::from_i8(shape, &weights));
    int8.tensors.insert(node.tensor_name("bias"), Tensor::from_i32([biases.len()], &biases));
    Ok(changed)
}

/// A rounding of `row`, in steps of its scale, that costs less than `nearest`.
fn better(factor: &Factor, row: &[f64], nearest: &[i8]) -> Option<Vec<i8>> {
    let mut errors = Vec::with_capacity(row.len());
    let mut rounded = Vec::with_capacity(row.len());
    for (j, &w) in row.iter().enumerate() {
        let target = w + factor.carried(j, &errors);
        let q = target.round_ties_even().clamp(-127.0, 127.0);
        errors.push(w - q);
        rounded.push(q as i8);
    }
    let of_nearest: Vec<f64> = row.iter().zip(nearest).map(|(&w, &q)| w - f64::from(q)).collect();
    (factor.cost(&errors) < factor.cost(&of_nearest)).then_some(rounded)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn equal_inputs_share_their_rounding_errors() {
        // Four inputs that are always equal: only the sum of the weights counts. 0.4 · 4 = 1.6 steps;
        // nearest gives 0, the best sum is 2.
        let mut moments = Moments::new(4);
        for v in [1.0, -2.0, 0.5] {
            moments.add(&[v; 4]);
        }
        let rounded = better(&moments.factored(), &[0.4; 4], &[0; 4]).unwrap();
        assert_eq!(rounded.iter().map(|&q| i32::from(q)).sum::<i32>(), 2, "{rounded:?}");
    }

    #[test]
    fn independent_inputs_keep_the_nearest() {
        let mut moments = Moments::new(3);
        for i in 0..3 {
            let mut x = [0.0; 3];
            x[i] = 1.0 + i as f64;
            moments.add(&x);
        }
        assert_eq!(better(&moments.factored(), &[0.4, -1.6, 2.2], &[0, -2, 2]), None);
    }

    /// Against the source's own steps: quantize a weight, move those after it by the inverse of `H`, and
    /// take the weight out of the inverse (Frantar et al. 2022, equations 2 and 3).
    #[test]
    fn the_choice_is_that_of_the_inverse() {
        let k = 6;
        let mut number = numbers();
        for _ in 0..50 {
            let mut moments = Moments::new(k);
            let samples: Vec<Vec<f64>> = (0..30)
                .map(|_| {
                    let common = number();
                    (0..k).map(|_| common + number()).collect()
                })
                .collect();
            for x in &samples {
                moments.add(x);
            }
            let mut h: Vec<Vec<f64>> = (0..k)
                .map(|i| (0..k).map(|j| samples.iter().map(|x| x[i] * x[j]).sum()).collect())
                .collect();
            let damping = 0.01 * (0..k).map(|i| h[i][i]).sum::<f64>() / k as f64;
            (0..k).for_each(|i| h[i][i] += damping);
            let mut inverse = inverted(h);
            let row: Vec<f64> = (0..k).map(|_| 5.0 * number()).collect();
            let mut moved = row.clone();
            for j in 0..k {
                let q = moved[j].round_ties_even();
                let error = (moved[j] - q) / inverse[j][j];
                (j + 1..k).for_each(|i| moved[i] -= error * inverse[i][j]);
                moved[j] = q;
                let column: Vec<f64> = (0..k).map(|i| inverse[i][j]).collect();
                for (i, line) in inverse.iter_mut().enumerate() {
                    for (v, c) in line.iter_mut().zip(&column) {
                        *v -= column[i] * c / column[j];
                    }
                }
            }
            let nearest: Vec<i8> = row.iter().map(|w| w.round_ties_even() as i8).collect();
            let found = better(&moments.factored(), &row, &nearest).unwrap_or(nearest.clone());
            let wanted: Vec<i8> = moved.iter().map(|&q| q as i8).collect();
            assert!(found == wanted || found == nearest, "{row:?}: {found:?}, {wanted:?}");
        }
    }

    /// By Gauss and Jordan.
    fn inverted(mut h: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let k = h.len();
        let mut inverse: Vec<Vec<f64>> =
            (0..k).map(|i| (0..k).map(|j| f64::from(u8::from(i == j))).collect()).collect();
        for i in 0..k {
            let pivot = h[i][i];
            for m in [&mut h, &mut inverse] {
                m[i].iter_mut().for_each(|v| *v /= pivot);
            }
            for other in (0..k).filter(|&other| other != i) {
                let factor = h[other][i];
                for m in [&mut h, &mut inverse] {
                    let row = m[i].clone();
                    m[other].iter_mut().zip(row).for_each(|(v, r)| *v -= factor * r);
                }
            }
        }
        inverse
    }

    /// Reproducible numbers in [-1, 1].
    fn numbers() -> impl FnMut() -> f64 {
        let mut seed = 12_345_u64;
        move || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f64 / f64::from(1 << 23) - 1.0
        }
    }

    /// Against the best of all roundings up or down.
    #[test]
    fn it_comes_near_the_best_of_all_roundings() {
        let k = 8;
        let mut number = numbers();
        let (mut of_nearest, mut of_ours, mut of_best) = (0.0, 0.0, 0.0);
        for _ in 0..20 {
            let mut moments = Moments::new(k);
            for _ in 0..40 {
                // Correlated, as neighbouring pixels are.
                let common = 2.0 * number();
                let x: Vec<f64> = (0..k).map(|_| common + number()).collect();
                moments.add(&x);
            }
            let factor = moments.factored();
            let row: Vec<f64> = (0..k).map(|_| 10.0 * number()).collect();
            let cost = |rounded: &[f64]| {
                let errors: Vec<f64> = row.iter().zip(rounded).map(|(w, q)| w - q).collect();
                factor.cost(&errors)
            };
            let nearest: Vec<f64> = row.iter().map(|w| w.round_ties_even()).collect();
            let nearest_i8: Vec<i8> = nearest.iter().map(|&q| q as i8).collect();
            let ours = better(&factor, &row, &nearest_i8).unwrap_or(nearest_i8);
            of_nearest += cost(&nearest);
            of_ours += cost(&ours.iter().map(|&q| f64::from(q)).collect::<Vec<_>>());
            let all = (0..1_u32 << k).map(|up| {
                let round = |j: usize| row[j].floor() + f64::from(up >> j & 1);
                cost(&(0..k).map(round).collect::<Vec<_>>())
            });
            of_best += all.fold(f64::INFINITY, f64::min);
        }
        assert!(
            of_best <= of_ours && of_ours < 0.5 * of_nearest,
            "{of_best} {of_ours} {of_nearest}"
        );
        assert!(of_ours < 2.0 * of_best, "{of_best} {of_ours} {of_nearest}");
    }
}
