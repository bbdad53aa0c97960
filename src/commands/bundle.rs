//! `bundle`: the folder or archive for a board.

use std::io::Write;

use anyhow::{Context, Result, bail};
use hipflask_distill::device;
use hipflask_runtime::Model;
use serde::Serialize;

use super::{open_data, print_json};
use crate::args::{BundleArgs, Common};
use crate::bundle::{self, Bundle, Device, is_archive};
use crate::files::FolderLock;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::stages::diagnosis::Source;
use crate::stages::golden;
use crate::stages::samples::Samples;
use crate::stages::scored::Scored;
use crate::stages::teacher;

#[derive(Serialize)]
struct Document {
    /// The folder or archive.
    out: String,
    target: &'static str,
    bytes: u64,
}

/// Runs the command.
pub fn run(args: &BundleArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let progress = Progress::new(common);
    let target = args.board.as_deref().unwrap_or(&args.target);
    // A name that is no target should be refused before samples are recorded.
    let triple = bundle::target::triple(target)?;
    let model = Model::open(&args.model)?;
    let golden = match &args.golden {
        Some(path) => std::fs::read(path)
            .with_context(|| format!("{}: the golden samples cannot be read", path.display()))?,
        None => record(args, &model, progress)?,
    };
    let device = match &args.binary {
        Some(path) => Device::given(path, target)?,
        None => Device::find(target, &progress)?,
    };
    let path = args
        .out
        .clone()
        .unwrap_or_else(|| args.model.with_file_name(format!("bundle-{}", name(args, triple))));
    let _lock = if is_archive(&path) { None } else { Some(FolderLock::take(&path)?) };
    let mut bundle = Bundle::new(&device, &args.model, &golden)?;
    if let Some(key) = &args.sign {
        bundle.sign(key)?;
    }
    bundle.write(&path)?;
    let document =
        Document { out: path.display().to_string(), target: triple, bytes: bundle.bytes() };
    if common.json {
        print_json(out, &document)?;
    } else {
        let Document { out: path, target, bytes } = document;
        writeln!(out, "{path}: {bytes} bytes for {target}; README.txt in it says what comes next")?;
    }
    Ok(Outcome::Done)
}

/// What the default name of the result ends with.
fn name<'a>(args: &'a BundleArgs, triple: &'a str) -> &'a str {
    args.board.as_deref().unwrap_or(triple)
}

/// Golden samples from the test samples of `--data`.
fn record(args: &BundleArgs, model: &Model, progress: Progress) -> Result<Vec<u8>> {
    if args.samples == Some(0) {
        bail!("--samples 0: golden samples prove nothing without any: give at least 1");
    }
    let recipe = Recipe::load(args.data.data.as_deref(), &args.data.set)?;
    let data = open_data(&args.data, &recipe, progress)?;
    let samples = Samples::new(&data.test, model.preprocess().unwrap_or(&data.preprocess))?;
    let scored = match &args.teacher {
        Some(path) => {
            let source = Source { table: &recipe.teacher.of_file(path), place: "[teacher]" };
            let teacher = teacher::open(path, &source, &data, &device::Device::Cpu)?;
            Some(Scored::new(teacher, &data)?)
        }
        None => None,
    };
    let count = args.samples.unwrap_or(recipe.validate.golden);
    golden::record(model, &args.model, &samples, scored.as_ref().map(|t| &t.logits), count)
}
