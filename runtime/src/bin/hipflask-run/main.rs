//! The device binary: `info`, `predict`, `bench` and `verify`, without a command-line library.

mod bench;
mod info;
mod predict;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use hipflask_runtime::{Error, ErrorKind, Model, Options, Result, Session};

const USAGE: &str = "\
hipflask-run: runs a hipflask model on this machine

usage:
  hipflask-run info MODEL                  steps with their kernels, sizes, memory
  hipflask-run predict MODEL FILE...       the three best classes of each image, .wav, row of a .csv, line of text
  hipflask-run bench MODEL [RUNS]          latency percentiles (default 1000 runs)
  hipflask-run verify MODEL GOLDEN         are the recorded answers reproduced, to the bit?

  --json     print JSON
  --threads  how many share the work of an inference (default 1)
  --profile  bench: also the time of each step, and its share of what a core can do
  HIPFLASK_ISA=scalar|avx2|avxvnni|avx512vnni|neon|dotprod|i8mm|armv7neon|simd128 forces a code path.
  exit code: 0 done, 1 verification failed, 2 usage or input error
";

/// Words that begin with two dashes.
#[derive(Clone, Copy)]
struct Flags {
    json: bool,
    profile: bool,
    threads: usize,
}

impl Flags {
    /// Takes the flags out of `words`.
    fn take(words: &mut Vec<String>) -> Result<Self> {
        let mut flags = Self { json: false, profile: false, threads: 1 };
        let mut rest = Vec::new();
        let mut next = words.drain(..);
        while let Some(word) = next.next() {
            match &*word {
                "--json" => flags.json = true,
                "--profile" => flags.profile = true,
                "--threads" => {
                    let number = next.next().unwrap_or_default();
                    flags.threads = number.parse().map_err(|_| {
                        let what = format!("{number:?} is no number");
                        Error::new(ErrorKind::Input, "--threads", what)
                    })?;
                }
                _ => rest.push(word),
            }
        }
        drop(next);
        *words = rest;
        Ok(flags)
    }
}

/// How a command ended.
enum Outcome {
    Done,
    Failed,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let flags = Flags::take(&mut words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match flags.and_then(|flags| run(&words, flags)) {
        Ok(Some(Outcome::Done)) => ExitCode::SUCCESS,
        Ok(Some(Outcome::Failed)) => ExitCode::FAILURE,
        Ok(None) => {
            complain(USAGE);
            ExitCode::from(2)
        }
        Err(error) => {
            complain(&format!("error: {error}\n"));
            ExitCode::from(2)
        }
    }
}

/// Runs a command; none where there is no such command.
fn run(words: &[&str], flags: Flags) -> Result<Option<Outcome>> {
    let mut out = std::io::stdout().lock();
    match words[..] {
        ["info", model] => info::run(model, flags, &mut out),
        ["predict", model, ref files @ ..] if !files.is_empty() => {
            predict::run(model, files, flags, &mut out)
        }
        ["bench", model] => bench::run(model, "1000", flags, &mut out),
        ["bench", model, runs] => bench::run(model, runs, flags, &mut out),
        ["verify", model, golden] => verify::run(model, golden, flags, &mut out),
        ["--version"] => print(&mut out, &format!("hipflask-run {}\n", env!("CARGO_PKG_VERSION"))),
        ["--help" | "-h" | "help"] => print(&mut out, USAGE),
        _ => return Ok(None),
    }
    .map(Some)
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

fn open(path: &str, flags: Flags) -> Result<(Model, Session)> {
    let model = Model::open(path)?;
    let options = Options { threads: flags.threads, ..Options::default() };
    let session = Session::new(&model, &options)?;
    Ok((model, session))
}

/// One document, one line.
fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).map_or_else(|_| String::new(), |text| text + "\n")
}
