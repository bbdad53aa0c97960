//! `verify`: does this machine give the recorded answers?

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use hipflask_runtime::golden::{Golden, Verdict};
use hipflask_runtime::{Result, Session, View};
use serde::Serialize;

use crate::machine::Machine;
use crate::percentiles::Percentiles;
use crate::{Flags, Outcome, open, print, to_json};

/// Most inferences that are timed, and for how long at most, in seconds.
const RUNS: usize = 200;
const SECONDS: f64 = 2.0;

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(flatten)]
    latency: Percentiles,
    arena_bytes: usize,
    isa: &'static str,
    threads: usize,
    machine: Machine,
}

/// Of single inferences of the samples.
fn latency(session: &mut Session, inputs: &[Vec<f32>]) -> Result<Percentiles> {
    let mut call = |run: usize| match inputs.get(run % inputs.len().max(1)) {
        Some(input) => session.run(&[View::F32(input)]),
        None => Ok(()),
    };
    let start = Instant::now();
    call(0)?;
    let fit = SECONDS / start.elapsed().as_secs_f64().max(1e-9);
    Percentiles::of((fit as usize).clamp(1, RUNS), call)
}

pub(crate) fn run(path: &str, golden: &str, flags: Flags, out: &mut dyn Write) -> Result<Outcome> {
    let (model, mut session) = open(path, flags)?;
    let bytes = hipflask_runtime::file::open(Path::new(golden))?;
    let golden = Golden::from_bytes((*bytes).as_ref()).map_err(|e| e.in_file(golden))?;
    let file = hipflask_runtime::file::open(Path::new(path))?;
    golden.check_file((*file).as_ref()).map_err(|e| e.in_file(path))?;
    let verdict = golden.verify(&model, &mut session)?;
    let passed = verdict.passed();
    let report = Report {
        latency: latency(&mut session, &golden.inputs)?,
        arena_bytes: session.arena_bytes(),
        isa: session.isa().name(),
        threads: session.threads(),
        machine: Machine::now(),
        verdict,
    };
    let verdict = &report.verdict;
    if flags.json {
        print(out, &to_json(&report))?;
    } else {
        let promise = if verdict.exact { "bits equal" } else { "within tolerance" };
        let mut text = format!(
            "{}: {} of {} samples {promise} on {}",
            if passed { "passed" } else { "FAILED" },
            verdict.equal,
            verdict.samples,
            session.isa()
        );
        if !passed {
            text += &format!(", largest difference {}", verdict.largest_difference);
        }
        if let Some(value) = &verdict.first_divergence {
            text += &format!(", first divergence at {value}");
        }
        for (name, share) in
            [("teacher's class", verdict.agreement), ("right class", verdict.accuracy)]
        {
            if let Some(share) = share {
                text += &format!("; {name} {:.1} %", share * 100.0);
            }
        }
        text += &format!("\n{}, threads {}", report.latency.text(), report.threads);
        let machine = report.machine.text();
        if !machine.is_empty() {
            text += &format!("; {machine}");
        }
        print(out, &(text + "\n"))?;
    }
    Ok(if passed { Outcome::Done } else { Outcome::Failed })
}
