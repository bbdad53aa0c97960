//! `hipflask-train-step MODEL THREADS [DEVICE [BATCH]]`: times training steps for a driver that compares
//! hipflask with PyTorch.
//!
//! It prints `ready BATCH PARAMETERS` after one step, then answers lines of standard input: `run N`
//! with the nanoseconds of N steps, `quit` by ending. A step is forward, cross-entropy, backward
//! and Adam at 1e-3, by what `hipflask distill` runs. Images and labels are random and stay in place.

mod step;

use std::error::Error;
use std::io::{BufRead, Write};
use std::process::ExitCode;

use step::Step;

/// As in `hipflask`: buffers of megabytes come and go with every operator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    rest_between_operators();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed too, only the exit code is left to tell.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As in `hipflask`: candle's threads would else spin on the cores that compute.
#[expect(unsafe_code, reason = "the environment is the only way, and main's first line the place")]
fn rest_between_operators() {
    // SAFETY: called first in `main`, before there is another thread.
    unsafe { std::env::set_var("CANDLE_BARRIER_POOL_SPIN_LIMIT", "1") };
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (model, threads, device, batch) = match &args[..] {
        [model, threads] => (model, threads, "cpu", None),
        [model, threads, device] => (model, threads, device.as_str(), None),
        [model, threads, device, batch] => (model, threads, device.as_str(), Some(batch.parse()?)),
        _ => return Err("usage: hipflask-train-step MODEL THREADS [DEVICE [BATCH]]".into()),
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    let mut step = Step::new(model, device, batch)?;
    step.take()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready {} {}", step.batch(), step.parameters())?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        match line?.split_whitespace().collect::<Vec<_>>()[..] {
            ["run", count] => writeln!(out, "{}", step.times(count.parse()?)?)?,
            ["quit"] => break,
            _ => return Err("lines are: run N, quit".into()),
        }
        out.flush()?;
    }
    Ok(())
}
