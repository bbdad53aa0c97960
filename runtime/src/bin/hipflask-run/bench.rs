//! `bench`: latency percentiles of single inferences, and the time of each step.

use std::fmt::Write as _;
use std::io::Write;

use hipflask_runtime::profile::Profile;
use hipflask_runtime::{Error, ErrorKind, Result, View};
use serde::Serialize;

use crate::percentiles::Percentiles;
use crate::{Flags, Outcome, open, print, to_json};

#[derive(Serialize)]
struct Bench {
    runs: usize,
    #[serde(flatten)]
    latency: Percentiles,
    arena_bytes: usize,
    isa: &'static str,
    threads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

/// Most inferences whose steps are timed: the times of all are kept for their medians.
const MOST_PROFILED: usize = 1000;

pub(crate) fn run(path: &str, runs: &str, flags: Flags, out: &mut dyn Write) -> Result<Outcome> {
    let runs: usize =
        runs.parse().ok().filter(|n| (1..=10_000_000).contains(n)).ok_or_else(|| {
            Error::new(
                ErrorKind::Input,
                "RUNS",
                format!("{runs:?} is not a number from 1 to 10000000"),
            )
        })?;
    let (_, mut session) = open(path, flags)?;
    let input = vec![0.5; session.inputs()[0].shape.elements()];
    let latency = Percentiles::of(runs, |_| session.predict(&input).map(|_| ()))?;
    let profile = if flags.profile {
        Some(session.profile(&[View::F32(&input)], runs.min(MOST_PROFILED))?)
    } else {
        None
    };
    let bench = Bench {
        runs,
        latency,
        arena_bytes: session.arena_bytes(),
        isa: session.isa().name(),
        threads: session.threads(),
        profile,
    };
    if flags.json {
        return print(out, &to_json(&bench));
    }
    let Bench { arena_bytes, isa, threads, .. } = bench;
    let mut text = format!(
        "{runs} runs on {isa}, threads {threads}: {}; arena {arena_bytes} bytes\n",
        latency.text()
    );
    if let Some(profile) = &bench.profile {
        table(profile, &mut text);
    }
    print(out, &text)
}

fn table(profile: &Profile, text: &mut String) {
    let _ = writeln!(
        text,
        "one core at most: int8 {:.1}, f32 {:.1} GMAC/s\n{:<24} {:<26} {:>9} {:>9} {:>7} {:>9} {:>8}",
        profile.peak.int8_gmacs,
        profile.peak.f32_gmacs,
        "step",
        "kernel",
        "min µs",
        "p50 µs",
        "share",
        "GMAC/s",
        "of peak"
    );
    for time in &profile.steps {
        let _ = write!(
            text,
            "{:<24} {:<26} {:>9.2} {:>9.2} {:>5.1} %",
            time.step.name,
            time.step.kernel,
            time.fastest_us,
            time.p50_us,
            time.share * 100.0
        );
        if let (Some(gmacs), Some(of_peak)) = (time.gmacs, time.of_peak) {
            let _ = write!(text, " {gmacs:>9.1} {:>6.0} %", of_peak * 100.0);
        }
        text.push('\n');
    }
}
