//! Whole int8 networks on each instruction set, in turns, so that a busy machine slows all alike;
//! ratios and shares of the limit are those of the fastest runs. Fails where outputs differ.
//!
//! `cargo bench -p hipflask-runtime --bench networks [-- [--layers] [NAME…]]`, where names are those
//! of networks; with `--layers` also the time of each layer on the best instruction set. With
//! `HIPFLASK_ISA` in the environment that set alone. Weights are random, inputs int8.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod zoo;

use std::time::{Duration, Instant};

use hipflask_runtime::graph::ValueId;
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Options, Session, View};

/// Products a nanosecond of `vpdpbusd` on one core of the machine in `docs/performance.md`: 64 a
/// cycle.
const VNNI_LIMIT: f64 = 236.0;
/// Most rounds over the instruction sets.
const ROUNDS: usize = 41;
/// Length of one measurement.
const SLICE: Duration = Duration::from_millis(4);
/// Where rounds end early; also the length of a profile.
const ENOUGH: Duration = Duration::from_secs(3);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let layers = arguments.iter().any(|a| a == "--layers");
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    println!(
        "{:<10} {:<11} {:>9} {:>9} {:>9} {:>9}",
        "network", "isa", "min µs", "p50 µs", "× scalar", "of limit"
    );
    for (name, network) in zoo::NETWORKS {
        if names.is_empty() || names.iter().any(|n| n == &name) {
            let model = Model::from_graph(network()).unwrap();
            compare(name, &model);
            if layers {
                profile(&model);
            }
        }
    }
}

/// Measures all instruction sets in turns and prints a line for each.
fn compare(name: &str, model: &Model) {
    let session =
        |isa| Session::new(model, &Options { isa: Some(isa), ..Options::default() }).unwrap();
    let mut sessions: Vec<Session> = match Isa::from_env().unwrap() {
        Some(isa) => vec![session(isa)],
        None => Isa::available().map(session).collect(),
    };
    let elements = sessions[0].inputs()[0].shape.elements();
    let input: Vec<i8> = (0..elements).map(|i| ((i * 7919) >> 4) as i8).collect();
    let answers: Vec<Vec<u8>> = sessions
        .iter_mut()
        .map(|session| {
            session.run(&[View::I8(&input)]).unwrap();
            session.output(0).bytes().to_vec()
        })
        .collect();
    assert!(answers.iter().all(|a| *a == answers[0]), "{name}: outputs differ: {answers:?}");
    let mut times = vec![Vec::new(); sessions.len()];
    let begin = Instant::now();
    for round in 0..ROUNDS {
        if round > 2 && begin.elapsed() > ENOUGH {
            break;
        }
        for (session, times) in sessions.iter_mut().zip(&mut times) {
            let (start, mut runs) = (Instant::now(), 0);
            while start.elapsed() < SLICE {
                // Reading the clock takes as long as a small layer.
                for _ in 0..if runs > 0 { 16 } else { 1 } {
                    session.run(&[View::I8(std::hint::black_box(&input))]).unwrap();
                    runs += 1;
                }
            }
            times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(runs));
        }
    }
    let limit = model.graph().macs() as f64 / VNNI_LIMIT / 1e3;
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    let scalar = times[0][0];
    for (session, times) in sessions.iter().zip(&times) {
        let (fastest, median) = (times[0], times[times.len() / 2]);
        println!(
            "{name:<10} {:<11} {fastest:>9.1} {median:>9.1} {:>9.1} {:>8.0}%",
            session.isa(),
            scalar / fastest,
            100.0 * limit / fastest
        );
    }
}

/// Prints the fastest time of each layer on the best instruction set.
fn profile(model: &Model) {
    let mut session = Session::new(model, &Options::default()).unwrap();
    let input = vec![3_i8; session.inputs()[0].shape.elements()];
    let graph = model.graph();
    let mut fastest = vec![f64::INFINITY; graph.values.len()];
    let begin = Instant::now();
    while begin.elapsed() < ENOUGH {
        let mut last = Instant::now();
        let mut stop = |value: ValueId, _: View<'_>| {
            let now = Instant::now();
            fastest[value.0] = fastest[value.0].min((now - last).as_secs_f64() * 1e6);
            last = Instant::now();
        };
        session.run_observed(&[View::I8(&input)], &mut stop).unwrap();
    }
    for node in &graph.nodes {
        let (time, value) = (fastest[node.output.0], graph.value(node.output));
        let limit = graph.node_macs(node) as f64 / VNNI_LIMIT / 1e3;
        println!(
            "  {:<12} {:<16} {:<18} {time:>8.2} µs {:>4.0}%",
            node.name,
            node.op.name(),
            value.shape.to_string(),
            100.0 * limit / time
        );
    }
}
