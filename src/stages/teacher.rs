//! The teacher: trained here, put together from a checkpoint, or read as it is.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hipflask_distill::data::DataSet;
use hipflask_distill::device::Device;
use hipflask_distill::evaluate::{Logits, score, teacher_logits};
use hipflask_distill::loss::LossSpec;
use hipflask_distill::network::NetworkSpec;
use hipflask_distill::teacher::{self, NetworkTeacher, Teacher, Wanted, Wishes};
use hipflask_runtime::file::write_atomically;
use hipflask_runtime::format::{Card, ModelFile, TeacherCard};
use hipflask_runtime::graph::Graph;
use hipflask_runtime::input::{ImagePreprocess, Preprocess, ValuesPreprocess};

use super::measure;
use super::run::Run;
use crate::recipe::Recipe;
use crate::recipe::schema::TeacherTable;
use crate::report::model::TeacherReport;
use crate::report::training::TrainingReport;

/// Below this many points above chance, a teacher has nothing to teach.
const POINTS_ABOVE_CHANCE: f64 = 0.1;

/// A teacher with its scores on the student's test samples.
pub struct Scored {
    /// The teacher.
    pub teacher: Box<dyn Teacher>,
    /// Its logits for the test samples, in their order.
    pub logits: Logits,
    /// Name and scores.
    pub report: TeacherReport,
}

impl Scored {
    /// Asks `teacher` for all test samples of `data`.
    pub fn new(teacher: Box<dyn Teacher>, data: &DataSet) -> Result<Self> {
        let logits = teacher_logits(teacher.as_ref(), data, &data.test)?;
        let scores = score(&logits, None, data.test.labels.as_deref());
        let report = TeacherReport { name: teacher.name().into(), scores, training: None };
        Ok(Self { teacher, logits, report })
    }

    /// Its entry in a student's card.
    pub fn card(&self) -> TeacherCard {
        TeacherCard { name: self.report.name.clone(), fingerprint: self.teacher.fingerprint() }
    }

    /// Fails when the teacher is hardly better than guessing, or worse than the recipe expects:
    /// mostly a sign that it gets its images in another range, order or layout than it learnt with.
    pub fn check(&self, expected: Option<f64>, classes: usize) -> Result<()> {
        let Some(accuracy) = self.report.scores.accuracy else { return Ok(()) };
        let chance = 1.0 / classes.max(1) as f64;
        let least = expected.unwrap_or_else(|| (chance + POINTS_ABOVE_CHANCE).min(1.0));
        if accuracy >= least {
            return Ok(());
        }
        let why = match expected {
            Some(_) => "teacher.expect_accuracy",
            None => "ten points above chance",
        };
        bail!(
            "teacher {}: {:.2} % accuracy on {} test samples, below {:.2} % ({why}): it would teach \
             nothing good; check that range, mean and std in [teacher] or [data] are those it was \
             trained with, and the order of its classes",
            self.report.name,
            accuracy * 100.0,
            self.report.scores.samples,
            least * 100.0
        )
    }
}

/// The network that a recipe's teacher table declares, with initial weights.
fn declared(
    table: &TeacherTable,
    shape: &[usize],
    classes: usize,
    seed: u64,
) -> Result<Option<Graph>> {
    if table.network.is_none() && table.layers.is_none() {
        return Ok(None);
    }
    let spec = NetworkSpec {
        network: table.network.clone(),
        width: table.width,
        depth: table.depth,
        hidden: table.hidden.clone(),
        layers: table.layers.clone(),
        vocabulary: None,
    };
    // The teacher's weights are drawn apart from the student's, whose layers may have the same names.
    spec.build(shape, classes, seed ^ TEACHER_SEED).context("[teacher]").map(Some)
}

const TEACHER_SEED: u64 = 0x7ea_c4e5;

/// How a teacher from a file wants its samples, where the recipe says so.
fn preprocess(table: &TeacherTable, data: &DataSet) -> Result<Option<Preprocess>> {
    let TeacherTable { range, mean, std, .. } = table;
    if range.is_none() && mean.is_none() && std.is_none() {
        return Ok(None);
    }
    let choose = |wish: &Option<Vec<f32>>, own: &[f32]| wish.clone().unwrap_or(own.to_vec());
    Ok(Some(match &data.preprocess {
        Preprocess::Image(own) => Preprocess::Image(ImagePreprocess {
            range: range.unwrap_or(own.range),
            mean: choose(mean, &own.mean),
            std: choose(std, &own.std),
        }),
        Preprocess::Values(own) if range.is_none() => Preprocess::Values(ValuesPreprocess {
            mean: choose(mean, &own.mean),
            std: choose(std, &own.std),
        }),
        own => bail!(
            "[teacher]: range, mean and std do not apply to {}: leave them out; a teacher file of \
             hipflask says itself how it wants them",
            own.reads()
        ),
    }))
}

/// What the recipe says of a teacher's ports.
fn wishes(table: &TeacherTable, data: &DataSet) -> Result<Wishes> {
    Ok(Wishes {
        preprocess: preprocess(table, data)?,
        channels: table.channels.unwrap_or_default(),
        layout: table.layout,
        output: table.output.clone(),
    })
}

/// The teacher in the file at `path`, for the data of `recipe`.
pub fn open(
    path: &Path,
    recipe: &Recipe,
    data: &DataSet,
    device: &Device,
) -> Result<Box<dyn Teacher>> {
    let table = &recipe.teacher;
    let shape = data.shape()?;
    let declared = declared(table, &shape, data.classes, recipe.seed)?;
    let wanted = Wanted {
        shape: &shape,
        classes: data.classes,
        declared: declared.as_ref(),
        wishes: wishes(table, data)?,
        device,
    };
    Ok(teacher::open(path, &wanted)?)
}

/// The recipe's teacher, scored on the student's test samples and found good enough.
///
/// One that is trained here is written to `teacher.safetensors`.
pub fn obtain(run: &Run, data: &DataSet) -> Result<Scored> {
    let table = &run.recipe.teacher;
    run.recipe.require_teacher()?;
    let (mut name, mut training) = (None, None);
    let teacher: Box<dyn Teacher> = if let Some(file) = &table.file {
        let path = run.locate("teacher.file", file)?;
        if same_file(&path, &run.folder.teacher()) {
            // The same student, to the byte, whether its teacher was trained now or before.
            let shape = data.shape()?;
            name = declared(table, &shape, data.classes, run.recipe.seed)?.map(|g| g.name);
        }
        run.progress.line(&format!("teacher: reading {}", path.display()));
        open(&path, &run.recipe, data, &run.device)?
    } else {
        let (teacher, report) = train(run, data)?;
        training = Some(report);
        Box::new(teacher)
    };
    let mut scored = Scored::new(teacher, data)?;
    scored.report.name = name.unwrap_or(scored.report.name);
    scored.report.training = training.map(|t| t.kept_at(scored.report.scores.accuracy));
    scored.check(table.expect_accuracy, data.classes)?;
    Ok(scored)
}

fn same_file(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

/// Trains the declared teacher on its own data, or on the student's.
fn train(run: &Run, student_data: &DataSet) -> Result<(NetworkTeacher, TrainingReport)> {
    let table = &run.recipe.teacher;
    let own = table.data.as_ref().map(|spec| run.data(Some(spec))).transpose()?;
    let data = own.as_ref().unwrap_or(student_data);
    let [shape, wanted] = [data.shape()?, student_data.shape()?];
    if shape != wanted {
        bail!(
            "teacher.data: the teacher's samples are {shape:?}, the student's are {wanted:?} (an \
             image is [channels, height, width]): make images equal with resize = [h, w] in [data] \
             or [teacher.data]"
        );
    }
    let Some(graph) = declared(table, &shape, data.classes, run.recipe.seed)? else {
        bail!("{}: [teacher] names neither network nor layers", run.recipe.name);
    };
    let smoothed = LossSpec::CrossEntropy { weight: 1.0, label_smoothing: table.label_smoothing };
    let spec = table.training(vec![smoothed]);
    let name = graph.name.clone();
    let trained = run.train("teacher", &graph, data, None, &spec)?;
    let training = measure::training(&trained, student_data, &run.device)?;
    let graph = trained.into_kept();
    let path = run.folder.teacher();
    let card = Card {
        task: "classification".into(),
        dataset: table.data.as_ref().unwrap_or(&run.recipe.data).name(),
        labels: data.class_names.clone(),
        ..Card::default()
    };
    let preprocess = Some(data.preprocess.clone());
    let file = ModelFile { graph, preprocess, card };
    write_atomically(&path, &file.to_bytes())?;
    let teacher = NetworkTeacher::new(&name, &file.graph, file.preprocess, &run.device)?;
    Ok((teacher, training))
}
