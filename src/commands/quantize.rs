//! `quantize`: converts an f32 student, hipflask's or ONNX, to int8, f16 or weights in groups.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use hipflask_distill::data::DataSet;
use hipflask_distill::device::Device;
use hipflask_quantize::Method;
use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::{Graph, Layout};
use hipflask_runtime::input::Preprocess;
use serde::Serialize;

use super::{open_data, print_json};
use crate::args::{Common, QuantizeArgs};
use crate::files::write;
use crate::open;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::recipe::{Format, Recipe};
use crate::report::ladder::LadderReport;
use crate::report::layers::{self, Layers};
use crate::report::model::Gate;
use crate::report::table;
use crate::stages::budget;
use crate::stages::convert::{Calibration, Int8, int8, without_samples};
use crate::stages::diagnosis::Source;
use crate::stages::folder::RunFolder;
use crate::stages::ladder::{Climb, LastRung, climb};
use crate::stages::layers::of_made as layers_of_made;
use crate::stages::portions::Portions;
use crate::stages::run::Run;
use crate::stages::samples::Samples;
use crate::stages::scored::Scored;
use crate::stages::{qat, teacher};

#[derive(Serialize)]
struct Converted {
    file: String,
    format: &'static str,
    bytes: usize,
    /// Share of the size of the file that it was made from.
    #[serde(rename = "of_f32")]
    of_source: f64,
    /// Of `--max-drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ladder: Option<LadderReport>,
    /// Of `--report`.
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Layers>,
    /// Of the format for the board: whether it fits, where the recipe says what that has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gates: Vec<Gate>,
}

/// What the command works on.
struct Job<'a> {
    args: &'a QuantizeArgs,
    student: &'a ModelFile,
    source_bytes: usize,
    /// Whether it has int8 scales of its own.
    quantized: bool,
    data: &'a DataSet,
    preprocess: &'a Preprocess,
    portions: &'a Portions,
    method: Method,
    /// Of w8 and w4.
    group_size: usize,
    /// Of `--qat`: how to train, and who teaches.
    training: Option<(Run, Option<Scored>)>,
    progress: Progress,
}

/// Runs the command.
pub fn run(args: &QuantizeArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let progress = Progress::new(common);
    let name = args.model.display().to_string();
    let student = open::model_file(&args.model)?;
    // An ONNX file whose own scales were taken over.
    let quantized = open::is_onnx(&args.model) && student.graph.layout == Layout::Nhwc;
    if student.graph.layout != Layout::Nchw && !quantized {
        bail!("{name}: it is already converted: quantize starts from the f32 student");
    }
    if quantized && !args.to.contains(&Format::Int8) {
        bail!("{name}: it is int8 already: --to int8 keeps it so, and no float network is in it");
    }
    if quantized && (args.max_drop.is_some() || args.report) {
        bail!("{name}: it is int8 already: --max-drop and --report compare with a float network");
    }
    if args.max_drop.is_some() && !args.to.contains(&Format::Int8) {
        bail!("--max-drop is about int8: add int8 to --to");
    }
    let recipe = Recipe::load(args.data.data.as_deref(), &args.data.set)?;
    let data = open_data(&args.data, &recipe, progress)?;
    let preprocess = student.preprocess.as_ref().unwrap_or(&data.preprocess);
    Samples::new(&data.train, preprocess)?.fits(&student.graph, &name)?;
    let method = args.method.unwrap_or(recipe.quantize.calibration.method);
    let count = args.calibrate.unwrap_or(recipe.quantize.calibration.samples);
    let chooses = args.max_drop.is_some() || args.report || method == Method::Auto;
    let portions = Portions::of(&data, count, chooses.then_some(args.held as usize), args.seed);
    let training =
        if args.qat { Some(training(args, recipe.clone(), &data, progress)?) } else { None };
    let job = Job {
        args,
        training,
        // Of a quantized file, its own size: it says nothing of a float one.
        source_bytes: if quantized {
            std::fs::metadata(&args.model)?.len() as usize
        } else {
            student.to_bytes().len()
        },
        quantized,
        student: &student,
        data: &data,
        preprocess,
        portions: &portions,
        method,
        group_size: args.group_size.unwrap_or(recipe.quantize.group_size),
        progress,
    };
    let mut made: Vec<Converted> = Vec::new();
    for &format in args.to.iter().filter(|&&format| !quantized || format == Format::Int8) {
        if quantized {
            progress.line(&format!("{name} is quantized: its own scales are kept"));
        } else {
            progress.line(&format!("converting {name} to {}", format.name()));
        }
        made.push(job.make(format)?);
    }
    let for_board = Format::for_board(&args.to).map(Format::name);
    if let Some(board) = made.iter_mut().find(|made| Some(made.format) == for_board) {
        board.gates = budget::of_file(&recipe.budget, &board.file, Path::new(&board.file))?;
    }
    let fits = made.iter().flat_map(|made| &made.gates).all(|gate| gate.passed);
    let met = made.iter().all(|made| made.ladder.as_ref().is_none_or(|ladder| ladder.met));
    let outcome = if met && fits { Outcome::Done } else { Outcome::GateFailed };
    if common.json {
        print_json(out, &made)?;
        return Ok(outcome);
    }
    let source = if quantized { "ONNX" } else { "f32" };
    for Converted { file, bytes, of_source, ladder, layers, gates, .. } in &made {
        if let Some(ladder) = ladder {
            ladder.write(out)?;
            writeln!(out)?;
        }
        if let Some(layers) = layers {
            layers::write(layers, out)?;
            writeln!(out)?;
        }
        writeln!(out, "{file}: {bytes} bytes, {:.1} % of the {source} file", of_source * 100.0)?;
        table::gates(gates, out)?;
    }
    if !met {
        writeln!(
            out,
            "Next: {}",
            if args.qat {
                "train longer as int8 (qat.epochs), or give the student more width"
            } else {
                "the same with --qat, whose last rung trains it on as int8"
            }
        )?;
        return Ok(outcome);
    }
    writeln!(out, "Next: hipflask validate {} --teacher TEACHER --data RECIPE", made[0].file)?;
    Ok(outcome)
}

impl Job<'_> {
    /// Makes the file of one format.
    fn make(&self, format: Format) -> Result<Converted> {
        let path = target(&self.args.model, self.args.out.as_deref(), format.name());
        let calibration = || Calibration::new(self.portions, self.preprocess, self.method);
        let mut ladder = None;
        let (made, bytes) = match (format, self.args.max_drop) {
            _ if self.quantized => (None, self.encode(&self.student.graph)),
            (Format::F16 | Format::W8 | Format::W4, _) => {
                let made = without_samples(&self.student.graph, format, self.group_size)?;
                (None, self.encode(&made))
            }
            (Format::Int8, None) => {
                let made = int8(&self.student.graph, &calibration()?)?;
                let bytes = self.encode(&made.int8);
                (Some(made), bytes)
            }
            (Format::Int8, Some(max_drop)) => {
                let ranges = calibration()?;
                let training = self.training.as_ref().map(|(run, teacher)| qat::Training {
                    run,
                    data: self.data,
                    student: &self.student.graph,
                    calibration: &ranges,
                    teacher: teacher.as_ref().map(|scored| scored.teacher.as_ref()),
                });
                let (candidate, report) = climb(&Climb {
                    student: &self.student.graph,
                    student_bytes: self.source_bytes as u64,
                    calibration: calibration()?,
                    training: training.as_ref().map(|training| training as &dyn LastRung),
                    origin: self.portions.origin,
                    test: Samples::new(&self.data.test, self.preprocess)?,
                    max_drop,
                    time: self.args.time,
                    resume: self.args.resume,
                    path: &path,
                    encode: &|graph: &Graph| self.encode(graph),
                    progress: self.progress,
                })?;
                ladder = Some(report);
                let made = Int8 {
                    float: candidate.float,
                    calibration: candidate.calibration,
                    int8: candidate.int8,
                };
                let bytes = self.encode(&made.int8);
                (Some(made), bytes)
            }
        };
        if ladder.is_none() {
            write(&path, &bytes)?;
        }
        let made = made.filter(|_| self.args.report);
        Ok(Converted {
            file: path.display().to_string(),
            format: format.name(),
            bytes: bytes.len(),
            of_source: bytes.len() as f64 / self.source_bytes as f64,
            ladder,
            gates: Vec::new(),
            layers: made
                .map(|made| layers_of_made(&made, &self.portions.held, self.preprocess))
                .transpose()?,
        })
    }

    /// The bytes of a model file with `graph`.
    fn encode(&self, graph: &Graph) -> Vec<u8> {
        // What was measured of the f32 student does not hold for this one.
        let mut card = self.student.card.clone();
        card.metrics.clear();
        let preprocess = Some(self.preprocess.clone());
        ModelFile { graph: graph.clone(), preprocess, card }.to_bytes()
    }
}

/// The run whose `[qat]` says how the last rung trains, and its teacher.
fn training(
    args: &QuantizeArgs,
    recipe: Recipe,
    data: &DataSet,
    progress: Progress,
) -> Result<(Run, Option<Scored>)> {
    let run = Run {
        places: Recipe::places(args.data.data.as_deref()),
        device: Device::Cpu,
        folder: RunFolder::new("."),
        resume: args.resume,
        tensorboard: false,
        recipe,
        progress,
    };
    let file = match (&args.teacher, &run.recipe.teacher.file) {
        (Some(file), _) => Some(file.clone()),
        (None, Some(file)) => Some(run.locate("teacher.file", file)?),
        (None, None) => None,
    };
    let teacher = match file {
        Some(file) => {
            let source = Source { table: &run.recipe.teacher.of_file(&file), place: "[teacher]" };
            let scored = Scored::new(teacher::open(&file, &source, data, &Device::Cpu)?, data)?;
            scored.check(run.recipe.teacher.expect_accuracy, data, Some(&source))?;
            Some(scored)
        }
        None => None,
    };
    Ok((run, teacher))
}

/// `student-f32.safetensors` becomes `student-int8.safetensors`, other names get the format added.
fn target(model: &Path, folder: Option<&Path>, format: &str) -> PathBuf {
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    let base = stem.strip_suffix("-f32").unwrap_or(&stem);
    let name = format!("{base}-{format}.safetensors");
    match folder {
        Some(folder) => folder.join(name),
        None => model.with_file_name(name),
    }
}
