//! Networks that are trained together with the student (Zhang et al. 2018).

use anyhow::{Context, Result};
use hipflask_distill::data::DataSet;
use hipflask_distill::evaluate::{score, teacher_logits};
use hipflask_distill::network::NetworkSpec;
use hipflask_distill::trainer::Trained;
use hipflask_runtime::graph::Graph;

use super::run::{Companion, Run};
use super::scored::Scored;
use super::{measure, teacher};
use crate::report::model::TeacherReport;

/// The peers that the recipe declares, with initial weights.
pub fn initial(run: &Run, data: &DataSet) -> Result<Vec<Companion>> {
    let tables = run.recipe.distill.peers.iter().enumerate();
    let peers = tables.map(|(i, table)| {
        // Its weights are drawn apart from the student's, whose layers may have the same names.
        let seed = run.recipe.seed ^ (PEER_SEED + i as u64);
        let spec = NetworkSpec { vocabulary: data.vocabulary(), ..table.network_spec() };
        let graph: Result<Graph, _> = spec.build(&data.shape()?, data.classes, seed);
        let graph = graph.with_context(|| format!("distill.peers.{i}"))?;
        Ok(Companion { role: format!("peer-{}", i + 1), graph })
    });
    peers.collect()
}

const PEER_SEED: u64 = 0x9ee5_0000;

/// Writes each trained peer to a file of its own and scores it; `by` is who taught them beside each
/// other, if there is somebody.
pub fn keep(
    run: &Run,
    data: &DataSet,
    peers: &[Companion],
    trained: Vec<Trained>,
    by: Option<&Scored>,
) -> Result<Vec<TeacherReport>> {
    let pairs = peers.iter().zip(trained);
    let reports = pairs.map(|(Companion { role, .. }, trained)| {
        let training = measure::training(&trained, data, &run.device)?;
        let path = run.folder.file(&format!("{role}.safetensors"));
        let graph = trained.into_kept();
        let network =
            teacher::keep(run, &path, graph, &run.recipe.data, data, by.map(Scored::card))?;
        let logits = teacher_logits(&network, data, &data.test)?;
        let scores = score(&logits, by.map(|by| &by.logits), data.test.labels.as_deref());
        let training = Some(training.kept_at(scores.accuracy));
        Ok(TeacherReport { name: role.clone(), scores, training, members: Vec::new() })
    });
    reports.collect()
}
