//! The command line: parses, calls one library function a command, prints what it found.
#![deny(unsafe_code)]

pub mod args;
pub mod bundle;
pub mod commands;
pub mod deploy;
pub mod files;
pub mod open;
mod outcome;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod stages;

use std::io::Write;

use anyhow::Result;

pub use args::Args;
use args::Command;
pub use outcome::Outcome;

/// Runs the command of `args`; results go to `out`, progress and warnings to stderr.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let common = &args.common;
    match &args.command {
        Command::Ship(args) => commands::ship::run(args, common, out),
        Command::Teacher(args) => commands::teacher::run(args, common, out),
        Command::Distill(args) => commands::distill::run(args, common, out),
        Command::Quantize(args) => commands::quantize::run(args, common, out),
        Command::Validate(args) => commands::validate::run(args, common, out),
        Command::Inspect(args) => commands::inspect::run(args, common, out),
        Command::Predict(args) => commands::predict::run(args, common, out),
        Command::Bench(args) => commands::bench::run(args, common, out),
        Command::Export(args) => commands::export::run(args, common, out),
        Command::Bundle(args) => commands::bundle::run(args, common, out),
        Command::Check(args) => commands::check::run(args, common, out),
        Command::Deploy(args) => commands::deploy::run(args, common, out),
    }
}
