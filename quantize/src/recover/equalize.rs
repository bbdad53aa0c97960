//! Cross-layer equalization: channels between two layers get ranges that fit one scale (Nagel et al.
//! 2019, «Data-Free Quantization Through Weight Equalization and Bias Correction», section 4.1).
//!
//! `relu(x / s) = relu(x) / s` for `s > 0`: a factor `s_c` taken out of what makes channel c and put into
//! what reads it changes nothing but rounding. The paper makes the ranges of both layers' weights
//! equal, for weights with one scale a tensor: `s_c = √(r₁ r₂) / r₂`. Here weights have a scale for each
//! output channel, so what makes the channel loses nothing by any factor, and `r₁` is the range of the
//! channel's activation, which has one scale for all channels; `r₂` is the range of the weights that
//! read it, each relative to the largest of its row. As with transformers in Xiao et al. 2023
//! (SmoothQuant, α = 1/2). What a depthwise layer reads of a channel has a row, and so a scale, of its
//! own: there `s_c = r₁` makes all channels alike at no cost.

use hipflask_runtime::graph::{Activation, Graph, Layout, Node, Op, ValueId};
use hipflask_runtime::{Model, Options, Session, Tensor, View};

use super::{GoOn, check};
use crate::error::{Error, Result};
use crate::inputs::Inputs;

/// Two layers with nothing between them but what scales with its input.
struct Pair {
    /// Makes the channels.
    first: Node,
    /// Reads them.
    second: Node,
}

/// What equalization did.
pub struct Equalized {
    /// The same function, up to rounding.
    pub graph: Graph,
    /// Names of the layers whose channels were scaled, each before the layer that reads it.
    pub pairs: Vec<(String, String)>,
}

/// Equalizes a graph from [`prepare`](crate::prepare), by the activations of `samples`.
///
/// Pairs are convolutions and linear layers, the first with ReLU, ReLU6 or nothing behind it and read
/// by the second alone, straight or through pools, padding and flattening. ReLU6 does not scale:
/// channels that reach 6 on a sample keep their scale, and the others are not scaled beyond 6.
pub fn equalize(graph: &Graph, samples: &dyn Inputs, go_on: GoOn<'_>) -> Result<Equalized> {
    if samples.is_empty() {
        return Err(Error::NoSamples);
    }
    let pairs = pairs(graph);
    let ranges = channel_ranges(graph, &pairs, samples, go_on)?;
    let mut graph = graph.clone();
    let mut done = Vec::new();
    for (pair, ranges) in pairs.iter().zip(&ranges) {
        let readers = reader_ranges(&graph, &pair.second, ranges.len())?;
        let factors = factors(pair, ranges, &readers, one_row_a_channel(&graph, &pair.second));
        if factors.iter().all(|s| (s - 1.0).abs() < f32::EPSILON) {
            continue;
        }
        scale(&mut graph, pair, &factors)?;
        done.push((pair.first.name.clone(), pair.second.name.clone()));
    }
    Ok(Equalized { graph, pairs: done })
}

fn pairs(graph: &Graph) -> Vec<Pair> {
    debug_assert_eq!(graph.layout, Layout::Nhwc, "prepared graphs have the device's layout");
    let layers = graph.nodes.iter().filter(|node| {
        let scales = matches!(node.activation, None | Some(Activation::Relu | Activation::Relu6));
        matches!(node.op, Op::Conv2d { .. } | Op::Linear) && scales
    });
    let pairs = layers.filter_map(|first| {
        let second = reader(graph, first.output)?;
        Some(Pair { first: first.clone(), second: second.clone() })
    });
    pairs.collect()
}

/// The convolution or linear layer that alone reads `value`, straight or through what scales with it.
fn reader(graph: &Graph, value: ValueId) -> Option<&Node> {
    if graph.outputs.contains(&value) {
        return None;
    }
    let mut readers = graph.nodes.iter().filter(|node| node.inputs.contains(&value));
    let (node, None) = (readers.next()?, readers.next()) else { return None };
    match node.op {
        Op::Conv2d { .. } | Op::Linear => Some(node),
        Op::MaxPool2d { .. }
        | Op::AvgPool2d { .. }
        | Op::GlobalAvgPool
        | Op::Pad { .. }
        | Op::Flatten
        | Op::Activation { function: Activation::Relu } => reader(graph, node.output),
        _ => None,
    }
}

/// The largest magnitude of each channel that the first of each pair makes.
fn channel_ranges(
    graph: &Graph,
    pairs: &[Pair],
    samples: &dyn Inputs,
    go_on: GoOn<'_>,
) -> Result<Vec<Vec<f32>>> {
    let channels = |pair: &Pair| graph.value(pair.first.output).shape.last().copied().unwrap_or(1);
    let mut ranges: Vec<Vec<f32>> = pairs.iter().map(|pair| vec![0.0; channels(pair)]).collect();
    let model = Model::from_graph(graph.clone())?;
    let mut session = Session::new(&model, &Options::default())?;
    for index in 0..samples.len() {
        check(go_on)?;
        let sample = samples.get(index);
        session.run_observed(&[View::F32(&sample)], &mut |value, view| {
            let pair = pairs.iter().position(|pair| pair.first.output == value);
            let (Some(pair), View::F32(values)) = (pair, view) else { return };
            for pixel in values.chunks(ranges[pair].len()) {
                for (range, v) in ranges[pair].iter_mut().zip(pixel) {
                    *range = range.max(v.abs());
                }
            }
        })?;
    }
    Ok(ranges)
}

/// Whether each row of `layer` reads one channel alone.
fn one_row_a_channel(graph: &Graph, layer: &Node) -> bool {
    let per_row = graph.weight(layer, "weight").and_then(|w| w.shape().dims::<4>());
    per_row.is_some_and(|[_, _, _, channels]| channels == 1)
}

/// The channel, of `channels`, that each weight of `layer` reads, in the order of the weights.
fn channels_read(graph: &Graph, layer: &Node, channels: usize) -> Result<Vec<usize>> {
    let elements = graph.f32s(layer, "weight")?.len();
    let weight = graph.weight(layer, "weight").and_then(|w| w.shape().dims::<4>());
    let groups = match layer.op {
        Op::Conv2d { groups, .. } => groups,
        _ => 1,
    };
    let read = |index: usize| match weight {
        Some([rows, kh, kw, per_group]) => {
            let group = index / (kh * kw * per_group) / (rows / groups);
            group * per_group + index % per_group
        }
        // A linear layer reads a vector, or an image flattened pixel by pixel.
        None => index % channels,
    };
    Ok((0..elements).map(read).collect())
}

/// The largest weight that reads each channel, relative to the largest of its row.
fn reader_ranges(graph: &Graph, layer: &Node, channels: usize) -> Result<Vec<f32>> {
    let weights = graph.f32s(layer, "weight")?;
    let rows = graph.weight(layer, "weight").map_or(1, |w| w.shape()[0]);
    let largest = |row: &[f32]| row.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
    let largest: Vec<f32> = weights.chunks(weights.len() / rows).map(largest).collect();
    let mut ranges = vec![0.0_f32; channels];
    let read = channels_read(graph, layer, channels)?;
    for (i, (w, channel)) in weights.iter().zip(read).enumerate() {
        let of_row = largest[i / (weights.len() / rows)];
        if of_row > 0.0 {
            ranges[channel] = ranges[channel].max(w.abs() / of_row);
        }
    }
    Ok(ranges)
}

/// What each channel is divided by; 1 where there is nothing to gain.
fn factors(pair: &Pair, ranges: &[f32], readers: &[f32], one_row_a_channel: bool) -> Vec<f32> {
    let relu6 = pair.first.activation == Some(Activation::Relu6);
    let wanted = |(&range, &reader): (&f32, &f32)| match (range > 0.0, reader > 0.0) {
        // Of a channel that is always zero more below; that of one which nothing reads does not matter.
        (false, _) | (_, false) => None,
        _ if relu6 && range >= 6.0 => None,
        _ if one_row_a_channel => Some(f64::from(range)),
        _ => Some((f64::from(range) / f64::from(reader)).sqrt()),
    };
    let wanted: Vec<Option<f64>> = ranges.iter().zip(readers).map(wanted).collect();
    // The largest range stays what it was, and none exceeds it.
    let largest = f64::from(ranges.iter().fold(0.0_f32, |m, &r| m.max(r)));
    let scaled = ranges.iter().zip(&wanted).filter_map(|(&r, s)| Some(f64::from(r) / (*s)?));
    let norm = scaled.fold(0.0, f64::max) / largest;
    let factor = |s: &Option<f64>| match s {
        Some(s) if norm > 0.0 && (s * norm) as f32 >= f32::MIN_POSITIVE => (s * norm) as f32,
        _ => 1.0,
    };
    let mut factors: Vec<f32> = wanted.iter().map(factor).collect();
    // Weights that read nothing but zeros must not decide the scale of their rows.
    let live = || ranges.iter().zip(readers).zip(&factors).filter(|((range, _), _)| **range > 0.0);
    let strongest = live().map(|((_, reader), s)| reader * s).fold(0.0, f32::max);
    for ((factor, range), &reader) in factors.iter_mut().zip(ranges).zip(readers) {
        let alike = strongest / reader;
        if *range <= 0.0 && (f32::MIN_POSITIVE..1.0).contains(&alike) {
            *factor = alike;
        }
    }
    factors
}

fn scale(graph: &mut Graph, pair: &Pair, factors: &[f32]) -> Result<()> {
    let channels = factors.len();
    let weights = graph.f32s(&pair.first, "weight")?;
    let row = weights.len() / channels;
    let made: Vec<f32> = weights.iter().enumerate().map(|(i, w)| w / factors[i / row]).collect();
    replace(graph, &pair.first, "weight", &made);
    if graph.weight(&pair.first, "bias").is_some() {
        let biases = graph.f32s(&pair.first, "bias")?;
        let made: Vec<f32> = biases.iter().zip(factors).map(|(b, s)| b / s).collect();
        replace(graph, &pair.first, "bias", &made);
    }
    let read = channels_read(graph, &pair.second, channels)?;
    let weights = graph.f32s(&pair.second, "weight")?;
    let made: Vec<f32> = weights.iter().zip(read).map(|(w, c)| w * factors[c]).collect();
    replace(graph, &pair.second, "weight", &made);
    Ok(())
}

fn replace(graph: &mut Graph, node: &Node, role: &str, values: &[f32]) {
    let name = node.tensor_name(role);
    let shape = graph.tensors[&name].shape().clone();
    graph.tensors.insert(name, Tensor::from_f32(shape, values));
}
