//! The distillations of one seed: students that share data, teacher and control where their recipes
//! agree.

use std::path::Path;

use anyhow::{Result, bail};
use hipflask_distill::data::{DataSet, DataSpec};
use hipflask_distill::trainer::TrainSpec;

use super::folder::RunFolder;
use super::run::Run;
use super::scored::Scored;
use super::student::{self, Taught};
use super::{budget, qat, teacher};
use crate::recipe::schema::{StudentTable, TeacherTable};
use crate::report::distilled::Distilled;
use crate::report::model::ModelReport;

/// What the students of one seed have in common.
pub struct Lessons<'a> {
    run: Run,
    /// `--teacher`.
    file: Option<&'a Path>,
    /// `--student`.
    student: Option<&'a Path>,
    data: DataSet,
    teacher: Option<Scored>,
    controls: Vec<(Control, Option<ModelReport>)>,
}

/// All that a control's report depends on under one seed.
type Control = (DataSpec, StudentTable, TrainSpec, TeacherTable);

impl<'a> Lessons<'a> {
    /// Those of `run`; its teacher is in `file` where that is given, its trained student in `student`.
    pub fn new(run: Run, file: Option<&'a Path>, student: Option<&'a Path>) -> Result<Self> {
        for (flag, file) in [("--teacher", file), ("--student", student)] {
            if let Some(file) = file.filter(|file| !file.is_file()) {
                bail!("{flag} {}: there is no such file", file.display());
            }
        }
        let data = run.data(None)?;
        Ok(Self { run, file, student, data, teacher: None, controls: Vec::new() })
    }

    /// Distils by the run's own recipe, in its own folder.
    pub fn distill(&mut self) -> Result<Distilled> {
        self.distill_as(&self.run.clone())
    }

    /// Distils by the recipe of `own` in its folder. Its teacher and control are those of the run
    /// before, in that run's folder, where the recipe asks for the same.
    pub fn distill_as(&mut self, own: &Run) -> Result<Distilled> {
        let (shared, recipe) = (&self.run.recipe, &own.recipe);
        let same_data = recipe.data == shared.data;
        let same_teacher = same_data && recipe.teacher.alone() == shared.teacher.alone();
        let data = if same_data { None } else { Some(own.data(None)?) };
        let mut checked = own.clone();
        if let Some(file) = self.file {
            checked.recipe.teacher.file = Some(std::path::absolute(file)?);
        }
        student::check(&checked, data.as_ref().unwrap_or(&self.data))?;
        let needs_teacher = recipe.needs_teacher();
        let own_teacher = match (needs_teacher, same_teacher) {
            (false, _) => None,
            (true, true) => {
                if self.teacher.is_none() {
                    let folders = [&self.run.folder, &self.run.folder.outer()];
                    self.teacher = Some(self.obtain(&self.run, &self.data, &folders)?);
                }
                None
            }
            (true, false) => {
                Some(self.obtain(own, data.as_ref().unwrap_or(&self.data), &[&own.folder])?)
            }
        };
        let data = data.as_ref().unwrap_or(&self.data);
        let teacher = own_teacher.as_ref().or(self.teacher.as_ref().filter(|_| needs_teacher));
        let Taught { graph, report: student, chain, peers } = match self.student {
            Some(file) => student::open(file, data, teacher)?,
            None => student::distill(own, data, teacher)?,
        };
        let tune = |table| qat::tune(own, table, data, &graph, teacher);
        let tuned = recipe.qat.as_ref().map(tune).transpose()?;

        let control_of = |run: &Run| -> Control {
            let recipe = run.recipe.clone();
            (recipe.data, recipe.student, student::spec(run).labels_only(), recipe.teacher)
        };
        let key = control_of(own);
        let known = self.controls.iter().find(|(known, _)| *known == key);
        let control = match known.map(|(_, report)| report.clone()) {
            Some(report) => report,
            None if !recipe.distill.control || self.student.is_some() => None,
            None => {
                let place = if key == control_of(&self.run) { &self.run } else { own };
                let report = student::control(place, data, teacher)?;
                self.controls.push((key, report.clone()));
                report
            }
        };
        let gain = student.scores.accuracy.zip(control.as_ref().and_then(|c| c.scores.accuracy));
        let gates = match &tuned {
            Some(_) => {
                budget::of_file(&recipe.budget, "student int8", &own.folder.student("int8"))?
            }
            None => Vec::new(),
        };
        Ok(Distilled {
            folder: own.folder.root().display().to_string(),
            seed: recipe.seed,
            teacher: teacher.map(|teacher| teacher.report.clone()),
            chain,
            peers,
            student,
            control,
            converted: tuned.as_ref().map(|tuned| tuned.converted.clone()),
            int8: tuned.map(|tuned| tuned.report),
            gain: gain.map(|(student, control)| student - control),
            gates,
        })
    }

    /// The teacher of `run`: of `--teacher`, of the recipe's file, of the first of `folders` in
    /// which one was trained before, or trained now.
    fn obtain(&self, run: &Run, data: &DataSet, folders: &[&RunFolder]) -> Result<Scored> {
        let mut run = run.clone();
        // Its file may be an earlier one's as long as its checkpoint may not be at the end.
        let in_training = run.resume && run.folder.checkpoint("teacher").is_file();
        let trained = folders.iter().map(|folder| folder.teacher()).find(|file| file.is_file());
        let trained = trained.filter(|_| run.recipe.teacher.is_trained() && !in_training);
        if let Some(file) = self.file.map(Path::to_path_buf).or(trained) {
            run.recipe.teacher.set_file(std::path::absolute(file)?);
        }
        teacher::obtain(&run, data)
    }
}
