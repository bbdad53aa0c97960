//! Flags of the commands that train: `ship`, `teacher`, `distill`.

use std::path::PathBuf;

use hipflask_distill::network::SizeBudget;

use super::shared::RunArgs;

/// `ship`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask ship
  hipflask ship examples/fashion-dscnn.toml --out out/fashion --seeds 3
  hipflask ship examples/fashion-dscnn.toml --explain --set distill.epochs=5")]
pub struct ShipArgs {
    /// The recipe [default: the built-in digits]
    pub recipe: Option<PathBuf>,
    /// Train the int8 student on as such (quantization-aware), as the recipe's qat table says
    #[arg(long)]
    pub qat: bool,
    /// Flags of the run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Largest student: bytes of its int8 file, as 100KiB, or "64 KiB ram", "5M macs" or "12k params";
    /// the widest that fits is taken instead of the recipe's width
    #[arg(long, value_name = "SIZE")]
    pub size_budget: Option<SizeBudget>,
    /// Repeat with N seeds, counted from the first, and report mean and deviation
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub seeds: Option<u64>,
    /// Print the whole recipe with every default, and do nothing
    #[arg(long)]
    pub explain: bool,
    /// Board, by its name or triple, to bundle for [default: the recipe's bundle.targets]
    #[arg(long, value_name = "TRIPLE")]
    pub target: Option<String>,
}

/// `teacher`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask teacher examples/fashion-dscnn.toml --out out/fashion
  hipflask teacher examples/fashion-dscnn.toml --set teacher.epochs=30 --resume
  hipflask teacher examples/fashion-dscnn.toml --seeds 3")]
pub struct TeacherArgs {
    /// The recipe
    pub recipe: PathBuf,
    /// Flags of the run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Repeat with N seeds, counted from the first, and report mean and deviation
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub seeds: Option<u64>,
}

/// `distill`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask distill examples/fashion-dscnn.toml --teacher out/fashion/teacher.safetensors
  hipflask distill examples/fashion-dscnn.toml --set student.width=16 --out out/narrow
  hipflask distill examples/fashion-dscnn.toml --seeds 3
  hipflask distill examples/fashion-dscnn.toml --qat --student out/fashion/student-f32.safetensors
  hipflask distill examples/fashion-dscnn.toml --sweep temperature=1,2,4,8
  hipflask distill recipe.toml --sweep optimizer.lr=1e-3,3e-3 --sweep student.width=16,32")]
pub struct DistillArgs {
    /// The recipe
    pub recipe: PathBuf,
    /// The trained teacher [default: the recipe's file, else the one in the folder of --out]
    #[arg(long, value_name = "FILE")]
    pub teacher: Option<PathBuf>,
    /// Train on as int8 (quantization-aware), as the recipe's qat table says
    #[arg(long)]
    pub qat: bool,
    /// With --qat: begin with this trained f32 student instead of distilling one
    #[arg(long, value_name = "FILE", requires = "qat")]
    pub student: Option<PathBuf>,
    /// Flags of the run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Largest student: bytes of its int8 file, as 100KiB, or "64 KiB ram", "5M macs" or "12k params";
    /// the widest that fits is taken instead of the recipe's width
    #[arg(long, value_name = "SIZE")]
    pub size_budget: Option<SizeBudget>,
    /// Repeat with N seeds, counted from the first, and report mean and deviation
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub seeds: Option<u64>,
    /// Distil once for each value of a key, as temperature=1,2,4, and tabulate; several make a grid.
    /// A key is a full one of the recipe, or one of its distill table, or of the one loss term that has it
    #[arg(long, value_name = "KEY=VALUES")]
    pub sweep: Vec<String>,
}
