//! `bundle`: the folder for a board.

use std::io::Write;

use anyhow::{Context, Result, bail};
use hipflask_distill::device::Device;
use hipflask_runtime::Model;
use serde::Serialize;

use super::{open_data, print_json};
use crate::args::{BundleArgs, Common};
use crate::bundle;
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
    folder: String,
    target: String,
    bytes: u64,
}

/// Runs the command.
pub fn run(args: &BundleArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let model = Model::open(&args.model)?;
    let golden = match &args.golden {
        Some(path) => std::fs::read(path)
            .with_context(|| format!("{}: the golden samples cannot be read", path.display()))?,
        None => record(args, &model, Progress::new(common))?,
    };
    let binary = bundle::device::find(&args.target, &Progress::new(common))?;
    let folder = args.out.clone().unwrap_or_else(|| {
        args.model.with_file_name(format!("bundle-{}", bundle::device::name(&args.target)))
    });
    let _lock = FolderLock::take(&folder)?;
    bundle::write(&folder, &binary, &args.model, &golden)?;
    let document = Document {
        folder: folder.display().to_string(),
        target: bundle::device::name(&args.target).into(),
        bytes: bundle::size(&folder)?,
    };
    if common.json {
        print_json(out, &document)?;
    } else {
        let Document { folder, target, bytes } = document;
        writeln!(out, "{folder}: {bytes} bytes for {target}; copy it to the board, then there:")?;
        writeln!(out, "  ./{} verify model.safetensors golden.safetensors", bundle::device::NAME)?;
    }
    Ok(Outcome::Done)
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
            let teacher = teacher::open(path, &source, &data, &Device::Cpu)?;
            Some(Scored::new(teacher, &data)?)
        }
        None => None,
    };
    let (name, logits) = (args.model.display().to_string(), scored.as_ref().map(|t| &t.logits));
    golden::record(model, &name, &samples, logits, args.samples.unwrap_or(recipe.validate.golden))
}
