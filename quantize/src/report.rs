//! What int8 does to each layer: how it compares with the float graph on the same samples.

use hipflask_runtime::graph::{Graph, Node, ValueId};
use hipflask_runtime::{DType, Model, Options, Session, View};
use serde::Serialize;

use crate::calibration::{Calibration, Range};
use crate::error::{Error, Result};
use crate::inputs::Inputs;
use crate::observer::Method;
use crate::recover::Sensitivity;

/// One layer of an int8 graph.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// Name of the node.
    pub layer: String,
    /// What it computes.
    pub op: &'static str,
    /// What its output is held in: I8, or F32 where the layer stays in f32.
    pub precision: DType,
    /// Smallest and largest value of its output in f32.
    pub range: Range,
    /// Smallest and largest value that its int8 output can hold.
    pub covered: Option<Range>,
    /// How that was chosen.
    pub method: Option<Method>,
    /// Share of its values in f32 that lie beyond what int8 can hold.
    pub clipped: f64,
    /// Signal-to-quantization-noise ratio of its output, all layers before it in int8 too:
    /// `10 · log₁₀(Σ y² / Σ (y - ŷ)²)` in decibels; none where they are equal.
    pub sqnr_db: Option<f64>,
    /// The same of the network's answers when this layer is the only one in int8; none where that
    /// changes nothing or was not measured.
    pub alone_db: Option<f64>,
}

/// Sums over samples.
#[derive(Clone, Copy, Default)]
struct Sums {
    signal: f64,
    noise: f64,
    values: u64,
    clipped: u64,
    extremes: Option<(f32, f32)>,
}

/// The layers of `int8`, made of `float` with `calibration`, measured on `samples`, in execution
/// order; `sensitivities` are those of `float`.
///
/// Conversions, and nodes of one graph that the other lacks, are left out.
pub fn report(
    float: &Graph,
    int8: &Graph,
    calibration: &Calibration,
    sensitivities: &[Sensitivity],
    samples: &dyn Inputs,
) -> Result<Vec<LayerReport>> {
    if samples.is_empty() {
        return Err(Error::NoSamples);
    }
    let models = [Model::from_graph(float.clone())?, Model::from_graph(int8.clone())?];
    let mut reference = Session::new(&models[0], &Options::default())?;
    let mut quantized = Session::new(&models[1], &Options::default())?;
    let layers = pairs(models[0].graph(), models[1].graph());
    let mut sums = vec![Sums::default(); layers.len()];
    let mut wanted: Vec<Vec<f32>> = vec![Vec::new(); layers.len()];
    for index in 0..samples.len() {
        let sample = samples.get(index);
        reference.run_observed(&[View::F32(&sample)], &mut |value, view| {
            let place = layers.iter().position(|layer| layer.float == value);
            if let (Some(place), View::F32(values)) = (place, view) {
                wanted[place].clear();
                wanted[place].extend_from_slice(values);
            }
        })?;
        quantized.run_observed(&[View::F32(&sample)], &mut |value, view| {
            let Some(place) = layers.iter().position(|layer| layer.int8 == value) else { return };
            sums[place].add(&wanted[place], view, models[1].graph(), value);
        })?;
    }
    let lines = layers.iter().zip(&sums).map(|(layer, sums)| {
        let quant = models[1].graph().value(layer.int8).quant;
        let alone = sensitivities.iter().find(|s| s.layer == layer.node.name);
        let (min, max) = sums.extremes.unwrap_or_default();
        LayerReport {
            layer: layer.node.name.clone(),
            op: layer.node.op.name(),
            precision: models[1].graph().value(layer.int8).dtype,
            range: Range { min, max },
            covered: quant
                .map(|q| Range { min: q.dequantize(i8::MIN), max: q.dequantize(i8::MAX) }),
            method: quant.and_then(|_| calibration.methods.get(layer.float.0).copied()),
            clipped: sums.clipped as f64 / sums.values.max(1) as f64,
            sqnr_db: decibels(sums.noise / sums.signal),
            alone_db: alone.and_then(|alone| decibels(alone.noise)),
        }
    });
    Ok(lines.collect())
}

/// A node of both graphs.
struct Pair<'a> {
    node: &'a Node,
    float: ValueId,
    int8: ValueId,
}

fn pairs<'a>(float: &Graph, int8: &'a Graph) -> Vec<Pair<'a>> {
    let pair = |node: &'a Node| {
        let same = float.nodes.iter().find(|other| other.name == node.name)?;
        Some(Pair { node, float: same.output, int8: node.output })
    };
    int8.nodes.iter().filter_map(pair).collect()
}

impl Sums {
    fn add(&mut self, wanted: &[f32], found: View<'_>, graph: &Graph, value: ValueId) {
        let params = graph.value(value).quant;
        // Half a step beyond the last one is still rounded to it.
        let bounds = params.map_or((f32::NEG_INFINITY, f32::INFINITY), |q| {
            let half = 0.5 * q.scale;
            (q.dequantize(i8::MIN) - half, q.dequantize(i8::MAX) + half)
        });
        let real = |i: usize| match (found, params) {
            (View::F32(values), _) => values[i],
            (View::I8(values), Some(params)) => params.dequantize(values[i]),
            (View::I8(_), None) => f32::NAN,
        };
        for (i, &y) in wanted.iter().enumerate() {
            let (min, max) = self.extremes.unwrap_or((y, y));
            self.extremes = Some((min.min(y), max.max(y)));
            self.signal += f64::from(y) * f64::from(y);
            let error = f64::from(y) - f64::from(real(i));
            self.noise += error * error;
            self.clipped += u64::from(y < bounds.0 || y > bounds.1);
        }
        self.values += wanted.len() as u64;
    }
}

/// `-10 · log₁₀` of a share; none of 0, and of what is no number.
fn decibels(noise: f64) -> Option<f64> {
    (noise > 0.0 && noise.is_finite()).then(|| -10.0 * noise.log10())
}
