//! `distill`: trains the student of a recipe from its teacher.

use std::io::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use super::print_json;
use crate::args::{Common, DistillArgs};
use crate::files::FolderLock;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::report::model::{ModelReport, TeacherReport};
use crate::report::table;
use crate::stages::run::Run;
use crate::stages::{student, teacher};

#[derive(Serialize)]
struct Document {
    folder: String,
    teacher: Option<TeacherReport>,
    student: ModelReport,
    control: Option<ModelReport>,
}

/// Runs the command.
pub fn run(args: &DistillArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let mut run = Run::new(Some(&args.recipe), &args.run, Progress::new(common))?;
    run.recipe.set_size_budget(args.size_budget);
    run.recipe.require_student()?;
    let _lock = FolderLock::take(run.folder.root())?;
    let data = run.data(None)?;
    student::check(&run, &data)?;
    let trained = run.folder.teacher();
    // Its file may be an earlier one's as long as its checkpoint may not be at the end.
    let in_training = run.resume && run.folder.checkpoint("teacher").is_file();
    if let Some(file) = &args.teacher {
        if !file.is_file() {
            bail!("--teacher {}: there is no such file", file.display());
        }
        run.recipe.teacher.file = Some(std::path::absolute(file)?);
    } else if run.recipe.teacher.file.is_none() && !in_training && trained.is_file() {
        run.recipe.teacher.file = Some(std::path::absolute(&trained)?);
    }
    let needs_teacher = run.recipe.needs_teacher();
    let scored = if needs_teacher { Some(teacher::obtain(&run, &data)?) } else { None };
    let scored = scored.as_ref();
    let (_, student) = student::distill(&run, &data, scored)?;
    let control = student::control(&run, &data, scored)?;
    let folder = run.folder.root().display().to_string();
    if common.json {
        let teacher = scored.map(|t| t.report.clone());
        print_json(out, &Document { folder, teacher, student, control })?;
        return Ok(Outcome::Done);
    }
    if let Some(scored) = scored {
        table::accuracy(out, &format!("teacher {}", scored.report.name), &scored.report.scores)?;
        table::training(out, scored.report.training.as_ref())?;
    }
    table::accuracy(out, "student f32", &student.scores)?;
    table::training(out, student.training.as_ref())?;
    if let Some(control) = &control {
        table::accuracy(out, "control f32", &control.scores)?;
        table::training(out, control.training.as_ref())?;
    }
    writeln!(out, "The student is in {folder}: {}", student.file)?;
    Ok(Outcome::Done)
}
