//! The teacher: trained here, put together from a checkpoint, read as it is, or several of those.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hipflask_distill::data::{DataSet, DataSpec};
use hipflask_distill::device::Device;
use hipflask_distill::evaluate::Logits;
use hipflask_distill::interpreter::Nodes;
use hipflask_distill::loss::LossSpec;
use hipflask_distill::network::NetworkSpec;
use hipflask_distill::teacher::{
    self, EnsembleTeacher, Member, NetworkTeacher, Teacher, Wanted, Wishes,
};
use hipflask_runtime::file::write_atomically;
use hipflask_runtime::format::{Card, ModelFile, TeacherCard};
use hipflask_runtime::graph::Graph;
use hipflask_runtime::input::{ImagePreprocess, Preprocess, ValuesPreprocess};

use super::diagnosis::Source;
use super::measure;
use super::run::Run;
use super::scored::Scored;
use crate::recipe::teachers::FileTable;
use crate::report::model::MemberReport;
use crate::report::training::TrainingReport;

/// The network that a table at `place` declares, with initial weights; `None` where it declares none.
fn declared(spec: NetworkSpec, place: &str, data: &DataSet, seed: u64) -> Result<Option<Graph>> {
    if spec.network.is_none() && spec.layers.is_none() {
        return Ok(None);
    }
    // The teacher's weights are drawn apart from the student's, whose layers may have the same names.
    let spec = NetworkSpec { vocabulary: data.vocabulary(), ..spec };
    let graph = spec.build(&data.shape()?, data.classes, seed ^ TEACHER_SEED);
    graph.with_context(|| place.to_string()).map(Some)
}

const TEACHER_SEED: u64 = 0x7ea_c4e5;

/// How a teacher from a file wants its samples, where the recipe says so.
fn preprocess(table: &FileTable, place: &str, data: &DataSet) -> Result<Option<Preprocess>> {
    let FileTable { range, mean, std, .. } = table;
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
            ..own.clone()
        }),
        own => bail!(
            "{place}: range, mean and std do not apply to {}: leave them out; a teacher file of \
             hipflask says itself how it wants them",
            own.reads()
        ),
    }))
}

/// The teacher in the file at `path`, declared by `source`, for `data`.
pub fn open(
    path: &Path,
    source: &Source<'_>,
    data: &DataSet,
    device: &Device,
) -> Result<Box<dyn Teacher>> {
    let &Source { table, place } = source;
    let shape = data.shape()?;
    // Bare weights replace all of its own: their seed decides nothing.
    let declared = declared(table.network_spec(), place, data, 0)?;
    let wishes = Wishes {
        preprocess: preprocess(table, place, data)?,
        channels: table.channels.unwrap_or_default(),
        layout: table.layout,
        output: table.output.clone(),
        class_order: table.class_order.clone(),
    };
    let declared = declared.as_ref();
    let wanted = Wanted { shape: &shape, classes: data.classes, declared, wishes, device };
    Ok(teacher::open(path, &wanted)?)
}

/// What is inside the recipe's teacher, trained or not; `None` where its file shows its logits only,
/// or the recipe declares no network.
pub fn nodes(run: &Run, data: &DataSet) -> Result<Option<Nodes>> {
    let table = &run.recipe.teacher;
    if let Some(file) = &table.file {
        let path = run.locate("teacher.file", file)?;
        let (table, place) = (&table.of_file(file), "[teacher]");
        let teacher = open(&path, &Source { table, place }, data, &run.device)?;
        return Ok(teacher.nodes().cloned());
    }
    let declared = declared(table.network_spec(), "[teacher]", data, run.recipe.seed)?;
    Ok(declared.map(|graph| Nodes::new(&graph)))
}

/// The recipe's teacher, scored on the student's test samples and found good enough.
///
/// One that is trained here is written to `teacher.safetensors`.
pub fn obtain(run: &Run, data: &DataSet) -> Result<Scored> {
    let table = &run.recipe.teacher;
    run.recipe.require_teacher()?;
    if !table.ensemble.is_empty() {
        return ensemble(run, data);
    }
    if let Some(file) = &table.file {
        let mut scored = read(run, data, &table.of_file(file), "[teacher]", "teacher.file")?;
        if same_file(&run.locate("teacher.file", file)?, &run.folder.teacher()) {
            // The same student, to the byte, whether its teacher was trained now or before.
            let trained = declared(table.network_spec(), "[teacher]", data, run.recipe.seed)?;
            scored.report.name = trained.map_or(scored.report.name, |graph| graph.name);
        }
        return Ok(scored);
    }
    let (teacher, training) = train(run, data)?;
    let mut scored = Scored::new(Box::new(teacher), data)?;
    scored.report.training = Some(training.kept_at(scored.report.scores.accuracy));
    scored.check(table.expect_accuracy, data, None)?;
    Ok(scored)
}

/// The teacher of a file that `key` names, scored and found good enough.
fn read(run: &Run, data: &DataSet, table: &FileTable, place: &str, key: &str) -> Result<Scored> {
    let path = run.locate(key, &table.file)?;
    run.progress.line(&format!("teacher: reading {}", path.display()));
    let source = Source { table, place };
    let teacher = open(&path, &source, data, &run.device)?;
    let scored = Scored::new(teacher, data)?;
    scored.check(table.expect_accuracy, data, Some(&source))?;
    Ok(scored)
}

/// The teachers of `teacher.ensemble`, each good enough by itself, as one.
fn ensemble(run: &Run, data: &DataSet) -> Result<Scored> {
    let table = &run.recipe.teacher;
    let (mut members, mut reports, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for (i, member) in table.ensemble.iter().enumerate() {
        let key = format!("teacher.ensemble.{i}");
        let place = format!("{key} ({})", member.file.display());
        let Scored { teacher, logits, report } =
            read(run, data, member, &place, &format!("{key}.file"))?;
        let weight = member.weight;
        answers.push(logits.to_tensor()?);
        reports.push(MemberReport { name: report.name, weight, scores: report.scores });
        members.push(Member { teacher, weight });
    }
    let names: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
    let average = table.average.unwrap_or_default();
    let teacher = EnsembleTeacher::new(names.join(" + "), members, average, &data.preprocess)?;
    let logits = Logits::from_tensor(&teacher.mean(&answers)?)?;
    let mut scored = Scored::of(Box::new(teacher), logits, data);
    scored.report.members = reports;
    scored.check(table.expect_accuracy, data, None)?;
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
    let Some(graph) = declared(table.network_spec(), "[teacher]", data, run.recipe.seed)? else {
        bail!("{}: [teacher] names neither network nor layers", run.recipe.name);
    };
    let smoothed = LossSpec::CrossEntropy { weight: 1.0, label_smoothing: table.label_smoothing };
    let spec = table.training(vec![smoothed]);
    let trained = run.train("teacher", &graph, data, None, &spec)?;
    let training = measure::training(&trained, student_data, &run.device)?;
    let declared = table.data.as_ref().unwrap_or(&run.recipe.data);
    let teacher = keep(run, &run.folder.teacher(), trained.into_kept(), declared, data, None)?;
    Ok((teacher, training))
}

/// The network that `graph` became by learning from `data`, which `spec` declares, and the teacher of
/// `card`, written to `path`.
pub fn keep(
    run: &Run,
    path: &Path,
    graph: Graph,
    spec: &DataSpec,
    data: &DataSet,
    card: Option<TeacherCard>,
) -> Result<NetworkTeacher> {
    let card = Card {
        task: "classification".into(),
        dataset: spec.name(),
        labels: data.class_names.clone(),
        teacher: card,
        ..Card::default()
    };
    let file = ModelFile { graph, preprocess: Some(data.preprocess.clone()), card };
    write_atomically(path, &file.to_bytes())?;
    let name = file.graph.name.clone();
    Ok(NetworkTeacher::new(name, &file.graph, file.preprocess, &run.device)?)
}
