//! `inspect --fit`: a gate for each limit of a board.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use hipflask_runtime::Model;
use hipflask_runtime::kernels::Isa;
use serde::Serialize;

use super::recipe;
use crate::args::Common;
use crate::commands::print_json;
use crate::open;
use crate::outcome::Outcome;
use crate::recipe::budget::BudgetTable;
use crate::report::model::Gate;
use crate::report::table;
use crate::stages::budget::{self, FileSize};
use crate::stages::student;

#[derive(Serialize)]
struct Document {
    file: String,
    /// Whose kernels memory and time are of.
    isa: &'static str,
    gates: Vec<Gate>,
    passed: bool,
}

/// Holds the model at `path`, or the student that a recipe will make, against `limits`.
pub(super) fn run(
    path: &Path,
    limits: &BudgetTable,
    common: Common,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let file = path.display().to_string();
    let gates = if super::is_recipe(path) {
        let (run, data) = recipe::open(path, common)?;
        run.recipe.require_student()?;
        let initial = student::initial(&run, &data, run.recipe.seed)?;
        budget::of_untrained(limits, &run, &data, &initial)?
    } else {
        let model: Model = open::model(path)?;
        let metadata =
            std::fs::metadata(path).with_context(|| format!("{file}: cannot be read"))?;
        budget::gates(limits, &file, &model, FileSize::Exact(metadata.len()))?
    };
    let isa = Isa::from_env()?.unwrap_or_else(Isa::best).name();
    let passed = gates.iter().all(|gate| gate.passed);
    if common.json {
        print_json(out, &Document { file, isa, gates, passed })?;
    } else {
        table::gates(&gates, out)?;
        if limits.ram.is_some() {
            writeln!(
                out,
                "Memory is that of the kernels of {isa}; packed weights and the plan are not in it \
                 (docs/budget.md)"
            )?;
        }
    }
    Ok(if passed { Outcome::Done } else { Outcome::GateFailed })
}
