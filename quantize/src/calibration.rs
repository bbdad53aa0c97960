//! Calibration: run the float graph over real samples with one observer a value.

use hipflask_runtime::graph::Graph;
use hipflask_runtime::quant::QuantParams;
use hipflask_runtime::{Model, Options, Session, View};

use crate::error::{Error, Result};
use crate::observer::{Method, Observer};

/// What a value covers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Range {
    /// Smallest value to represent.
    pub min: f32,
    /// Largest value to represent.
    pub max: f32,
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
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// One range a value.
    pub ranges: Vec<Range>,
    /// How many samples they come from.
    pub samples: usize,
}

/// Takes samples one by one; memory does not grow with their number.
pub struct Calibrator {
    session: Session,
    observers: Vec<Box<dyn Observer>>,
    names: Vec<String>,
    input_len: usize,
    samples: usize,
}

impl Calibrator {
    /// For a graph from [`prepare`](crate::prepare).
    pub fn new(graph: &Graph, method: Method) -> Result<Self> {
        let session = Session::new(&Model::from_graph(graph.clone())?, &Options::default())?;
        Ok(Self {
            observers: graph.values.iter().map(|_| method.observer()).collect(),
            names: graph.values.iter().map(|v| v.name.clone()).collect(),
            input_len: graph.value(graph.inputs[0]).shape.elements(),
            session,
            samples: 0,
        })
    }

    /// Runs one sample, `[h, w, c]` as the network takes it.
    pub fn observe(&mut self, input: &[f32]) -> Result<()> {
        let index = self.samples;
        if input.len() != self.input_len {
            return Err(Error::SampleSize { index, got: input.len(), wanted: self.input_len });
        }
        let mut broken = None;
        let observers = &mut self.observers;
        self.session.run_observed(&[View::F32(input)], &mut |value, view| {
            if let View::F32(values) = view {
                if values.iter().all(|v| v.is_finite()) {
                    observers[value.0].observe(values);
                } else {
                    broken.get_or_insert(value.0);
                }
            }
        })?;
        self.samples += 1;
        match broken {
            Some(value) => {
                Err(Error::NotFinite { value: self.names[value].clone(), sample: index })
            }
            None => Ok(()),
        }
    }

    /// The ranges; an error when there were no samples.
    pub fn finish(self) -> Result<Calibration> {
        if self.samples == 0 {
            return Err(Error::NoSamples);
        }
        let ranges = self.observers.iter().map(|o| o.range());
        let ranges = ranges.map(|(min, max)| Range { min, max }).collect();
        Ok(Calibration { ranges, samples: self.samples })
    }
}
