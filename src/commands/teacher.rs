//! `teacher`: trains the teacher of a recipe, or reads and scores one.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::print_json;
use crate::args::{Common, TeacherArgs};
use crate::files::FolderLock;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::report::model::TeacherReport;
use crate::report::table;
use crate::stages::run::Run;
use crate::stages::teacher;

#[derive(Serialize)]
struct Document<'a> {
    /// Where a teacher that was trained here lies.
    file: Option<String>,
    /// SHA-256 of the teacher.
    fingerprint: String,
    teacher: &'a TeacherReport,
}

/// Runs the command.
pub fn run(args: &TeacherArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let run = Run::new(Some(&args.recipe), &args.run, Progress::new(common))?;
    let _lock = FolderLock::take(run.folder.root())?;
    let data = run.data(None)?;
    let scored = teacher::obtain(&run, &data)?;
    let trained = run.recipe.teacher.file.is_none();
    let file = trained.then(|| run.folder.teacher().display().to_string());
    if common.json {
        let (fingerprint, teacher) = (scored.teacher.fingerprint(), &scored.report);
        print_json(out, &Document { file, fingerprint, teacher })?;
        return Ok(Outcome::Done);
    }
    table::accuracy(out, &scored.report.name, &scored.report.scores)?;
    table::training(out, scored.report.training.as_ref())?;
    if let Some(file) = file {
        writeln!(out, "The teacher is in {file}")?;
    }
    Ok(Outcome::Done)
}
