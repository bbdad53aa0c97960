//! Distilling by many recipes: a grid of values, each under every seed.

use std::path::Path;

use anyhow::Result;
use hipflask_distill::ErrorKind;

use super::budget::OverBudget;
use super::lessons::Lessons;
use super::run::Run;
use crate::recipe::{Cell, Recipe};
use crate::report::distilled::Distilled;
use crate::report::seeds::Spread;
use crate::report::sweep::{SweepReport, SweepRun};

/// Distils by the recipes of `cells`, each in a folder of its own within that of every run; `file`
/// is the teacher of `--teacher`, `student` the student of `--student`.
pub fn sweep(
    runs: Vec<Run>,
    cells: &[Cell],
    file: Option<&Path>,
    student: Option<&Path>,
) -> Result<SweepReport> {
    let seeds: Vec<u64> = runs.iter().map(|run| run.recipe.seed).collect();
    let outer = runs.first().map(|run| (run.recipe.name.clone(), run.folder.outer()));
    let mut outcomes: Vec<Vec<Outcome>> = cells.iter().map(|_| Vec::new()).collect();
    for (i, run) in runs.into_iter().enumerate() {
        let mut lessons = Lessons::new(run.clone(), file, student)?;
        for (j, (cell, outcomes)) in cells.iter().zip(&mut outcomes).enumerate() {
            let recipe = Recipe { seed: run.recipe.seed, ..cell.recipe.clone() };
            let own = run.within(&cell.folder(), recipe);
            let (number, count) = (i * cells.len() + j + 1, seeds.len() * cells.len());
            let (what, seed) = (cell.describe(), run.recipe.seed);
            run.progress.line(&format!("sweep {number}/{count}: {what}, seed {seed}"));
            let folder = own.folder.root().display().to_string();
            outcomes.push(Outcome { folder, result: outcome(lessons.distill_as(&own))? });
        }
    }
    let (name, folder) = outer.map_or_else(Default::default, |(name, folder)| {
        (name, folder.root().display().to_string())
    });
    let keys = cells.first().map_or(&[][..], |cell| &cell.values);
    let keys = keys.iter().map(|(key, _)| key.clone()).collect();
    let lines = cells.iter().zip(&outcomes).map(|(cell, outcomes)| line(cell, outcomes));
    Ok(SweepReport::new(&name, folder, seeds, keys, lines.collect()))
}

/// One recipe under one seed.
struct Outcome {
    folder: String,
    /// The student, or how its training diverged.
    result: Result<Distilled, String>,
}

/// A student that diverged is an answer to a sweep of the learning rate, one that does not fit its
/// board to one of its size; other errors end it.
fn outcome(result: Result<Distilled>) -> Result<Result<Distilled, String>> {
    result.map(Ok).or_else(|error| match error.downcast_ref::<hipflask_distill::Error>() {
        None if error.is::<OverBudget>() => Ok(Err(error.to_string())),
        Some(cause) if cause.kind() == ErrorKind::Diverged && cause.at() != "teacher" => {
            Ok(Err(cause.to_string()))
        }
        _ => Err(error),
    })
}

fn line(cell: &Cell, outcomes: &[Outcome]) -> SweepRun {
    let spread = |value: &dyn Fn(&Distilled) -> Option<f64>| {
        Spread::of_all(outcomes.iter().map(|o| o.result.as_ref().ok().and_then(value)))
    };
    SweepRun {
        values: cell.values.iter().map(|(_, value)| value.clone()).collect(),
        folders: outcomes.iter().map(|outcome| outcome.folder.clone()).collect(),
        validation: spread(&Distilled::validation),
        accuracy: spread(&|run| run.outcome().scores.accuracy),
        gain: spread(&|run| run.gain),
        failed: outcomes.iter().find_map(|outcome| outcome.result.clone().err()),
    }
}
