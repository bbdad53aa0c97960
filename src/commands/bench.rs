//! `bench`: latency of single inferences, of each layer, and memory.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use hipflask_runtime::{Model, Options, Session, View};
use serde::Serialize;

use super::print_json;
use crate::args::{BenchArgs, Common};
use crate::open;
use crate::outcome::Outcome;
use crate::report::model::Latency;

/// Most inferences whose layers are timed: the times of all are kept for their medians.
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
    layers: Option<Vec<LayerTime>>,
}

#[derive(Serialize)]
struct LayerTime {
    name: String,
    op: &'static str,
    macs: u64,
    /// Median.
    p50_us: f64,
    /// Of the sum of all layers' medians, from 0 to 1.
    share: f64,
}

/// Runs the command.
pub fn run(args: &BenchArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let model = open::model(&args.model)?;
    let mut session = Session::new(&model, &Options::default())?;
    // The time depends on the shapes, not on the values.
    let elements = session.inputs().first().map_or(0, |port| port.shape.elements());
    let input = vec![0.5; elements];
    let runs = args.runs as usize;
    for _ in 0..runs.div_ceil(10) {
        session.predict(&input)?;
    }
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        session.predict(&input)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let layers = if args.profile {
        Some(profile(&model, &mut session, &input, runs.min(MOST_PROFILED))?)
    } else {
        None
    };
    let bench = Bench {
        file: args.model.display().to_string(),
        latency_us: Latency::of(times),
        isa: session.isa().name(),
        threads: 1,
        macs: model.graph().macs(),
        arena_bytes: session.arena_bytes(),
        scratch_bytes: session.scratch_bytes(),
        peak_bytes: peak_bytes(),
        layers,
    };
    if common.json {
        print_json(out, &bench)?;
    } else {
        table(&bench, out)?;
    }
    Ok(Outcome::Done)
}

/// Median time of each layer: what passed between the ends of the one before it and its own.
fn profile(
    model: &Model,
    session: &mut Session,
    input: &[f32],
    runs: usize,
) -> Result<Vec<LayerTime>> {
    let graph = model.graph();
    let inputs = graph.inputs.len();
    let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(runs); graph.nodes.len()];
    for _ in 0..runs {
        let mut seen = 0;
        let mut last = Instant::now();
        session.run_observed(&[View::F32(input)], &mut |_, _| {
            let now = Instant::now();
            // Inputs come first, then one value a node in their order.
            if let Some(times) = usize::checked_sub(seen, inputs).and_then(|i| times.get_mut(i)) {
                times.push((now - last).as_secs_f64() * 1e6);
            }
            seen += 1;
            last = Instant::now();
        })?;
    }
    let medians: Vec<f64> = times.into_iter().map(|times| Latency::of(times).p50).collect();
    let total: f64 = medians.iter().sum();
    let layers = graph.nodes.iter().zip(medians).map(|(node, p50_us)| LayerTime {
        name: node.name.clone(),
        op: node.op.name(),
        macs: graph.node_macs(node),
        p50_us,
        share: if total > 0.0 { p50_us / total } else { 0.0 },
    });
    Ok(layers.collect())
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
    writeln!(out, "{}: {runs} inferences on {}, {} thread", bench.file, bench.isa, bench.threads)?;
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
    let Some(layers) = &bench.layers else { return Ok(()) };
    let names = layers.iter().map(|layer| layer.name.chars().count());
    let width = names.max().unwrap_or(0).max("layer".len());
    writeln!(
        out,
        "\n{:<width$}  {:<16}{:>12}{:>10}{:>9}",
        "layer", "operation", "MACs", "p50 µs", "share"
    )?;
    for LayerTime { name, op, macs, p50_us, share } in layers {
        let share = share * 100.0;
        writeln!(out, "{name:<width$}  {op:<16}{macs:>12}{p50_us:>10.2}{share:>7.1} %")?;
    }
    Ok(())
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
