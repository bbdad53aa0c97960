//! `distill.peers`: networks that are trained together with the student (Zhang et al. 2018).

use hipflask_distill::loss::{LossSpec, Temperature, WeightedSum};
use hipflask_distill::network::NetworkSpec;
use serde::{Deserialize, Serialize};

use super::Recipe;
use super::check::Checked;
use super::parse::Problem;
use super::training::declares_network;

/// A network that is trained as the student is, beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerTable {
    /// Its network, as in `[student]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// As in `[student]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// As in `[student]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// As in `[student]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// As in `[student]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
}

declares_network!(PeerTable);

/// The objective of the paper: labels, and what the peers say.
pub(super) fn objective() -> Vec<LossSpec> {
    vec![
        LossSpec::CrossEntropy { weight: 1.0, label_smoothing: 0.0 },
        LossSpec::Mutual { temperature: Temperature::one().into(), weight: 1.0 },
    ]
}

/// Most networks beside the student.
const MOST: usize = 16;

/// Fails where peers are declared wrongly, or without anything to be learnt from them.
pub(super) fn check(recipe: &Recipe, objective: &WeightedSum) -> Checked {
    let Recipe { teacher, distill, validate, .. } = recipe;
    let peers = &distill.peers;
    let wrong = |path: &str, message: &str| Err(Problem::at(path, format!("{path}: {message}")));
    if peers.is_empty() {
        if objective.needs_peers() {
            let message = "mutual learns from peers, and the recipe has none: declare some with \
                           distill.peers = [{ network = \"…\" }]";
            return wrong("distill.loss", message);
        }
        return Ok(());
    }
    super::check::within("distill.peers", peers.len(), 1..=MOST)?;
    for (i, peer) in peers.iter().enumerate() {
        if peer.network.is_some() == peer.layers.is_some() {
            return wrong(&format!("distill.peers.{i}"), "needs either network or layers");
        }
    }
    if !objective.needs_peers() {
        let message = "no term of distill.loss learns from them: add one, as { kind = \"mutual\" }";
        return wrong("distill.peers", message);
    }
    if !objective.needs_labels() {
        let message = "without labels peers learn to agree, on anything: add a term that knows the \
                       labels, as { kind = \"cross-entropy\" }";
        return wrong("distill.loss", message);
    }
    if let Some(name) = objective.needs_features() {
        let message = format!(
            "{name} compares inner values of the student, and its peers, which have the same \
             objective, are other networks: leave {name} or distill.peers out"
        );
        return wrong("distill.loss", &message);
    }
    if distill.generations > 1 {
        let message =
            "a generation learns from the one before it, alone: leave it or distill.peers out";
        return wrong("distill.generations", message);
    }
    if objective.needs_teacher() {
        return Ok(());
    }
    let declared = teacher.network.is_some() || teacher.layers.is_some() || !teacher.is_trained();
    if declared || !teacher.assistants.is_empty() {
        let message = "peers learn from one another, and no term of distill.loss imitates a teacher: \
                       leave [teacher] out, or add one, as { kind = \"kd\" }";
        return wrong("teacher", message);
    }
    let gates = [
        ("validate.max_drop", validate.max_drop.is_some()),
        ("validate.min_agreement", validate.min_agreement.is_some()),
    ];
    match gates.iter().find(|(_, set)| *set) {
        Some((path, _)) => {
            wrong(path, "compares with a teacher, and peers have none: leave it out")
        }
        None => Ok(()),
    }
}
