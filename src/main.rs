//! The program: parse, run, exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use hipflask::{Args, Outcome};

/// Training takes and drops buffers of megabytes with every operator: the system's allocator gives
/// them back each time, and getting them again costs a third of the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rest_between_operators();
    let args = Args::parse();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let done =
        hipflask::run(&args, &mut out).and_then(|outcome| Ok(out.flush().map(|()| outcome)?));
    match done {
        Ok(outcome) => outcome.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed too.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(Outcome::ERROR)
        }
    }
}

/// Candle's threads, which add gradients, spin between operators and so take the cores on which
/// ours compute: a quarter of a step's time (docs/performance.md). They read how long in the
/// environment only.
#[expect(unsafe_code, reason = "the environment is the only way, and main's first line the place")]
fn rest_between_operators() {
    const SPINS: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";
    if std::env::var_os(SPINS).is_none() {
        // SAFETY: called first in `main`, before there is another thread.
        unsafe { std::env::set_var(SPINS, "1") };
    }
}

/// Whether the reader of stdout went away, as `head` does: no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|e| e.kind() == ErrorKind::BrokenPipe)
}
