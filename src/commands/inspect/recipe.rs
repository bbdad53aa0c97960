//! The networks of a recipe before they are trained: the nodes that losses of inner values name.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use hipflask_distill::data::DataSet;
use hipflask_distill::interpreter::{Feature, Nodes};
use hipflask_runtime::Shape;
use serde::Serialize;

use crate::args::{Common, RunArgs};
use crate::commands::print_json;
use crate::progress::Progress;
use crate::stages::run::Run;
use crate::stages::{peers, student, teacher};

/// The networks of a recipe.
#[derive(Serialize)]
struct Document {
    /// `None` where the recipe has none.
    student: Option<Inside>,
    /// `None` where the recipe has none, or its file shows its logits only.
    teacher: Option<Inside>,
    /// In their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<Inside>,
}

#[derive(Serialize)]
struct Inside {
    network: String,
    nodes: Vec<Feature>,
}

impl Inside {
    fn new(nodes: &Nodes) -> Self {
        Self { network: nodes.network().into(), nodes: nodes.features().to_vec() }
    }
}

/// A run of the recipe at `path` that trains nothing, and its data.
pub(super) fn open(path: &Path, common: Common) -> Result<(Run, DataSet)> {
    let args = RunArgs {
        out: None,
        resume: false,
        seed: None,
        device: "cpu".into(),
        set: Vec::new(),
        tensorboard: false,
    };
    let run = Run::new(Some(path), &args, Progress::new(&common))?;
    let data = run.data(None)?;
    Ok((run, data))
}

/// Writes the nodes of the student, the teacher and the peers that the recipe at `path` declares.
pub(super) fn write(path: &Path, common: Common, out: &mut dyn Write) -> Result<()> {
    let (run, data) = open(path, common)?;
    let student = match run.recipe.require_student() {
        Ok(()) => Some(Inside::new(&Nodes::new(&student::initial(&run, &data, run.recipe.seed)?))),
        Err(_) => None,
    };
    let teacher = teacher::nodes(&run, &data)?.map(|nodes| Inside::new(&nodes));
    let peers = peers::initial(&run, &data)?;
    let peers = peers.iter().map(|peer| Inside::new(&Nodes::new(&peer.graph))).collect();
    let document = Document { student, teacher, peers };
    if common.json {
        return print_json(out, &document);
    }
    let peers = document.peers.iter().enumerate();
    let peers = peers.map(|(i, peer)| (format!("peer-{}", i + 1), Some(peer)));
    let pair = [("student", document.student.as_ref()), ("teacher", document.teacher.as_ref())];
    let pair = pair.map(|(role, network)| (role.to_string(), network));
    for (role, network) in pair.into_iter().chain(peers) {
        let Some(Inside { network, nodes }) = network else { continue };
        writeln!(out, "{role}: network {network}")?;
        let width = nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or(0);
        for Feature { name, op, shape } in nodes {
            writeln!(out, "  {name:<width$}  {op:<18}{}", Shape::from(&shape[..]))?;
        }
    }
    Ok(())
}
