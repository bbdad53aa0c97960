//! Quantized constants and layers, and models in the format QDQ as int8 networks.

mod lower;

use hipflask_runtime::Result;

use super::importer::{Constant, Importer};
use super::node::unsupported;
use super::tensors::Floats;

pub(super) use lower::lower;

/// A constant of integers: `real = scale · value`, the zero point already subtracted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Integers {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<i32>,
    /// One, or as many as dimension `axis` has.
    pub(super) scales: Vec<f32>,
    pub(super) axis: Option<usize>,
}

impl Integers {
    /// Takes over stored integers, from which zero points are to be subtracted.
    pub(super) fn shift(&mut self, stored: Vec<i32>, zero_points: &[i32]) {
        let values = stored.into_iter().enumerate();
        let values = values.map(|(i, v)| v.wrapping_sub(self.at(i, zero_points)));
        self.values = values.collect();
    }

    /// `clamp(round_ties_even(x / scale) + zero_point) - zero_point`, as `QuantizeLinear`.
    pub(super) fn quantize(&mut self, floats: &[f32], zero_points: &[i32], limits: (i32, i32)) {
        let steps = |(i, x): (usize, &f32)| {
            let zero = f64::from(self.at(i, zero_points));
            let steps = f64::from((x / self.at(i, &self.scales)).round_ties_even()) + zero;
            (steps.clamp(f64::from(limits.0), f64::from(limits.1)) - zero) as i32
        };
        self.values = floats.iter().enumerate().map(steps).collect();
    }

    /// What the integers stand for.
    pub(super) fn floats(&self) -> Floats {
        let values = self.values.iter().enumerate();
        let values = values.map(|(i, &v)| v as f32 * self.at(i, &self.scales)).collect();
        Floats { dims: self.dims.clone(), values }
    }

    /// Whether scales and their dimension are the same.
    pub(super) fn same_grid(&self, other: &Self) -> bool {
        self.scales == other.scales && (self.axis == other.axis)
    }

    /// What belongs to element `index`, of a list with one entry for all or for each channel.
    fn at<T: Copy + Default>(&self, index: usize, list: &[T]) -> T {
        let channel = self.axis.map_or(0, |axis| {
            let within = self.dims.iter().skip(axis).skip(1).product::<usize>();
            let size = self.dims.get(axis).copied().unwrap_or(1);
            index.checked_div(within).and_then(|i| i.checked_rem(size)).unwrap_or(0)
        });
        list.get(channel).or(list.first()).copied().unwrap_or_default()
    }
}

/// What is known of a layer whose weights are quantized.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    /// Of the weights, for each output channel.
    scales: Vec<f32>,
    /// Where the file has one.
    bias: Bias,
}

/// The bias of a quantized layer.
#[derive(Clone, Debug, PartialEq)]
enum Bias {
    /// As in the float network.
    Floats,
    /// Integers, each with its scale.
    Integers(Vec<(i32, f32)>),
}

/// The scales of the weight called `name` where it is quantized: one for each of `outputs` along
/// `axis`.
pub(super) fn layer(
    importer: &Importer<'_>,
    name: &str,
    axis: usize,
    outputs: usize,
) -> Result<Option<Layer>> {
    let Some(Constant::Dequantized(integers)) = importer.constant(name) else { return Ok(None) };
    let scales = match (&integers.scales[..], integers.axis) {
        (&[one], None) => vec![one; outputs],
        (scales, Some(found)) if found == axis && scales.len() == outputs => scales.to_vec(),
        (_, found) => {
            return Err(unsupported(format!(
                "the weight {name:?} has scales along dimension {found:?}, and only one for each \
                 output (dimension {axis}) or one for all is supported: quantize again with \
                 per_channel = False"
            )));
        }
    };
    let beyond = integers.values.iter().find(|v| !(-127..=127).contains(*v));
    if let Some(value) = beyond {
        return Err(unsupported(format!(
            "the weight {name:?} has the integer {value}, without its zero point; they must be in \
             [-127, 127]: quantize again with symmetric weights (for onnxruntime: weight_type = \
             QuantType.QInt8, extra_options = {{\"WeightSymmetric\": True}})"
        )));
    }
    Ok(Some(Layer { scales, bias: Bias::Floats }))
}

impl Layer {
    /// Keeps the integers of the bias called `name`, where it is quantized and the only one.
    pub(super) fn add_bias(&mut self, importer: &Importer<'_>, name: &str) {
        let found = match importer.constant(name) {
            Some(Constant::Dequantized(integers)) if self.bias == Bias::Floats => {
                let each = integers.values.iter().enumerate();
                let each: Vec<(i32, f32)> =
                    each.map(|(i, &v)| (v, integers.at(i, &integers.scales))).collect();
                (each.len() == self.scales.len()).then_some(Bias::Integers(each))
            }
            _ => None,
        };
        self.bias = found.unwrap_or(Bias::Floats);
    }
}
