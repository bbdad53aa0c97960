//! `bench`: latency percentiles of single inferences.

use std::io::Write;
use std::time::Instant;

use hipflask_runtime::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::{Outcome, open, print, to_json};

#[derive(Serialize)]
struct Bench {
    runs: usize,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    arena_bytes: usize,
    isa: &'static str,
}

pub(crate) fn run(path: &str, runs: &str, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let runs: usize =
        runs.parse().ok().filter(|n| (1..=10_000_000).contains(n)).ok_or_else(|| {
            Error::new(
                ErrorKind::Input,
                "RUNS",
                format!("{runs:?} is not a number from 1 to 10000000"),
            )
        })?;
    let (_, mut session) = open(path)?;
    let input = vec![0.5; session.inputs()[0].shape.elements()];
    for _ in 0..runs.div_ceil(10) {
        session.predict(&input)?;
    }
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        session.predict(&input)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let rank = |share: f64| times[((share * runs as f64).ceil() as usize).clamp(1, runs) - 1];
    let bench = Bench {
        runs,
        p50_us: rank(0.50),
        p90_us: rank(0.90),
        p99_us: rank(0.99),
        arena_bytes: session.arena_bytes(),
        isa: session.isa().name(),
    };
    if json {
        return print(out, &to_json(&bench));
    }
    let Bench { p50_us, p90_us, p99_us, arena_bytes, isa, .. } = bench;
    print(
        out,
        &format!(
            "{runs} runs on {isa}: p50 {p50_us:.1} µs, p90 {p90_us:.1} µs, p99 {p99_us:.1} µs; arena {arena_bytes} bytes\n"
        ),
    )
}
