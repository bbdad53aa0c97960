//! Running a model over samples: its logits and how long each inference took; and what a training
//! came to.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use hipflask_distill::data::DataSet;
use hipflask_distill::device::Device;
use hipflask_distill::evaluate::{Logits, accuracy, graph_logits, score};
use hipflask_distill::tract::Tract;
use hipflask_distill::trainer::Trained;
use hipflask_runtime::graph::Graph;
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

/// Scores the `.onnx` network at `path`, which tract runs, one sample at a time.
///
/// `model` is the same network on the runtime, for its sizes, if it can be imported; the report has
/// no arena, which is tract's own business.
pub fn measure_by_tract(
    path: &Path,
    model: Option<&Model>,
    samples: &Samples<'_>,
    teacher: Option<&Logits>,
) -> Result<ModelReport> {
    let file = path.display().to_string();
    let tract = Tract::open(path)?;
    let [input] = tract.inputs() else {
        bail!("{file}: has {} inputs: a student has one, the sample", tract.inputs().len());
    };
    let last = match samples.shape() {
        &[c, h, w] => tract.channels_last(0, [h, w, c]),
        _ => false,
    };
    if !last {
        samples.fits_shape(&input[1..], &file)?;
    }
    let mut logits: Option<Logits> = None;
    let mut times = Vec::with_capacity(samples.len());
    for index in 0..samples.len() {
        let input = [if last { samples.get(index) } else { samples.planar(index) }];
        let start = Instant::now();
        let outputs = tract.run(&input)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        let Some(output) = outputs.first() else { bail!("{file}: has no output") };
        logits.get_or_insert_with(|| Logits::new(output.len())).values.extend_from_slice(output);
    }
    let Some(logits) = logits else { bail!("{file}: there are no samples to run it on") };
    let graph = model.map(Model::graph);
    Ok(ModelReport {
        file,
        scores: score(&logits, teacher, samples.labels()),
        bytes: 0,
        weight_bytes: graph.map_or(0, Graph::weight_bytes),
        parameters: graph.map_or(0, Graph::parameters),
        macs: graph.map_or(0, Graph::macs),
        arena_bytes: 0,
        latency_us: Latency::of(times),
        isa: "tract".into(),
        training: None,
    })
}

/// Times of `runs` inferences, after a tenth as many to warm up.
pub fn latency(session: &mut Session, runs: usize) -> Result<Latency> {
    let input = any_input(session);
    for _ in 0..runs.div_ceil(10) {
        session.predict(&input)?;
    }
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        session.predict(&input)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Latency::of(times))
}

/// Values for the first input: the time depends on shapes, not on values.
pub fn any_input(session: &Session) -> Vec<f32> {
    vec![0.5; session.inputs().first().map_or(0, |port| port.shape.elements())]
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
            Some(accuracy(&graph_logits(graph, data, &data.test, device)?, labels))
        }
        None => None,
    };
    Ok(TrainingReport::new(trained.summary.clone(), other))
}
