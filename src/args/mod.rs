//! The command line's types and help texts; no logic.

mod device;
mod models;
mod shared;
mod training;
mod values;

use clap::{Parser, Subcommand};

pub use device::{BenchArgs, BundleArgs, CheckArgs, DeployArgs, PredictArgs};
pub use models::{Engine, ExportArgs, InspectArgs, QuantizeArgs, ValidateArgs};
pub use shared::{DataArgs, RunArgs};
pub use training::{DistillArgs, ShipArgs, TeacherArgs};

/// Distils a teacher into a student, quantizes it and proves it on the board.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Output of every command.
    #[command(flatten)]
    pub common: Common,
}

const EXIT_CODES: &str = "\
Begin with `hipflask ship`: it runs everything on the built-in digits.

Exit code: 0 done, 1 a gate such as --max-drop was not met, 2 usage or input error.
A recipe's data is looked for beside it, then in the folder $HIPFLASK_DATA.
HIPFLASK_ISA forces a code path of the runtime: scalar, avx2, avxvnni, avx512vnni, neon, dotprod,
i8mm, armv7neon or simd128.";

/// Flags of every command.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Common {
    /// Print one JSON document to stdout
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// No progress, warnings only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub quiet: bool,
    /// Say more about each step
    #[arg(short, long, global = true, help_heading = "Output")]
    pub verbose: bool,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run everything: teacher, distillation, quantization, validation, bundle
    Ship(ShipArgs),
    /// Train the teacher of a recipe, or import and score it
    Teacher(TeacherArgs),
    /// Train the student of a recipe from its teacher
    Distill(DistillArgs),
    /// Convert an f32 student to int8, f16 or weights in groups
    Quantize(QuantizeArgs),
    /// Measure students against a teacher and labels; gates set the exit code
    Validate(ValidateArgs),
    /// Show the layers, sizes and memory of a model, or compare two
    Inspect(InspectArgs),
    /// Classify images, sounds, the rows of a table, or texts
    Predict(PredictArgs),
    /// Time single inferences on this machine
    Bench(BenchArgs),
    /// Write a model as ONNX for other runtimes (float, or int8 as QDQ), or as a Rust program
    Export(ExportArgs),
    /// Make the folder or archive for a board: device binary, model, golden samples
    Bundle(BundleArgs),
    /// Check a bundle's sums, and by whom it is signed
    Check(CheckArgs),
    /// Copy a bundle to a board over ssh, verify and time it there, then put it in use
    Deploy(DeployArgs),
}
