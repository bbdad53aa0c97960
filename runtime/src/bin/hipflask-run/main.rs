//! The device binary: `info`, `predict`, `bench` and `verify`, without a command-line library.

mod bench;
mod info;
mod machine;
mod percentiles;
mod predict;
mod ranking;
mod sources;
#[cfg(all(test, not(target_family = "wasm")))]
mod tests;
mod verify;

use std::io::{BufRead, Write};
use std::process::ExitCode;

use hipflask_runtime::{Error, ErrorKind, Model, Options, Result, Session};

const USAGE: &str = "\
hipflask-run: runs a hipflask model on this machine

usage:
  hipflask-run info MODEL                  steps with their kernels, sizes, memory
  hipflask-run predict MODEL FILE...       the best classes of each image (PGM, PPM, raw bytes, .npy; PNG and
                                           JPEG where built with the feature pictures), .wav, row of a .csv,
                                           line of text; of a folder, each such file in it; - is standard input
  hipflask-run predict MODEL --stream      of each frame of standard input: bytes of pixels, values as f32 or
                                           samples as i16 (little endian), lines of text
  hipflask-run bench MODEL [RUNS]          latency percentiles (default 1000 runs)
  hipflask-run verify MODEL GOLDEN         are the recorded answers reproduced, to the bit?

  --json     print JSON, one line each
  --top      predict: how many classes (default 3)
  --hop      predict --stream: samples of sound from one answer to the next (default: no overlap)
  --threads  how many share the work of an inference (default 1)
  --profile  bench: also the time of each step, and its share of what a core can do
  HIPFLASK_ISA=scalar|avx2|avxvnni|avx512vnni|neon|dotprod|i8mm|armv7neon|simd128 forces a code path.
  exit code: 0 done, 1 verification failed, 2 usage or input error

examples:
  hipflask-run predict model.safetensors photo.pgm pictures/ --top 5
  hipflask-run info model.safetensors      says what a frame is
  ffmpeg -i /dev/video0 -f rawvideo -pix_fmt gray -s 28x28 - | hipflask-run predict model.safetensors --stream
  arecord -t raw -f S16_LE -r 16000 | hipflask-run predict model.safetensors --stream --hop 4000 --json
";

/// Words that begin with two dashes.
#[derive(Clone, Copy)]
struct Flags {
    json: bool,
    profile: bool,
    stream: bool,
    threads: usize,
    top: usize,
    hop: Option<usize>,
}

impl Flags {
    /// Takes the flags out of `words`.
    fn take(words: &mut Vec<String>) -> Result<Self> {
        let mut flags =
            Self { json: false, profile: false, stream: false, threads: 1, top: 3, hop: None };
        let mut rest = Vec::new();
        let mut next = words.drain(..);
        while let Some(word) = next.next() {
            let mut number = || {
                let number = next.next().unwrap_or_default();
                let what = || format!("{number:?} is no number");
                number.parse().map_err(|_| Error::new(ErrorKind::Input, &*word, what()))
            };
            match &*word {
                "--json" => flags.json = true,
                "--profile" => flags.profile = true,
                "--stream" => flags.stream = true,
                "--threads" => flags.threads = number()?,
                "--top" => flags.top = number()?,
                "--hop" => flags.hop = Some(number()?),
                "--help" | "--version" => rest.push(word),
                unknown if unknown.starts_with("--") => {
                    let what = "is unknown: hipflask-run --help lists the options";
                    return Err(Error::new(ErrorKind::Input, unknown, what));
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
    let (input, mut out) = (&mut std::io::stdin().lock(), std::io::stdout().lock());
    match flags.and_then(|flags| run(&words, flags, input, &mut out)) {
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
fn run(
    words: &[&str],
    flags: Flags,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<Option<Outcome>> {
    match words[..] {
        ["info", model] => info::run(model, flags, out),
        ["predict", model] if flags.stream => predict::stream(model, "-", flags, input, out),
        ["predict", model, file] if flags.stream => predict::stream(model, file, flags, input, out),
        ["predict", model, ref files @ ..] if !files.is_empty() && !flags.stream => {
            predict::run(model, files, flags, input, out)
        }
        ["bench", model] => bench::run(model, "1000", flags, out),
        ["bench", model, runs] => bench::run(model, runs, flags, out),
        ["verify", model, golden] => verify::run(model, golden, flags, out),
        ["--version"] => print(out, &format!("hipflask-run {}\n", env!("CARGO_PKG_VERSION"))),
        ["--help" | "-h" | "help"] => print(out, USAGE),
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
