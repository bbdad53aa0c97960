//! Flags that several commands have.

use std::path::PathBuf;

/// Flags of commands that train.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Folder for all results [default: out/NAME of the recipe]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Continue from the checkpoints in the folder
    #[arg(long)]
    pub resume: bool,
    /// Seed of everything random [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Where to train: cpu, cuda, cuda:N, metal or auto
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// Override a key of the recipe, as distill.epochs=5; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Also write metrics for TensorBoard into the folder
    #[arg(long)]
    pub tensorboard: bool,
}

/// Flags of commands that need samples.
#[derive(Clone, Debug, clap::Args)]
pub struct DataArgs {
    /// Recipe whose data table names the samples [default: the built-in digits]
    #[arg(long, value_name = "RECIPE")]
    pub data: Option<PathBuf>,
    /// Override a key of the recipe, as data.root=/data/mnist; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}
