//! The runtime beside tract on random inputs.

use hipflask_runtime::graph::{Graph, Layout, Op, ValueId};
use hipflask_runtime::{Model, Options, Session, View};

use super::Tract;
use crate::random::Stream;
use crate::{Error, ErrorKind, Result};

/// How far two runs of a network are apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Random samples that both were given.
    pub samples: usize,
    /// Numbers compared.
    pub values: usize,
    /// Largest difference, as a share of the span of tract's outputs.
    pub of_span: f64,
    /// Of a network whose output was int8: share of the numbers that are the same integer.
    pub same_integers: Option<f64>,
    /// Of such a network: largest difference in steps of the output.
    pub steps: Option<f64>,
}

/// Runs `graph` on the runtime, and `tract`, which was made of the same file, on `samples` random
/// inputs: floats from -1 to 1, or within the range to which the network quantizes them, or ids of
/// its embedding.
///
/// Fails where the two do not take or give the same numbers of values, or either fails.
pub fn compare(graph: &Graph, tract: &Tract, samples: usize, seed: u64) -> Result<Difference> {
    let model = Model::from_graph(graph.clone())?;
    let mut session = Session::new(&model, &Options::default())?;
    let graph = model.graph();
    let mut random = Stream::new(seed, "comparison with tract", &[]);
    let mut found: Vec<Vec<f32>> = vec![Vec::new(); graph.outputs.len()];
    let mut wanted = found.clone();
    for _ in 0..samples {
        let inputs: Vec<Vec<f32>> = graph
            .inputs
            .iter()
            .map(|&id| {
                let drawn = Drawn::of(graph, id);
                let count = graph.value(id).shape.elements();
                (0..count).map(|_| drawn.value(random.unit())).collect()
            })
            .collect();
        let views: Vec<View<'_>> = inputs.iter().map(|values| View::F32(values)).collect();
        session.run(&views)?;
        let ordered = graph.inputs.iter().zip(&inputs).enumerate().map(|(i, (&id, values))| {
            match graph.layout.image(&graph.value(id).shape) {
                Some(image) if tract.channels_last(i, image) => values.clone(),
                _ => planar(graph, id, values),
            }
        });
        let answers = tract.run(&ordered.collect::<Vec<_>>())?;
        if answers.len() != found.len() {
            let what = format!("{} outputs, tract gives {}", found.len(), answers.len());
            return Err(differ(&what));
        }
        for (i, (&id, answer)) in graph.outputs.iter().zip(answers).enumerate() {
            let View::F32(values) = session.output(i) else {
                return Err(differ("an output of integers"));
            };
            if values.len() != answer.len() {
                let (ours, theirs) = (values.len(), answer.len());
                let what = format!("an output of {ours} numbers, tract gives {theirs}");
                return Err(differ(&what));
            }
            found[i].extend(planar_values(graph, id, values));
            wanted[i].extend(answer);
        }
    }
    Ok(difference(graph, samples, &found, &wanted))
}

fn difference(
    graph: &Graph,
    samples: usize,
    found: &[Vec<f32>],
    wanted: &[Vec<f32>],
) -> Difference {
    let mut total = Difference {
        samples,
        values: found.iter().map(Vec::len).sum(),
        of_span: 0.0,
        same_integers: None,
        steps: None,
    };
    let (mut same, mut integers) = (0, 0);
    for ((&id, found), wanted) in graph.outputs.iter().zip(found).zip(wanted) {
        let apart = found.iter().zip(wanted).map(|(&f, &w)| (f64::from(f) - f64::from(w)).abs());
        // NaN on either side is as far apart as can be.
        let largest =
            apart.clone().fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { d.max(m) });
        let (low, high) =
            wanted.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &w| {
                (low.min(f64::from(w)), high.max(f64::from(w)))
            });
        let span = if high > low { high - low } else { f64::from(f32::MIN_POSITIVE) };
        total.of_span = total.of_span.max(largest / span);
        if let Some(scale) = output_scale(graph, id) {
            integers += found.len();
            same += apart.filter(|d| *d < 0.5 * scale).count();
            total.steps = Some(total.steps.unwrap_or(0.0).max((largest / scale).round()));
        }
    }
    total.same_integers = (integers > 0).then(|| same as f64 / integers as f64);
    total
}

/// The step of the integers that an output is made of.
fn output_scale(graph: &Graph, id: ValueId) -> Option<f64> {
    let node = graph.nodes.iter().find(|node| node.output == id && node.op == Op::Dequantize)?;
    Some(f64::from(graph.value(node.inputs[0]).quant?.scale))
}

/// What random inputs are drawn from.
enum Drawn {
    Between(f32, f32),
    /// Whole numbers below this.
    Ids(usize),
}

impl Drawn {
    fn of(graph: &Graph, id: ValueId) -> Self {
        for node in graph.nodes.iter().filter(|node| node.inputs.first() == Some(&id)) {
            match node.op {
                Op::Embedding | Op::EmbeddingGroups { .. } => {
                    let rows = graph.weight(node, "weight").map_or(1, |rows| rows.shape()[0]);
                    return Self::Ids(rows);
                }
                Op::Quantize => {
                    if let Some(params) = graph.value(node.output).quant {
                        return Self::Between(params.dequantize(-128), params.dequantize(127));
                    }
                }
                _ => {}
            }
        }
        Self::Between(-1.0, 1.0)
    }

    /// For a number from 0 to 1.
    fn value(&self, share: f32) -> f32 {
        match *self {
            Self::Between(low, high) => low + share * (high - low),
            Self::Ids(rows) => (share * rows as f32).floor().min(rows as f32 - 1.0),
        }
    }
}

/// Values in the order of ONNX, `[c, h, w]`.
fn planar(graph: &Graph, id: ValueId, values: &[f32]) -> Vec<f32> {
    planar_values(graph, id, values).collect()
}

fn planar_values<'a>(
    graph: &Graph,
    id: ValueId,
    values: &'a [f32],
) -> impl Iterator<Item = f32> + use<'a> {
    let image = match graph.layout {
        Layout::Nhwc => graph.layout.image(&graph.value(id).shape),
        Layout::Nchw => None,
    };
    let [h, w, c] = image.unwrap_or([1, values.len(), 1]);
    (0..c).flat_map(move |channel| (0..h * w).map(move |i| values[i * c + channel]))
}

fn differ(what: &str) -> Error {
    Error::new(ErrorKind::Shape, "comparison with tract", format!("the network has {what}"))
}
