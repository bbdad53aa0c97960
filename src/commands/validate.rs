//! `validate`: measures students against a teacher and labels; gates set the exit code.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use hipflask_distill::device;
use hipflask_runtime::graph::Graph;
use hipflask_runtime::{DType, Model};

use super::{open_data, print_json};
use crate::args::{Common, Engine, ValidateArgs};
use crate::files::write;
use crate::open;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::report::gates::Limits;
use crate::report::model::{ModelReport, Students};
use crate::report::table;
use crate::stages::diagnosis::Source;
use crate::stages::measure::{measure, measure_by_tract};
use crate::stages::samples::{Samples, spread};
use crate::stages::scored::Scored;
use crate::stages::teacher;
use crate::stages::validate::{self, Measured};

/// Runs the command.
pub fn run(args: &ValidateArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let recipe = Recipe::load(args.data.data.as_deref(), &args.data.set)?;
    let mut data = open_data(&args.data, &recipe, Progress::new(common))?;
    if data.test.is_empty() {
        bail!("{}: data.test names no files: there is nothing to measure on", recipe.name);
    }
    if let Some(count) = args.samples {
        if count == 0 {
            bail!("--samples 0: give at least 1");
        }
        data.test = data.test.select(&spread(data.test.len(), count));
    }
    let scored = match &args.teacher {
        Some(path) => {
            let device = device::choose(&args.device)?;
            let source = Source { table: &recipe.teacher.of_file(path), place: "[teacher]" };
            let teacher = teacher::open(path, &source, &data, &device)?;
            Some(Scored::new(teacher, &data)?)
        }
        None => None,
    };
    let score = |path: &Path| -> Result<(&'static str, ModelReport)> {
        let name = path.display().to_string();
        let by_tract = args.engine == Engine::Tract;
        if by_tract && !open::is_onnx(path) {
            bail!("{name}: --engine tract runs .onnx files: hipflask export makes one of a model");
        }
        let model = match open::model(path) {
            Ok(model) => Some(model),
            // What the runtime does not know, tract may.
            Err(_) if by_tract => None,
            Err(error) => return Err(error),
        };
        let preprocess = model.as_ref().and_then(Model::preprocess).unwrap_or(&data.preprocess);
        let samples = Samples::new(&data.test, preprocess)?;
        let teacher = scored.as_ref().map(|t| &t.logits);
        let mut report = match &model {
            Some(model) if !by_tract => measure(model, &name, &samples, teacher)?,
            model => measure_by_tract(path, model.as_ref(), &samples, teacher)?,
        };
        report.bytes = std::fs::metadata(path)?.len();
        Ok((model.as_ref().map_or("f32", |model| format(model.graph())), report))
    };
    let mut students = Students::default();
    for path in &args.students {
        let (format, report) = score(path)?;
        if let Some(other) = students.place(format).replace(report) {
            bail!(
                "{}: {} is an {format} student too: give one of each format, or validate them one by \
                 one",
                path.display(),
                other.file
            );
        }
    }
    let control = args.control.as_deref().map(|path| Ok(score(path)?.1)).transpose();
    let measured = Measured {
        name: &recipe.name,
        seed: None,
        spec: &recipe.data,
        data: &data,
        teacher: scored.as_ref(),
        chain: Vec::new(),
        peers: Vec::new(),
        control: control.map_err(|e: anyhow::Error| e)?,
        students,
        gates: Vec::new(),
    };
    // Gates of the recipe hold only for what it ships; here the flags say what is asked.
    let limits = Limits { max_drop: args.max_drop, min_agreement: args.min_agreement };
    let report = validate::report(measured, &limits);
    if let Some(path) = &args.out {
        write(path, &serde_json::to_vec_pretty(&report)?)?;
    }
    if common.json {
        print_json(out, &report)?;
    } else {
        table::write(&report, out)?;
    }
    Ok(if report.passed { Outcome::Done } else { Outcome::GateFailed })
}

/// The format of a student's weights.
fn format(graph: &Graph) -> &'static str {
    let has = |dtype| graph.tensors.values().any(|tensor| tensor.dtype() == dtype);
    if graph.values.iter().any(|value| value.dtype == DType::I8) {
        "int8"
    } else if let Some(groups) = graph.nodes.iter().find_map(|node| node.op.groups()) {
        groups.name()
    } else if has(DType::F16) {
        "f16"
    } else {
        "f32"
    }
}
