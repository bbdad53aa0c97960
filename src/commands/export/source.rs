//! A model as the source text of a Rust module.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use hipflask_quantize::source::to_source;
use hipflask_runtime::golden::Golden;
use serde::Serialize;

use crate::args::{Common, ExportArgs};
use crate::commands::print_json;
use crate::files;
use crate::open;
use crate::outcome::Outcome;

#[derive(Serialize)]
struct Document {
    file: String,
    bytes: usize,
    /// `rust`
    format: &'static str,
    /// RAM for the values of an inference.
    arena_bytes: usize,
    /// Flash for weights, tables and golden samples.
    constant_bytes: usize,
}

/// Writes the module and prints what it needs.
pub(super) fn write(
    args: &ExportArgs,
    path: &Path,
    common: Common,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let name = args.model.display().to_string();
    let model = open::model(&args.model)?;
    let golden = match &args.golden {
        Some(path) => Some(golden(path)?),
        None => None,
    };
    let source = to_source(&model, golden.as_ref())
        .with_context(|| format!("{name}: cannot be written as a program"))?;
    files::write(path, source.text.as_bytes())?;
    let document = Document {
        file: path.display().to_string(),
        bytes: source.text.len(),
        format: "rust",
        arena_bytes: source.arena_bytes,
        constant_bytes: source.constant_bytes,
    };
    if common.json {
        print_json(out, &document)?;
        return Ok(Outcome::Done);
    }
    let Document { file, arena_bytes, constant_bytes, .. } = document;
    writeln!(
        out,
        "{file}: a Rust module: {constant_bytes} bytes of constants, {arena_bytes} bytes of RAM"
    )?;
    Ok(Outcome::Done)
}

fn golden(path: &Path) -> Result<Golden> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path)
        .with_context(|| format!("{name}: the golden samples cannot be read"))?;
    Ok(Golden::from_bytes(&bytes).map_err(|e| e.in_file(&name))?)
}
