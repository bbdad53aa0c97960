//! `distill`: trains the student of a recipe from its teacher, under several seeds or as a sweep.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::print_json;
use crate::args::{Common, DistillArgs};
use crate::files::{FolderLock, write};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::report::distilled::Distilled;
use crate::report::seeds::{Accuracies, SeedsReport};
use crate::stages::lessons::Lessons;
use crate::stages::run::Run;
use crate::stages::sweep::sweep;

/// The first seed's distillation with the figures of all.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    first: Distilled,
    #[serde(skip_serializing_if = "Option::is_none")]
    seeds: Option<SeedsReport>,
}

/// Runs the command.
pub fn run(args: &DistillArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let mut run = Run::new(Some(&args.recipe), &args.run, Progress::new(common))?;
    run.recipe.set_size_budget(args.size_budget);
    if args.qat {
        run.recipe.qat.get_or_insert_default();
    }
    run.recipe.require_student()?;
    let mut cells = Recipe::sweep(Some(&args.recipe), &args.run.set, &args.sweep)?;
    let (folder, progress) = (run.folder.clone(), run.progress);
    let _lock = FolderLock::take(folder.root())?;
    let runs = run.for_seeds(args.seeds);
    let file = args.teacher.as_deref();
    if !args.sweep.is_empty() {
        for cell in &mut cells {
            cell.recipe.set_size_budget(args.size_budget);
            if args.qat {
                cell.recipe.qat.get_or_insert_default();
            }
            cell.recipe.require_student()?;
        }
        let report = sweep(runs, &cells, file, args.student.as_deref())?;
        write(&folder.file("sweep.json"), &serde_json::to_vec_pretty(&report)?)?;
        if common.json {
            print_json(out, &report)?;
        } else {
            report.write(out)?;
        }
        return Ok(Outcome::Done);
    }
    let mut all = Vec::new();
    for run in runs {
        if args.seeds.is_some() {
            progress.line(&format!("{}: seed {}", run.recipe.name, run.recipe.seed));
        }
        all.push(Lessons::new(run, file, args.student.as_deref())?.distill()?);
    }
    let seeds = (all.len() > 1).then(|| {
        let seeds: Vec<u64> = all.iter().map(|run| run.seed).collect();
        SeedsReport::of(&seeds, &all.iter().map(Accuracies::from).collect::<Vec<_>>())
    });
    let passed = all.iter().flat_map(|run| &run.gates).all(|gate| gate.passed);
    let Some(first) = all.into_iter().next() else { return Ok(Outcome::Done) };
    if common.json {
        print_json(out, &Document { first, seeds })?;
    } else if let Some(seeds) = seeds {
        seeds.write(out)?;
        writeln!(out, "Results are in {}", folder.root().display())?;
    } else {
        first.write(out)?;
    }
    Ok(if passed { Outcome::Done } else { Outcome::GateFailed })
}
