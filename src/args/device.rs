//! Flags of the commands that run a model or bring it to a board: `predict`, `bench`, `bundle`, `check`,
//! `deploy`.

use std::path::PathBuf;

use super::shared::DataArgs;
use super::values::{board_parser, positive, threads};

/// `predict`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask predict student-int8.safetensors shoe.pgm
  hipflask predict student-int8.safetensors images/*.ppm --top 1 --json
  hipflask predict student-int8.safetensors rows.csv
  hipflask predict student-int8.safetensors seven.wav
  hipflask predict student-int8.safetensors --text \"what a film\"
  tail -f reviews.txt | hipflask predict student-int8.safetensors -")]
pub struct PredictArgs {
    /// The model
    pub model: PathBuf,
    /// Images of the model's size (PNG, JPEG, PGM, PPM or raw bytes), sounds of its rate (WAV), tables
    /// with its columns (CSV, TSV), arrays (.npy), or texts, one in each line (- is standard input)
    #[arg(required_unless_present = "text", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub text: Vec<String>,
    /// The tokenizer.json that a model of text was trained with; bytes without it
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Classes to print for each
    #[arg(long, value_name = "K", default_value = "5", value_parser = positive())]
    pub top: u64,
    /// Threads that share the work of an inference
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    pub threads: usize,
}

/// `bench`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask bench student-int8.safetensors
  hipflask bench student-int8.safetensors --profile --threads 2
  HIPFLASK_ISA=scalar hipflask bench student-int8.safetensors --runs 200 --json")]
pub struct BenchArgs {
    /// The model
    pub model: PathBuf,
    /// Inferences to time, after a tenth as many to warm up
    #[arg(long, value_name = "N", default_value = "1000", value_parser = positive())]
    pub runs: u64,
    /// Threads that share the work of an inference
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    pub threads: usize,
    /// Also show the time of each step, and its share of what this machine can do at most
    #[arg(long)]
    pub profile: bool,
}

/// `bundle`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask bundle out/digits/student-int8.safetensors --out board
  hipflask bundle out/fashion/student-int8.safetensors --data examples/fashion-dscnn.toml
  hipflask bundle student-int8.safetensors --golden golden.safetensors --out board
  hipflask bundle out/digits/student-int8.safetensors --board pi-4 --out board.tar.gz
  hipflask bundle out/digits/student-int8.safetensors --target armv7-unknown-linux-gnueabihf
  hipflask bundle out/digits/student-int8.safetensors --board browser --out site
  hipflask bundle student-int8.safetensors --board pi-5 --sign ~/.ssh/release --out board.tar.gz")]
pub struct BundleArgs {
    /// The model for the board
    pub model: PathBuf,
    /// Golden samples recorded before [default: recorded now from --data]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "samples", "teacher"])]
    pub golden: Option<PathBuf>,
    /// Samples to record.
    #[command(flatten)]
    pub data: DataArgs,
    /// Test samples to record [default: the recipe's validate.golden, 32]
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    /// The board by name: pi-zero-2, pi-3, pi-4, pi-5 (64-bit systems), android or browser
    #[arg(long, value_parser = board_parser(), hide_possible_values = true, conflicts_with = "target")]
    pub board: Option<String>,
    /// The board's target triple: aarch64-unknown-linux-musl, armv7-unknown-linux-gnueabihf, ...
    #[arg(long, value_name = "TRIPLE", default_value = "native")]
    pub target: String,
    /// Device binary that was built elsewhere [default: built now with cargo, cargo-zigbuild or cross]
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Folder, or archive as board.tar.gz, for the bundle [default: bundle-TARGET beside the model]
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Teacher whose classes are recorded too
    #[arg(long, value_name = "FILE")]
    pub teacher: Option<PathBuf>,
    /// Sign the checksums with this ed25519 key of ssh-keygen; a .pub file asks the agent for its key
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
}

/// `check`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask check board
  hipflask check board.tar.gz --public-key release.pub

Exit code: 0 all is as it was made, 1 a file, a sum or the signature is wrong, 2 this is no bundle.")]
pub struct CheckArgs {
    /// The bundle: a folder or .tar.gz
    pub bundle: PathBuf,
    /// Key of which the signature must be: the .pub file of an ed25519 key of ssh-keygen
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
}

/// `deploy`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask deploy board --host pi@raspberrypi.local
  hipflask deploy board.tar.gz --host pi@10.0.0.7 --port 2222 --folder /opt/digits --json
  hipflask deploy board --host pi@raspberrypi.local --public-key release.pub

On the board, FOLDER/releases has this bundle and the one before, FOLDER/current is a link to the
one in use. It moves when sums, golden samples and timing are done: what fails leaves it as it was.

Exit code: 0 in use, 1 the golden samples failed there, 2 usage, connection or copy failed.")]
pub struct DeployArgs {
    /// The bundle for the board: a folder or .tar.gz
    pub bundle: PathBuf,
    /// The board, as ssh names it
    #[arg(long, value_name = "USER@BOARD")]
    pub host: String,
    /// Its port [default: that of ssh's settings, 22]
    #[arg(long)]
    pub port: Option<u16>,
    /// Folder there, in the user's own or absolute
    #[arg(long, value_name = "DIR", default_value = "hipflask")]
    pub folder: String,
    /// Inferences to time there
    #[arg(long, value_name = "N", default_value = "1000", value_parser = positive())]
    pub runs: u64,
    /// Key of which the bundle's signature must be
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// Settings of ssh [default: ~/.ssh/config]
    #[arg(long, value_name = "FILE")]
    pub ssh_config: Option<PathBuf>,
}
