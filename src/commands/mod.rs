//! One file a command: read, call the library, print.

pub mod bench;
pub mod bundle;
pub mod check;
pub mod deploy;
pub mod distill;
pub mod export;
pub mod inspect;
pub mod predict;
pub mod quantize;
pub mod ship;
pub mod teacher;
pub mod validate;

use std::io::Write;

use anyhow::Result;
use hipflask_distill::data::DataSet;
use serde::Serialize;

use crate::args::DataArgs;
use crate::progress::Progress;
use crate::recipe::Recipe;

/// The one document of `--json`.
pub fn print_json(out: &mut dyn Write, document: &impl Serialize) -> Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string_pretty(document)?)?)
}

/// The samples of `--data`.
fn open_data(args: &DataArgs, recipe: &Recipe, progress: Progress) -> Result<DataSet> {
    let places = Recipe::places(args.data.as_deref());
    let data = DataSet::open(&recipe.data, &places, recipe.seed)?;
    progress.left_out(&data.skipped);
    Ok(data)
}
