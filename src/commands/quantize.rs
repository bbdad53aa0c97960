//! `quantize`: converts an f32 student, hipflask's or ONNX, to int8 or f16.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::Layout;
use serde::Serialize;

use super::{open_data, print_json};
use crate::args::{Common, QuantizeArgs};
use crate::files::write;
use crate::open;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::recipe::{Format, Recipe};
use crate::stages::convert::{Calibration, convert};
use crate::stages::samples::Samples;

#[derive(Serialize)]
struct Converted {
    file: String,
    format: &'static str,
    bytes: usize,
    /// Share of the size of the file that it was made from.
    #[serde(rename = "of_f32")]
    of_source: f64,
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
    let recipe = Recipe::load(args.data.data.as_deref(), &args.data.set)?;
    let data = open_data(&args.data, &recipe, progress)?;
    let preprocess = student.preprocess.as_ref().unwrap_or(&data.preprocess);
    let samples = Samples::new(&data.train, preprocess)?;
    samples.fits(&student.graph, &name)?;
    let calibration = Calibration {
        samples,
        count: args.calibrate.unwrap_or(recipe.quantize.calibration.samples),
        method: args.method.unwrap_or(recipe.quantize.calibration.method),
    };
    // Of a quantized file, its own size: it says nothing of a float one.
    let size = if quantized {
        std::fs::metadata(&args.model)?.len() as usize
    } else {
        student.to_bytes().len()
    };
    let mut made = Vec::new();
    for &format in args.to.iter().filter(|&&format| !quantized || format == Format::Int8) {
        let graph = if quantized {
            progress.line(&format!("{name} is quantized: its own scales are kept"));
            student.graph.clone()
        } else {
            progress.line(&format!("converting {name} to {}", format.name()));
            convert(&student.graph, format, &calibration)?
        };
        // What was measured of the f32 student does not hold for this one.
        let mut card = student.card.clone();
        card.metrics.clear();
        let bytes = ModelFile { graph, preprocess: Some(preprocess.clone()), card }.to_bytes();
        let path = target(&args.model, args.out.as_deref(), format.name());
        write(&path, &bytes)?;
        made.push(Converted {
            file: path.display().to_string(),
            format: format.name(),
            bytes: bytes.len(),
            of_source: bytes.len() as f64 / size as f64,
        });
    }
    if common.json {
        print_json(out, &made)?;
        return Ok(Outcome::Done);
    }
    let source = if quantized { "ONNX" } else { "f32" };
    for Converted { file, bytes, of_source, .. } in &made {
        writeln!(out, "{file}: {bytes} bytes, {:.1} % of the {source} file", of_source * 100.0)?;
    }
    writeln!(out, "Next: hipflask validate {} --teacher TEACHER --data RECIPE", made[0].file)?;
    Ok(Outcome::Done)
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
