//! Whole networks on each instruction set, in turns, so that a busy machine slows all alike;
//! ratios and shares of the limit are those of the fastest runs. Fails where outputs differ.
//!
//! `cargo bench -p hipflask-runtime --bench networks [-- [--f32] [--layers] [NAME…]]`, where names
//! are those of networks; with `--layers` also the time of each layer on the best instruction set,
//! or on that in `HIPFLASK_ISA`. Weights are random; inputs are int8, or with `--f32` all is f32.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod zoo;

use std::time::{Duration, Instant};

use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Options, Session, View};

/// Products a nanosecond of `vpdpbusd` on one core of the machine in `docs/performance.md`: 64 a
/// cycle.
const VNNI_LIMIT: f64 = 236.0;
/// The same of f32 fused multiply-add: 16 a cycle.
const FMA_LIMIT: f64 = 59.0;
/// Rounds over the instruction sets.
const ROUNDS: usize = 41;
/// Length of all rounds together, for networks that take longer than a slice.
const PATIENCE: Duration = Duration::from_secs(6);
/// Length of one measurement.
const SLICE: Duration = Duration::from_millis(4);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let given = |flag: &str| arguments.iter().any(|a| a == flag);
    let (layers, quant) = (given("--layers"), (!given("--f32")).then_some(zoo::ACTIVATION));
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    println!(
        "{:<10} {:<11} {:>9} {:>9} {:>9} {:>9}",
        "network", "isa", "min µs", "p50 µs", "× scalar", "of limit"
    );
    for (name, network) in zoo::NETWORKS {
        if names.is_empty() || names.iter().any(|n| name.contains(n.as_str())) {
            let model = Model::from_graph(network(quant)).unwrap();
            compare(name, &model);
            if layers {
                profile(&model);
            }
        }
    }
}

/// An input for a model, int8 or f32.
enum Input {
    I8(Vec<i8>),
    F32(Vec<f32>),
}

impl Input {
    fn new(model: &Model) -> Self {
        let graph = model.graph();
        let input = graph.value(graph.inputs[0]);
        let int8: Vec<i8> = (0..input.shape.elements()).map(|i| ((i * 7919) >> 4) as i8).collect();
        match input.quant {
            Some(_) => Self::I8(int8),
            None => Self::F32(int8.iter().map(|&x| f32::from(x) / 256.0 + 0.5).collect()),
        }
    }

    fn view(&self) -> View<'_> {
        match self {
            Self::I8(values) => View::I8(values),
            Self::F32(values) => View::F32(values),
        }
    }

    /// Products a nanosecond at most.
    fn limit(&self) -> f64 {
        match self {
            Self::I8(_) => VNNI_LIMIT,
            Self::F32(_) => FMA_LIMIT,
        }
    }
}

/// Fails unless int8 networks gave the same bits, and f32 ones the same within 10⁻⁴ of the span;
/// the answers of f32 networks are compared with those of plain sums.
fn assert_equal(name: &str, input: &Input, answers: &[Vec<f32>], plain: &[f32]) {
    let (least, most) =
        plain.iter().fold((f32::MAX, f32::MIN), |(lo, hi), &x| (lo.min(x), hi.max(x)));
    let tolerance = if matches!(input, Input::I8(_)) { 0.0 } else { 1e-4 };
    let error = |answer: &Vec<f32>| {
        answer.iter().zip(plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / (most - least)
    };
    let worst = answers.iter().map(error).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{name}: outputs differ by {worst:.1e} of their span");
    if tolerance > 0.0 {
        println!("{name:<10} differs from plain sums by {worst:.1e} of the span at most");
    }
}

/// Measures all instruction sets in turns and prints a line for each.
fn compare(name: &str, model: &Model) {
    let session =
        |isa| Session::new(model, &Options { isa: Some(isa), ..Options::default() }).unwrap();
    let chosen = Isa::from_env().unwrap();
    let isas = Isa::available().filter(|&isa| chosen.is_none_or(|chosen| chosen == isa));
    let mut sessions: Vec<Session> = isas.map(session).collect();
    let input = Input::new(model);
    let answer = |session: &mut Session| {
        session.run(&[input.view()]).unwrap();
        match session.output(0) {
            View::F32(values) => values.to_vec(),
            View::I8(values) => values.iter().map(|&x| f32::from(x)).collect(),
        }
    };
    let answers: Vec<Vec<f32>> = sessions.iter_mut().map(answer).collect();
    let direct = Options { isa: Some(Isa::Scalar), direct: true, ..Options::default() };
    let plain = answer(&mut Session::new(model, &direct).unwrap());
    assert_equal(name, &input, &answers, &plain);
    let mut times = vec![Vec::new(); sessions.len()];
    let begin = Instant::now();
    while times[0].len() < ROUNDS && begin.elapsed() < PATIENCE {
        for (session, times) in sessions.iter_mut().zip(&mut times) {
            let (start, mut runs) = (Instant::now(), 0);
            while start.elapsed() < SLICE {
                for _ in 0..if runs == 0 { 1 } else { 4 } {
                    session.run(&[std::hint::black_box(input.view())]).unwrap();
                    runs += 1;
                }
            }
            times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(runs));
        }
    }
    let limit = model.graph().macs() as f64 / input.limit() / 1e3;
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    let scalar = times[0][0];
    for (session, times) in sessions.iter().zip(&times) {
        let (fastest, median) = (times[0], times[times.len() / 2]);
        println!(
            "{name:<10} {:<11} {fastest:>9.2} {median:>9.1} {:>9.1} {:>8.0}%",
            session.isa(),
            scalar / fastest,
            100.0 * limit / fastest
        );
    }
}

/// Prints the fastest time of each layer on the best instruction set.
fn profile(model: &Model) {
    let mut session = Session::new(model, &Options::default()).unwrap();
    let input = Input::new(model);
    let begin = Instant::now();
    session.run(&[input.view()]).unwrap();
    let runs = PATIENCE.as_secs_f64() / 2.0 / begin.elapsed().as_secs_f64();
    let profile = session.profile(&[input.view()], (runs as usize).clamp(3, 2000)).unwrap();
    for step in profile.steps {
        let of_limit = step.gmacs.map_or(0.0, |gmacs| 100.0 * gmacs / input.limit());
        println!(
            "  {:<12} {:<28} {:>8.2} µs {of_limit:>4.0}%",
            step.step.name, step.step.kernel, step.fastest_us
        );
    }
}
