//! `teacher`: trains the teacher of a recipe, under several seeds if asked, or reads and scores one.

use std::io::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use super::print_json;
use crate::args::{Common, TeacherArgs};
use crate::files::FolderLock;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::report::model::TeacherReport;
use crate::report::seeds::{Accuracies, SeedsReport};
use crate::report::table;
use crate::stages::run::Run;
use crate::stages::teacher;

#[derive(Serialize)]
struct Document {
    /// Where a teacher that was trained here lies.
    file: Option<String>,
    /// SHA-256 of the teacher.
    fingerprint: String,
    teacher: TeacherReport,
    /// The figures of all seeds; the keys above are the first one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    seeds: Option<SeedsReport>,
}

/// Runs the command.
pub fn run(args: &TeacherArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let run = Run::new(Some(&args.recipe), &args.run, Progress::new(common))?;
    let trained = run.recipe.teacher.is_trained();
    if args.seeds.is_some_and(|seeds| seeds > 1) && !trained {
        bail!(
            "--seeds repeats a training, and the recipe's teacher is read from files: leave it out"
        );
    }
    let (folder, progress) = (run.folder.clone(), run.progress);
    let _lock = FolderLock::take(folder.root())?;
    let (mut first, mut seeds, mut accuracies) = (None, Vec::new(), Vec::new());
    for run in run.for_seeds(args.seeds) {
        if args.seeds.is_some() {
            progress.line(&format!("{}: seed {}", run.recipe.name, run.recipe.seed));
        }
        let scored = teacher::obtain(&run, &run.data(None)?)?;
        seeds.push(run.recipe.seed);
        let teacher = scored.report.scores.accuracy;
        accuracies.push(Accuracies { teacher, ..Accuracies::default() });
        let file = trained.then(|| run.folder.teacher().display().to_string());
        first.get_or_insert_with(|| Document {
            file,
            fingerprint: scored.teacher.fingerprint(),
            teacher: scored.report,
            seeds: None,
        });
    }
    let Some(mut document) = first else { return Ok(Outcome::Done) };
    document.seeds = (seeds.len() > 1).then(|| SeedsReport::of(&seeds, &accuracies));
    if common.json {
        print_json(out, &document)?;
    } else if let Some(seeds) = document.seeds {
        seeds.write(out)?;
        writeln!(out, "The teachers are in {}", folder.root().display())?;
    } else {
        let report = &document.teacher;
        table::teacher(out, &report.name, report)?;
        if let Some(file) = document.file {
            writeln!(out, "The teacher is in {file}")?;
        }
    }
    Ok(Outcome::Done)
}
