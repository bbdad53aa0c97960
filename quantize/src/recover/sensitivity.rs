//! What int8 costs layer by layer: the error of the answers when that layer alone is in int8.

use std::collections::BTreeSet;

use hipflask_runtime::graph::{Graph, Node};
use hipflask_runtime::{Model, Options, Session};

use super::{GoOn, check};
use crate::calibration::Calibration;
use crate::convert::{stays_real, to_mixed};
use crate::error::{Error, Result};
use crate::inputs::{Inputs, spread};

/// What one layer in int8 costs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Sensitivity {
    /// Name of the node.
    pub layer: String,
    /// Energy of the error of the network's answers as a share of the answers' own, when this layer
    /// with its input and output is the only one in int8.
    pub noise: f64,
}

/// Samples that are run for each layer.
const SAMPLES: usize = 64;

/// The cost of each layer of `graph` that int8 would touch, the highest first.
pub fn sensitivity(
    graph: &Graph,
    calibration: &Calibration,
    samples: &dyn Inputs,
    go_on: GoOn<'_>,
) -> Result<Vec<Sensitivity>> {
    if samples.is_empty() {
        return Err(Error::NoSamples);
    }
    let wanted = answers(graph, samples, go_on)?;
    let energy: f64 = wanted.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    let mut found = Vec::new();
    for node in graph.nodes.iter().filter(|node| is_candidate(graph, node)) {
        let others: BTreeSet<String> =
            graph.nodes.iter().map(|n| n.name.clone()).filter(|name| *name != node.name).collect();
        let alone = answers(&to_mixed(graph, calibration, &others)?, samples, go_on)?;
        let error = wanted.iter().zip(&alone).map(|(a, b)| f64::from(a - b) * f64::from(a - b));
        let error: f64 = error.sum();
        let noise = if error == 0.0 { 0.0 } else { error / energy };
        found.push(Sensitivity { layer: node.name.clone(), noise });
    }
    // Stable: layers of equal cost stay in the order of execution.
    found.sort_by(|a, b| b.noise.total_cmp(&a.noise));
    Ok(found)
}

/// Whether int8 changes what the node computes.
fn is_candidate(graph: &Graph, node: &Node) -> bool {
    !stays_real(graph, node) && !node.op.keeps_quant()
}

fn answers(graph: &Graph, samples: &dyn Inputs, go_on: GoOn<'_>) -> Result<Vec<f32>> {
    let mut session = Session::new(&Model::from_graph(graph.clone())?, &Options::default())?;
    let mut answers = Vec::new();
    for index in spread(samples.len(), SAMPLES) {
        check(go_on)?;
        answers.extend_from_slice(session.predict(&samples.get(index))?);
    }
    Ok(answers)
}
