//! What stands between teacher and student: teacher assistants (Mirzadeh et al. 2020), then the
//! student's own earlier generations (Furlanello et al. 2018), each taught by the one before.

use anyhow::{Context, Result};
use hipflask_distill::data::DataSet;
use hipflask_distill::evaluate::{score, teacher_logits};
use hipflask_distill::interpreter::Nodes;
use hipflask_distill::loss::{LossSpec, Surroundings, Wanted, WeightedSum};
use hipflask_distill::network::NetworkSpec;
use hipflask_distill::trainer::TrainSpec;
use hipflask_runtime::graph::Graph;

use super::run::Run;
use super::scored::Scored;
use super::{measure, student, teacher};
use crate::report::model::TeacherReport;

/// A network that learns before the student does.
struct Link {
    /// Its name in messages, files and reports, as `assistant-1`.
    role: String,
    /// With initial weights.
    graph: Graph,
    spec: TrainSpec,
}

/// The chain that the recipe declares, in the order of training.
fn links(run: &Run, data: &DataSet) -> Result<Vec<Link>> {
    let (table, distill) = (&run.recipe.teacher, &run.recipe.distill);
    let shape = data.shape()?;
    let mut links = Vec::new();
    for (i, assistant) in table.assistants.iter().enumerate() {
        // Its weights are drawn apart from the student's, whose layers may have the same names.
        let seed = run.recipe.seed ^ (ASSISTANT_SEED + i as u64);
        let spec = NetworkSpec { vocabulary: data.vocabulary(), ..assistant.network_spec() };
        let graph = spec.build(&shape, data.classes, seed);
        let loss = assistant.loss.as_ref().unwrap_or(&distill.loss).clone();
        links.push(Link {
            role: format!("assistant-{}", i + 1),
            graph: graph.with_context(|| format!("teacher.assistants.{i}"))?,
            spec: TrainSpec { views: student::views(run), ..assistant.training(loss) },
        });
    }
    for number in 1..distill.generations {
        // The last one, the student, begins with the weights that it has without any.
        let seed = run.recipe.seed ^ (GENERATION_SEED + number as u64);
        links.push(Link {
            role: format!("generation-{number}"),
            graph: student::initial(run, data, seed)?,
            spec: student::spec(run),
        });
    }
    Ok(links)
}

const ASSISTANT_SEED: u64 = 0xa551_5700;
const GENERATION_SEED: u64 = 0x0b0a_a600;

/// Fails where one of the chain above `student` cannot be built, or a loss of it or of the student
/// names a node that is not there, before anything is trained.
pub fn check(run: &Run, data: &DataSet, student: &Graph) -> Result<()> {
    let links = links(run, data)?;
    let lessons = links.iter().map(|link| (link.role.as_str(), &link.spec.loss, &link.graph));
    let lessons = lessons.chain([("student", &run.recipe.distill.loss, student)]);
    let needs = |loss: &[LossSpec]| Ok(WeightedSum::new(loss)?.needs_features().is_some());
    if !lessons.clone().map(|(_, loss, _)| needs(loss)).collect::<Result<Vec<_>>>()?.contains(&true)
    {
        return Ok(());
    }
    let mut teacher = teacher::nodes(run, data)?;
    for (role, loss, graph) in lessons {
        let nodes = Nodes::new(graph);
        if let Some(teacher) = &teacher {
            let bound = WeightedSum::new(loss)?.bind(&mut Surroundings {
                student: Wanted::new(&nodes),
                teacher: Wanted::new(teacher),
                samples: 1,
                labels: None,
                seed: 0,
                device: &run.device,
            });
            bound.with_context(|| format!("loss of the {role}"))?;
        }
        teacher = Some(nodes);
    }
    Ok(())
}

/// Trains the chain below `first`, each to a file of its own; the last one teaches the student.
///
/// All are compared with `first`; one that is hardly better than guessing stops the run.
pub fn train(run: &Run, data: &DataSet, first: &Scored) -> Result<Vec<Scored>> {
    let mut chain: Vec<Scored> = Vec::new();
    for Link { role, graph, spec } in links(run, data)? {
        let by = chain.last().unwrap_or(first);
        let trained = run.train(&role, &graph, data, Some(by.teacher.as_ref()), &spec)?;
        let training = measure::training(&trained, data, &run.device)?;
        let path = run.folder.file(&format!("{role}.safetensors"));
        let network = teacher::keep(
            run,
            &path,
            trained.into_kept(),
            &run.recipe.data,
            data,
            Some(by.card()),
        )?;
        let logits = teacher_logits(&network, data, &data.test)?;
        let scores = score(&logits, Some(&first.logits), data.test.labels.as_deref());
        let training = Some(training.kept_at(scores.accuracy));
        let report = TeacherReport { name: role, scores, training, members: Vec::new() };
        let link = Scored { teacher: Box::new(network), logits, report };
        link.check(None, data, None)?;
        chain.push(link);
    }
    Ok(chain)
}
