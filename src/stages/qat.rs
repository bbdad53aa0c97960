//! Quantization-aware distillation: the f32 student goes on learning, computing as its int8 form will.

use std::path::Path;

use anyhow::{Context, Result};
use hipflask_distill::data::DataSet;
use hipflask_distill::evaluate::Scores;
use hipflask_distill::teacher::Teacher;
use hipflask_distill::trainer::{TrainSpec, Trained};
use hipflask_quantize::recover::Candidate;
use hipflask_quantize::{self as quantize};
use hipflask_runtime::Model;
use hipflask_runtime::graph::Graph;

use super::convert::{Calibration, Int8, int8};
use super::folder::RunFolder;
use super::ladder::LastRung;
use super::measure::{self, measure};
use super::portions::Portions;
use super::run::Run;
use super::samples::Samples;
use super::scored::Scored;
use super::student;
use crate::recipe::schema::QatTable;
use crate::report::model::ModelReport;

/// An int8 student that was trained as such.
pub struct Tuned {
    /// Its figures.
    pub report: ModelReport,
    /// Those of the int8 student that it began as, converted without training.
    pub converted: Scores,
}

/// Trains `graph`, the f32 student, as `table` says; writes and measures `student-int8.safetensors`.
pub fn tune(
    run: &Run,
    table: &QatTable,
    data: &DataSet,
    graph: &Graph,
    teacher: Option<&Scored>,
) -> Result<Tuned> {
    let settings = &run.recipe.quantize.calibration;
    let portions = Portions::of_recipe(data, settings);
    let Int8 { float, calibration, int8: converted } =
        int8(graph, &Calibration::new(&portions, &data.preprocess, settings.method)?)?;
    let converted = Model::from_graph(converted)?;
    let samples = Samples::new(&data.test, &data.preprocess)?;
    let converted = measure(&converted, "int8", &samples, teacher.map(|t| &t.logits))?.scores;
    if let Some(accuracy) = converted.accuracy {
        run.progress.line(&format!("int8 by conversion alone: {:.2} %", accuracy * 100.0));
    }
    let asked = teacher.map(|teacher| teacher.teacher.as_ref());
    let loss = table.loss(run.recipe.needs_teacher());
    let spec = TrainSpec { views: student::views(run), ..table.training(loss) };
    let trained = train(run, &float, &calibration, data, asked, &spec)?;
    let training = measure::training(&trained, data, &run.device)?;
    let graph = trained.into_kept();
    let mut report = student::write(run, data, "student", "int8", &graph, teacher)?;
    report.training = Some(training.kept_at(report.scores.accuracy));
    Ok(Tuned { report, converted })
}

fn train(
    run: &Run,
    float: &Graph,
    calibration: &quantize::Calibration,
    data: &DataSet,
    teacher: Option<&dyn Teacher>,
    spec: &TrainSpec,
) -> Result<Trained> {
    let float = float.clone().into_nchw()?;
    run.train_rounded("student-int8", &float, calibration, data, teacher, spec)
        .context("quantization-aware training")
}

/// The last rung of a ladder.
pub struct Training<'a> {
    /// Whose `[qat]` says how; its folder is not used.
    pub run: &'a Run,
    /// Learnt from.
    pub data: &'a DataSet,
    /// The f32 student.
    pub student: &'a Graph,
    /// Where its ranges come from.
    pub calibration: &'a Calibration<'a>,
    /// Imitated; without one, or where `[qat]` says so, the labels teach.
    pub teacher: Option<&'a dyn Teacher>,
}

impl LastRung for Training<'_> {
    fn train(&self, folder: &Path, minutes: Option<f64>) -> Result<Candidate> {
        let recipe = &self.run.recipe;
        let table = recipe.qat.clone().unwrap_or_default();
        let run = Run { folder: RunFolder::new(folder), ..self.run.clone() };
        let Int8 { float, calibration, .. } = int8(self.student, self.calibration)?;
        let mut spec = TrainSpec {
            views: student::views(&run),
            ..table.training(table.loss(self.teacher.is_some()))
        };
        spec.minutes = [spec.minutes, minutes].into_iter().flatten().min_by(f64::total_cmp);
        let trained = train(&run, &float, &calibration, self.data, self.teacher, &spec)?;
        let epochs = trained.summary.epochs;
        let taught = if self.teacher.is_some() { "from the teacher" } else { "from labels" };
        let note = format!("{epochs} of {} epochs {taught}", spec.epochs);
        Ok(Candidate::trained(float, calibration, trained.into_kept(), note))
    }
}
