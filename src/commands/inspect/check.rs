//! `inspect --check`: an ONNX file run by the runtime and by tract, on random inputs.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use hipflask_distill::tract::{Difference, Tract, compare};
use hipflask_runtime::graph::Graph;
use serde::Serialize;

use crate::args::Common;
use crate::commands::print_json;
use crate::open::is_onnx;
use crate::outcome::Outcome;

/// Random inputs.
const SAMPLES: usize = 16;
const SEED: u64 = 1;
/// Largest difference of a float network, as a share of the span: a few hundred roundings of f32.
const LIMIT: f64 = 1e-4;
/// Largest difference of an int8 network in steps: tract rounds sums of floats, so some values fall
/// on the other side of a tie, and the layers behind carry it on.
const STEPS: f64 = 2.0;

#[derive(Serialize)]
struct Document {
    file: String,
    samples: usize,
    values: usize,
    /// Largest difference as a share of the span of tract's outputs.
    largest_of_span: f64,
    /// Of an int8 network: share of its outputs that are the same integer.
    same_integers: Option<f64>,
    /// Of an int8 network: largest difference in steps.
    largest_steps: Option<f64>,
    passed: bool,
}

/// Compares and prints; a gate.
pub(super) fn run(
    path: &Path,
    graph: &Graph,
    common: Common,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let file = path.display().to_string();
    if !is_onnx(path) {
        bail!(
            "{file}: --check compares .onnx files with tract: hipflask export makes one of a model"
        );
    }
    let found = compare(graph, &Tract::open(path)?, SAMPLES, SEED)?;
    let Difference { samples, values, of_span, same_integers, steps } = found;
    let passed = match steps {
        Some(steps) => steps <= STEPS,
        None => of_span <= LIMIT,
    };
    if common.json {
        let document = Document {
            file,
            samples,
            values,
            largest_of_span: of_span,
            same_integers,
            largest_steps: steps,
            passed,
        };
        print_json(out, &document)?;
    } else {
        let verdict = if passed { "passed" } else { "FAILED" };
        let (size, limit) = match (steps, same_integers) {
            (Some(steps), Some(same)) => (
                format!("{steps} steps, {:.2} % of the integers are the same", same * 100.0),
                format!("{STEPS} steps"),
            ),
            _ => (format!("{of_span:.2e} of the span"), format!("{LIMIT:.0e}")),
        };
        writeln!(
            out,
            "{verdict}: {file}: largest difference from tract {size} (limit {limit}), over {values} \
             outputs of {samples} random inputs"
        )?;
    }
    Ok(if passed { Outcome::Done } else { Outcome::GateFailed })
}
