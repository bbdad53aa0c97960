//! Quantization-aware distillation: the f32 student goes on learning, computing as its int8 form will.

use anyhow::{Context, Result};
use hipflask_distill::data::DataSet;
use hipflask_distill::evaluate::Scores;
use hipflask_distill::trainer::TrainSpec;
use hipflask_runtime::Model;
use hipflask_runtime::graph::Graph;

use super::convert::{Calibration, Int8, int8};
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
    let loss = table.loss(run.recipe.needs_teacher());
    let spec = TrainSpec { views: student::views(run), ..table.training(loss) };
    let float = float.into_nchw()?;
    let asked = teacher.map(|teacher| teacher.teacher.as_ref());
    let role = "student-int8";
    let trained = run
        .train_rounded(role, &float, &calibration, data, asked, &spec)
        .context("quantization-aware training")?;
    let training = measure::training(&trained, data, &run.device)?;
    let graph = trained.into_kept();
    let mut report = student::write(run, data, "student", "int8", &graph, teacher)?;
    report.training = Some(training.kept_at(report.scores.accuracy));
    Ok(Tuned { report, converted })
}
