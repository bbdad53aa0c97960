//! Running a model over samples: its logits and how long each inference took; and what a training
//! came to.

use std::time::Instant;

use anyhow::Result;
use hipflask_distill::data::DataSet;
use hipflask_distill::device::Device;
use hipflask_distill::evaluate::{Logits, accuracy, network_logits, score};
use hipflask_distill::interpreter::Network;
use hipflask_distill::trainer::Trained;
use hipflask_runtime::{Model, Options, Session};

use super::samples::Samples;
use crate::report::model::{Latency, ModelReport};
use crate::report::training::TrainingReport;

/// Inferences before the first that counts.
const WARM_UP: usize = 20;

/// Scores `model` by the runtime's own arithmetic, one sample at a time, on one thread.
///
/// `file` is its name in messages and in the report, whose `bytes` are left at 0.
pub fn measure(
    model: &Model,
    file: &str,
    samples: &Samples<'_>,
    teacher: Option<&Logits>,
) -> Result<ModelReport> {
    samples.check(model, file)?;
    let mut session = Session::new(model, &Options::default())?;
    let mut logits = Logits::new(session.outputs()[0].shape.elements());
    let mut times = Vec::with_capacity(samples.len());
    for _ in 0..WARM_UP.min(samples.len()) {
        session.predict(&samples.get(0))?;
    }
    for index in 0..samples.len() {
        let input = samples.get(index);
        let start = Instant::now();
        let output = session.predict(&input)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        logits.values.extend_from_slice(output);
    }
    let graph = model.graph();
    Ok(ModelReport {
        file: file.into(),
        scores: score(&logits, teacher, samples.labels()),
        bytes: 0,
        weight_bytes: graph.weight_bytes(),
        parameters: graph.parameters(),
        macs: graph.macs(),
        arena_bytes: session.arena_bytes(),
        latency_us: Latency::of(times),
        isa: session.isa().name().into(),
        training: None,
    })
}

/// The logits of `model`, read from `file`, for all `samples`.
pub fn logits(model: &Model, file: &str, samples: &Samples<'_>) -> Result<Logits> {
    samples.check(model, file)?;
    let mut session = Session::new(model, &Options::default())?;
    let mut logits = Logits::new(session.outputs()[0].shape.elements());
    for index in 0..samples.len() {
        logits.values.extend_from_slice(session.predict(&samples.get(index))?);
    }
    Ok(logits)
}

/// What a training came to, with the test accuracy of the network that is not kept, if it has one.
pub fn training(trained: &Trained, data: &DataSet, device: &Device) -> Result<TrainingReport> {
    let labels = data.test.labels.as_ref().filter(|labels| !labels.is_empty());
    let other = match trained.other().zip(labels) {
        Some((graph, labels)) => {
            let network = Network::new(graph, device)?;
            Some(accuracy(&network_logits(&network, data, &data.test)?, labels))
        }
        None => None,
    };
    Ok(TrainingReport::new(trained.summary.clone(), other))
}
