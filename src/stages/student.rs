//! The student: distilled from the teacher, and its control, which has the labels only.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hipflask_distill::data::DataSet;
use hipflask_distill::network::{Described, Fit, NetworkSpec, SizeBudget, Sizes};
use hipflask_distill::soft_targets::Views;
use hipflask_distill::teacher::load_weights;
use hipflask_distill::trainer::{TrainSpec, Trained};
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::{Graph, Layout};
use hipflask_runtime::{Model, file::write_atomically};

use super::measure::{self, measure};
use super::run::Run;
use super::samples::Samples;
use super::scored::Scored;
use super::{budget, chain, peers};
use crate::open;
use crate::report::model::{ModelReport, TeacherReport};

/// The student's network, and where a budget chose its width, what it takes.
fn network(run: &Run, data: &DataSet) -> Result<(NetworkSpec, Option<Fit>)> {
    run.recipe.require_student()?;
    let table = &run.recipe.student;
    let spec = NetworkSpec { vocabulary: data.vocabulary(), ..table.network_spec() };
    let Some(budget) = table.size_budget else { return Ok((spec, None)) };
    let fit = budget.widest(&spec, &data.shape()?, described(data)).context("[student]")?;
    Ok((fit.spec.clone(), Some(fit)))
}

/// What the student's file will hold of the data.
pub fn described(data: &DataSet) -> Described<'_> {
    Described { labels: &data.class_names, preprocess: Some(&data.preprocess) }
}

/// Fails where the student, a peer or its chain cannot be built, the student will not fit its board or a
/// loss names a node that is not there, before a teacher is trained; says which width a budget chose.
pub fn check(run: &Run, data: &DataSet) -> Result<()> {
    if let (spec, Some(fit)) = network(run, data)? {
        let size = fit.int8.map_or_else(String::new, |Sizes { file_bytes, memory_bytes, macs }| {
            format!("; int8: at most {file_bytes} bytes, {memory_bytes} of memory, {macs} MACs")
        });
        let (name, parameters) = (spec.describe(), fit.parameters);
        run.progress.line(&format!("student: {name} ({parameters} parameters{size})"));
    }
    let student = initial(run, data, run.recipe.seed)?;
    budget::check_untrained(run, data, &student)?;
    peers::initial(run, data)?;
    chain::check(run, data, &student)
}

/// The student before training, its weights drawn under `seed`.
pub fn initial(run: &Run, data: &DataSet, seed: u64) -> Result<Graph> {
    let (spec, _) = network(run, data)?;
    let graph = spec.build(&data.shape()?, data.classes, seed).context("[student]")?;
    match &run.recipe.student.file {
        Some(file) => Ok(load_weights(&run.locate("student.file", file)?, &graph)?),
        None => Ok(graph),
    }
}

/// The recipe's budget and objective for the student.
pub fn spec(run: &Run) -> TrainSpec {
    let table = &run.recipe.distill;
    TrainSpec { views: views(run), ..table.training(table.loss.clone()) }
}

/// The views of the samples that the recipe limits them to.
pub fn views(run: &Run) -> Option<Views> {
    let table = &run.recipe.distill;
    // A cache of samples that stay the same holds one view of them.
    let views = table.cache_views.or(table.cache.as_ref().map(|_| 1));
    let (seed, precision) = (table.view_seed, table.cache_precision);
    views.map(|count| Views { count, seed, precision })
}

/// A student after its training.
pub struct Taught {
    /// In f32.
    pub graph: Graph,
    /// Its figures.
    pub report: ModelReport,
    /// The networks between its teacher and it.
    pub chain: Vec<TeacherReport>,
    /// The networks that were trained together with it.
    pub peers: Vec<TeacherReport>,
}

/// Trains the student from `teacher`, by way of the recipe's chain, and together with its peers; writes
/// and measures `student-f32.safetensors`.
pub fn distill(run: &Run, data: &DataSet, teacher: Option<&Scored>) -> Result<Taught> {
    let chain = match teacher {
        Some(teacher) => chain::train(run, data, teacher)?,
        None => Vec::new(),
    };
    let initial = initial(run, data, run.recipe.seed)?;
    let by = chain.last().or(teacher);
    let companions = peers::initial(run, data)?;
    let asked = by.map(|by| by.teacher.as_ref());
    let spec = spec(run);
    let mut trained = run.train_with_peers("student", &initial, &companions, data, asked, &spec)?;
    let own = trained.remove(0);
    let peers = peers::keep(run, data, &companions, trained, by)?;
    let (graph, report) = measured(run, data, "student", own, teacher)?;
    let chain = chain.into_iter().map(|link| link.report).collect();
    Ok(Taught { graph, report, chain, peers })
}

/// The trained f32 student at `path`, measured on the test samples.
pub fn open(path: &Path, data: &DataSet, teacher: Option<&Scored>) -> Result<Taught> {
    let name = path.display().to_string();
    let file = open::model_file(path)?;
    if file.graph.layout != Layout::Nchw {
        bail!("--student {name}: it is already converted: begin with the f32 student");
    }
    let preprocess = file.preprocess.as_ref().unwrap_or(&data.preprocess);
    if preprocess != &data.preprocess {
        bail!(
            "--student {name}: it learnt with another preprocessing than the recipe's [data] has: use \
             the recipe that it was trained by"
        );
    }
    let samples = Samples::new(&data.test, preprocess)?;
    let model = Model::from_graph(file.graph.clone())?;
    let mut report = measure(&model, &name, &samples, teacher.map(|t| &t.logits))?;
    report.bytes = std::fs::metadata(path)?.len();
    Ok(Taught { graph: file.graph, report, chain: Vec::new(), peers: Vec::new() })
}

/// Where the recipe asks for it, trains the same student from the same weights with the same budget
/// on labels only.
pub fn control(run: &Run, data: &DataSet, teacher: Option<&Scored>) -> Result<Option<ModelReport>> {
    if !run.recipe.distill.control {
        return Ok(None);
    }
    if data.train.labels.is_none() {
        bail!(
            "distill.control: the control learns from labels, the training data has none: set \
             control = false"
        );
    }
    let initial = initial(run, data, run.recipe.seed)?;
    let spec = spec(run).labels_only();
    let trained = run.train("control", &initial, data, None, &spec)?;
    measured(run, data, "control", trained, teacher).map(|(_, report)| Some(report))
}

/// The f32 network of a training, written and measured.
fn measured(
    run: &Run,
    data: &DataSet,
    role: &str,
    trained: Trained,
    teacher: Option<&Scored>,
) -> Result<(Graph, ModelReport)> {
    let training = measure::training(&trained, data, &run.device)?;
    let graph = trained.into_kept();
    let mut report = write(run, data, role, "f32", &graph, teacher)?;
    report.training = Some(training.kept_at(report.scores.accuracy));
    Ok((graph, report))
}

/// Measures `graph` on the test samples by the runtime, and writes it with its figures.
pub fn write(
    run: &Run,
    data: &DataSet,
    role: &str,
    format: &str,
    graph: &Graph,
    teacher: Option<&Scored>,
) -> Result<ModelReport> {
    let path = match role {
        "control" => run.folder.control(),
        _ => run.folder.student(format),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let samples = Samples::new(&data.test, &data.preprocess)?;
    let model = Model::from_graph(graph.clone())?;
    let mut report = measure(&model, &name, &samples, teacher.map(|t| &t.logits))?;
    let figures = [
        ("accuracy", report.scores.accuracy),
        ("agreement", report.scores.agreement),
        ("kl", report.scores.kl),
    ];
    let card = Card {
        task: "classification".into(),
        dataset: run.recipe.data.name(),
        labels: data.class_names.clone(),
        teacher: teacher.filter(|_| role == "student").map(Scored::card),
        metrics: figures.into_iter().filter_map(|(n, v)| Some((n.to_string(), v?))).collect(),
        licence: String::new(),
    };
    let preprocess = Some(data.preprocess.clone());
    let bytes = ModelFile { graph: graph.clone(), preprocess, card }.to_bytes();
    write_atomically(&path, &bytes)?;
    report.bytes = bytes.len() as u64;
    if let (Some(SizeBudget::Bytes(most)), "int8") = (run.recipe.student.size_budget, format)
        && report.bytes > most
    {
        run.progress.line(&format!("{name}: {} bytes, above size_budget ({most})", report.bytes));
    }
    Ok(report)
}
