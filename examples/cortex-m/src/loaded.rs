//! Golden samples of an int8 student on a Cortex-M4: the model stays in flash, values live in an
//! arena of the program's own, and every value must have the bits recorded on the desk.
//!
//! `cargo run --release --bin loaded` builds it for a processor without floating point and runs it in
//! qemu.
#![no_std]
#![no_main]

mod clock;
mod heap;
mod host;
mod start;

use hipflask_runtime::format::ModelFile;
use hipflask_runtime::golden::Golden;
use hipflask_runtime::graph::LoadLimits;
use hipflask_runtime::{Model, Options, Result, Session};

/// The model and the golden samples, as `hipflask bundle` writes them.
#[unsafe(link_section = ".model")]
static MODEL: [u8; include_bytes!("../model.safetensors").len()] =
    *include_bytes!("../model.safetensors");
#[unsafe(link_section = ".model")]
static GOLDEN: [u8; include_bytes!("../golden.safetensors").len()] =
    *include_bytes!("../golden.safetensors");

/// Bytes for the values of one inference: `hipflask inspect` says how many a model needs.
const ARENA: usize = 48 * 1024;

#[repr(C, align(64))]
struct Arena([u8; ARENA]);

#[unsafe(link_section = ".memory")]
static mut VALUES: Arena = Arena([0; ARENA]);

/// Whether the samples' bits are those of the desk.
fn main() -> bool {
    heap::init();
    match run() {
        Ok(passed) => passed,
        Err(error) => {
            host::print(format_args!("error: {error}"));
            false
        }
    }
}

fn run() -> Result<bool> {
    // SAFETY: the one reference to it, for as long as the program runs.
    let arena: &'static mut [u8] = unsafe { &mut (*(&raw mut VALUES)).0 };
    let model = Model::new(ModelFile::from_flash(&MODEL, &LoadLimits::default())?)?;
    let mut session = Session::new_in(&model, &Options::default(), arena)?;
    let (held, most) = heap::usage();
    let values = session.arena_bytes() + session.scratch_bytes();
    host::print(format_args!("model         {:>8} bytes of flash", MODEL.len()));
    host::print(format_args!("values        {values:>8} bytes of the arena"));
    host::print(format_args!("session       {held:>8} bytes of heap, {most} while it was made"));
    let golden = Golden::from_bytes(&GOLDEN)?;
    let verdict = golden.verify(&model, &mut session)?;
    let (samples, equal) = (verdict.samples, verdict.equal);
    host::print(format_args!("golden        {equal:>8} of {samples} samples with equal bits"));
    if let Some(value) = &verdict.first_divergence {
        host::print(format_args!("first value that differs: {value}"));
    }
    let zeros = [0.0; 28 * 28];
    let instructions = clock::instructions(|| drop(session.predict(&zeros)));
    host::print(format_args!("instructions  {instructions:>8} of an inference"));
    host::print(format_args!("{}", if verdict.passed() { "passed" } else { "FAILED" }));
    Ok(verdict.passed())
}
