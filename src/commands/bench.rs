//! `bench`: latency of single inferences, of each step, and memory.

use std::io::Write;

use anyhow::Result;
use hipflask_runtime::profile::Profile;
use hipflask_runtime::{Options, Session, View};
use serde::Serialize;

use super::print_json;
use crate::args::{BenchArgs, Common};
use crate::open;
use crate::outcome::Outcome;
use crate::report::model::Latency;
use crate::stages::measure::{any_input, latency};

/// Most inferences whose steps are timed: the times of all are kept for their medians.
const MOST_PROFILED: usize = 1000;

#[derive(Serialize)]
struct Bench {
    file: String,
    latency_us: Latency,
    isa: &'static str,
    threads: usize,
    macs: u64,
    arena_bytes: usize,
    scratch_bytes: usize,
    /// Highest resident memory of this process so far; not on every system.
    peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

/// Runs the command.
pub fn run(args: &BenchArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let model = open::model(&args.model)?;
    let options = Options { threads: args.threads, ..Options::default() };
    let mut session = Session::new(&model, &options)?;
    let runs = args.runs as usize;
    let latency_us = latency(&mut session, runs)?;
    let profile = if args.profile {
        Some(session.profile(&[View::F32(&any_input(&session))], runs.min(MOST_PROFILED))?)
    } else {
        None
    };
    let bench = Bench {
        file: args.model.display().to_string(),
        latency_us,
        isa: session.isa().name(),
        threads: session.threads(),
        macs: model.graph().macs(),
        arena_bytes: session.arena_bytes(),
        scratch_bytes: session.scratch_bytes(),
        peak_bytes: peak_bytes(),
        profile,
    };
    if common.json {
        print_json(out, &bench)?;
    } else {
        table(&bench, out)?;
    }
    Ok(Outcome::Done)
}

/// `VmHWM` of `/proc/self/status`, in bytes (proc_pid_status(5)); `None` where there is none.
fn peak_bytes() -> Option<u64> {
    parse_peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn table(bench: &Bench, out: &mut dyn Write) -> std::io::Result<()> {
    let Latency { p50, p90, p99, runs } = bench.latency_us;
    let threads = if bench.threads == 1 { "thread" } else { "threads" };
    let Bench { file, isa, threads: count, .. } = bench;
    writeln!(out, "{file}: {runs} inferences on {isa}, {count} {threads}")?;
    writeln!(out, "latency    p50 {p50:.1} µs, p90 {p90:.1} µs, p99 {p99:.1} µs")?;
    let per_second = if p50 > 0.0 { bench.macs as f64 / p50 / 1e3 } else { 0.0 };
    writeln!(out, "work       {} MACs, {per_second:.2} GMAC/s at p50", bench.macs)?;
    writeln!(
        out,
        "memory     arena {} + scratch {} bytes",
        bench.arena_bytes, bench.scratch_bytes
    )?;
    if let Some(peak) = bench.peak_bytes {
        writeln!(out, "           peak of this process {peak} bytes")?;
    }
    match &bench.profile {
        Some(profile) => steps(profile, out),
        None => Ok(()),
    }
}

/// A line for each step.
fn steps(profile: &Profile, out: &mut dyn Write) -> std::io::Result<()> {
    let Profile { peak, runs, steps, .. } = profile;
    writeln!(
        out,
        "\none core   at most {:.1} GMAC/s in int8, {:.1} in f32, measured now\n",
        peak.int8_gmacs, peak.f32_gmacs
    )?;
    let names = steps.iter().map(|time| time.step.name.chars().count());
    let width = names.max().unwrap_or(0).max("step".len());
    writeln!(
        out,
        "{:<width$}  {:<28}{:>12}{:>10}{:>10}{:>9}{:>9}{:>9}",
        "step", "kernel", "MACs", "min µs", "p50 µs", "share", "GMAC/s", "of peak"
    )?;
    for time in steps {
        let dash = || "-".to_string();
        writeln!(
            out,
            "{:<width$}  {:<28}{:>12}{:>10.2}{:>10.2}{:>7.1} %{:>9}{:>9}",
            time.step.name,
            time.step.kernel,
            time.step.macs,
            time.fastest_us,
            time.p50_us,
            time.share * 100.0,
            time.gmacs.map_or_else(dash, |gmacs| format!("{gmacs:.1}")),
            time.of_peak.map_or_else(dash, |share| format!("{:.0} %", share * 100.0)),
        )?;
    }
    writeln!(out, "\n{runs} inferences timed step by step; GMAC/s and share of the peak at min")
}

#[cfg(test)]
mod tests {
    use super::parse_peak;

    #[test]
    fn peak_memory_is_read_from_the_status_file() {
        let status = "Name:\thipflask\nVmPeak:\t  9000 kB\nVmHWM:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(parse_peak(status), Some(2_097_152));
        assert_eq!(parse_peak("Name:\tx\n"), None);
        assert_eq!(parse_peak("VmHWM:\tmany kB\n"), None);
    }
}
