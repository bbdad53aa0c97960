//! Calibration: run the float graph over real samples with one observer a value.

use hipflask_runtime::graph::{Graph, Op, ValueId};
use hipflask_runtime::quant::QuantParams;
use hipflask_runtime::{Model, Options, Session, View};

use crate::error::{Error, Result};
use crate::inputs::Inputs;
use crate::observer::{Method, Observer};

/// What a value covers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Range {
    /// Smallest value to represent.
    pub min: f32,
    /// Largest value to represent.
    pub max: f32,
}

impl From<(f32, f32)> for Range {
    fn from((min, max): (f32, f32)) -> Self {
        Self { min, max }
    }
}

impl Range {
    /// Scale and zero point that cover it.
    pub(crate) fn params(self) -> QuantParams {
        QuantParams::from_range(self.min, self.max)
    }

    /// From the smallest to the largest number that `params` can stand for.
    pub(crate) fn covered_by(params: QuantParams) -> Self {
        Self { min: params.dequantize(i8::MIN), max: params.dequantize(i8::MAX) }
    }
}

/// The ranges of all values of one prepared graph, by value number.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Calibration {
    /// One range a value.
    pub ranges: Vec<Range>,
    /// How each was chosen.
    pub methods: Vec<Method>,
    /// How many samples they come from.
    pub samples: usize,
}

/// The ranges of a graph from [`prepare`](crate::prepare) over `samples`.
///
/// [`Method::Auto`] gathers the ranges of all methods in one pass over `samples`, and in one over
/// `held` the squared error that each makes of each value; the least wins, the first of equals. What
/// the network answers is never clipped, whatever the method: its classes are told apart by their
/// largest values.
pub fn calibrate(
    graph: &Graph,
    method: Method,
    samples: &dyn Inputs,
    held: &dyn Inputs,
) -> Result<Calibration> {
    let mut calibrator = Calibrator::new(graph, method)?;
    for index in 0..samples.len() {
        calibrator.observe(&samples.get(index))?;
    }
    if method == Method::Auto { calibrator.finish_on(held) } else { calibrator.finish() }
}

/// Takes samples one by one; memory does not grow with their number.
pub struct Calibrator {
    session: Session,
    method: Method,
    observers: Vec<Observer>,
    /// For each value whether it is, unchanged, an answer of the network.
    answers: Vec<bool>,
    names: Vec<String>,
    input_len: usize,
    samples: usize,
}

impl Calibrator {
    /// For a graph from [`prepare`](crate::prepare).
    pub fn new(graph: &Graph, method: Method) -> Result<Self> {
        let session = Session::new(&Model::from_graph(graph.clone())?, &Options::default())?;
        Ok(Self {
            observers: graph.values.iter().map(|_| Observer::new(method)).collect(),
            answers: answers(graph),
            names: graph.values.iter().map(|v| v.name.clone()).collect(),
            input_len: graph.value(graph.inputs[0]).shape.elements(),
            session,
            method,
            samples: 0,
        })
    }

    /// Runs one sample, `[h, w, c]` as the network takes it, or several, one after another: in
    /// batches of any size the ranges are the same.
    pub fn observe(&mut self, inputs: &[f32]) -> Result<()> {
        let index = self.samples;
        if inputs.is_empty() || !inputs.len().is_multiple_of(self.input_len) {
            return Err(Error::SampleSize { index, got: inputs.len(), wanted: self.input_len });
        }
        for input in inputs.chunks(self.input_len) {
            let observers = &mut self.observers;
            let index = self.samples;
            let see = |value: ValueId, values: &[f32]| observers[value.0].observe(values);
            run(&mut self.session, &self.names, input, index, see)?;
            self.samples += 1;
        }
        Ok(())
    }

    /// The ranges; an error when there were no samples.
    ///
    /// [`Method::Auto`], which needs held samples, chooses by the squared error here.
    pub fn finish(self) -> Result<Calibration> {
        let method = match self.method {
            Method::Auto => Method::Mse,
            fixed => fixed,
        };
        let choices = vec![method; self.names.len()];
        self.calibration(choices)
    }

    /// The ranges, for each value by that of the method's candidates which errs least on `held`.
    pub fn finish_on(mut self, held: &dyn Inputs) -> Result<Calibration> {
        if held.is_empty() {
            return self.finish();
        }
        let candidates = self.method.candidates();
        let of_method =
            |observer: &Observer, &method| (Range::from(observer.range(method)).params(), 0.0);
        let of_value = |observer| candidates.iter().map(|m| of_method(observer, m)).collect();
        let mut errors: Vec<Vec<(QuantParams, f64)>> =
            self.observers.iter().map(of_value).collect();
        for index in 0..held.len() {
            let input = held.get(index);
            let see = |value: ValueId, values: &[f32]| {
                for (params, error) in &mut errors[value.0] {
                    *error += squared_error(*params, values);
                }
            };
            run(&mut self.session, &self.names, &input, index, see)?;
        }
        let least = |errors: &Vec<(QuantParams, f64)>| {
            let mut best = 0;
            for (i, (_, error)) in errors.iter().enumerate() {
                if *error < errors[best].1 {
                    best = i;
                }
            }
            candidates[best]
        };
        let choices = errors.iter().map(least).collect();
        self.calibration(choices)
    }

    fn calibration(self, mut methods: Vec<Method>) -> Result<Calibration> {
        if self.samples == 0 {
            return Err(Error::NoSamples);
        }
        for (method, _) in methods.iter_mut().zip(&self.answers).filter(|(_, answer)| **answer) {
            *method = Method::MinMax;
        }
        let ranges = self.observers.iter().zip(&methods);
        let ranges = ranges.map(|(observer, &method)| observer.range(method).into()).collect();
        Ok(Calibration { ranges, methods, samples: self.samples })
    }
}

/// Runs one sample; `see` is shown every value, all finite.
fn run(
    session: &mut Session,
    names: &[String],
    input: &[f32],
    index: usize,
    mut see: impl FnMut(ValueId, &[f32]),
) -> Result<()> {
    let mut broken = None;
    session.run_observed(&[View::F32(input)], &mut |value, view| {
        if let View::F32(values) = view {
            if values.iter().all(|v| v.is_finite()) {
                see(value, values);
            } else {
                broken.get_or_insert(value.0);
            }
        }
    })?;
    match broken {
        Some(value) => Err(Error::NotFinite { value: names[value].clone(), sample: index }),
        None => Ok(()),
    }
}

/// Sum of the squared differences between values and what their int8 form stands for.
fn squared_error(params: QuantParams, values: &[f32]) -> f64 {
    let error = |&x: &f32| {
        let error = f64::from(x) - f64::from(params.dequantize(params.quantize(x)));
        error * error
    };
    values.iter().map(error).sum()
}

/// The outputs of the network, and what becomes one by moving or by a softmax alone.
fn answers(graph: &Graph) -> Vec<bool> {
    let mut answers = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|id| answers[id.0] = true);
    for node in graph.nodes.iter().rev().filter(|n| n.op.keeps_quant() || n.op == Op::Softmax) {
        if answers[node.output.0] {
            answers[node.inputs[0].0] = true;
        }
    }
    answers
}
