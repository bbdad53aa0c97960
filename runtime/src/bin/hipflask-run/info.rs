//! `info`: what is in a model.

use std::fmt::Write as _;
use std::io::Write;

use hipflask_runtime::input::Frames;
use hipflask_runtime::{PlannedStep, Result};
use serde::Serialize;

use crate::{Flags, Outcome, open, print, to_json};

#[derive(Serialize)]
struct Info<'a> {
    name: &'a str,
    layers: usize,
    parameters: usize,
    weight_bytes: usize,
    macs: u64,
    arena_bytes: usize,
    scratch_bytes: usize,
    /// Of `predict --stream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_bytes: Option<usize>,
    isa: &'a str,
    labels: &'a [String],
    steps: Vec<PlannedStep>,
}

pub(crate) fn run(path: &str, flags: Flags, out: &mut dyn Write) -> Result<Outcome> {
    let (model, session) = open(path, flags)?;
    let graph = model.graph();
    let frames = model
        .preprocess()
        .and_then(|rule| Frames::new(rule, &session.inputs()[0].shape, None).ok());
    let info = Info {
        name: &graph.name,
        layers: graph.nodes.len(),
        parameters: graph.parameters(),
        weight_bytes: graph.weight_bytes(),
        macs: graph.macs(),
        arena_bytes: session.arena_bytes(),
        scratch_bytes: session.scratch_bytes(),
        frame_bytes: frames.and_then(|frames| frames.frame_bytes()),
        isa: session.isa().name(),
        labels: &model.card().labels,
        steps: session.steps().collect(),
    };
    if flags.json {
        return print(out, &to_json(&info));
    }
    let mut text = format!(
        "{:<24} {:<26} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "step", "kernel", "MACs", "read", "written", "at", "buffer", "scratch"
    );
    for step in &info.steps {
        let _ = writeln!(
            text,
            "{:<24} {:<26} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9}",
            step.name,
            step.kernel,
            step.macs,
            step.bytes_read,
            step.bytes_written,
            step.offset,
            step.bytes,
            step.scratch_bytes
        );
    }
    let _ = writeln!(
        text,
        "{}: {} layers, {} parameters in {} bytes, {} MACs, arena {} + scratch {} bytes, {}",
        info.name,
        info.layers,
        info.parameters,
        info.weight_bytes,
        info.macs,
        info.arena_bytes,
        info.scratch_bytes,
        info.isa
    );
    if let (Some(bytes), Some(rule)) = (info.frame_bytes, model.preprocess()) {
        let _ = writeln!(text, "reads {}, in streams of {bytes} bytes each", rule.reads());
    }
    print(out, &text)
}
