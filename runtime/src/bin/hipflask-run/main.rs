//! The device binary: `info`, `predict`, `bench` and `verify`, without a command-line library.

mod bench;
mod info;
mod predict;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use hipflask_runtime::{Model, Result, Session};

const USAGE: &str = "\
hipflask-run: runs a hipflask model on this machine

usage:
  hipflask-run info MODEL                  layers, sizes, memory
  hipflask-run predict MODEL FILE...       the three best classes of each image
  hipflask-run bench MODEL [RUNS]          latency percentiles (default 1000 runs)
  hipflask-run verify MODEL GOLDEN         are the recorded answers reproduced, to the bit?

  --json before the command prints JSON.
  HIPFLASK_ISA=scalar|avx2|avxvnni|avx512vnni|neon|dotprod|i8mm forces a code path.
  exit code: 0 done, 1 verification failed, 2 usage or input error
";

/// How a command ended.
enum Outcome {
    Done,
    Failed,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let json = words.first().is_some_and(|w| w == "--json");
    if json {
        words.remove(0);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut out = std::io::stdout().lock();
    let outcome = match words[..] {
        ["info", model] => info::run(model, json, &mut out),
        ["predict", model, ref files @ ..] if !files.is_empty() => {
            predict::run(model, files, json, &mut out)
        }
        ["bench", model] => bench::run(model, "1000", json, &mut out),
        ["bench", model, runs] => bench::run(model, runs, json, &mut out),
        ["verify", model, golden] => verify::run(model, golden, json, &mut out),
        ["--version"] => print(&mut out, &format!("hipflask-run {}\n", env!("CARGO_PKG_VERSION"))),
        ["--help" | "-h" | "help"] => print(&mut out, USAGE),
        _ => {
            complain(USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("error: {error}\n"));
            ExitCode::from(2)
        }
    }
}

/// Writes results; a reader that went away is no error.
#[expect(clippy::unnecessary_wraps, reason = "the value of most commands")]
fn print(out: &mut dyn Write, text: &str) -> Result<Outcome> {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(Outcome::Done)
}

fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn open(path: &str) -> Result<(Model, Session)> {
    let model = Model::open(path)?;
    let session = Session::new(&model, &hipflask_runtime::Options::default())?;
    Ok((model, session))
}

/// One document, one line.
fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).map_or_else(|_| String::new(), |text| text + "\n")
}
