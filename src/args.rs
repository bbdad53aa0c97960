//! The command line's types and help texts; no logic.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use hipflask_distill::network::SizeBudget;
use hipflask_quantize::Method;
use hipflask_runtime::groups::Groups;

use crate::bundle::target::BOARDS;
use crate::recipe::Format;
use crate::recipe::budget::BudgetTable;
use crate::stages::portions::HELD;

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

/// `quantize`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask quantize out/fashion/student-f32.safetensors --data examples/fashion-dscnn.toml
  hipflask quantize out/digits/student-f32.safetensors --method percentile --calibrate 256
  hipflask quantize out/digits/student-f32.safetensors --to f16 --out small
  hipflask quantize out/fashion/student-f32.safetensors --data fashion.toml --max-drop 0.3 --time 10m
  hipflask quantize student-f32.safetensors --data fashion.toml --max-drop 0.1 --qat --teacher teacher.onnx
  hipflask quantize out/digits/student-f32.safetensors --to int8 --observer auto --report
  hipflask quantize out/vit/student-f32.safetensors --to w8,w4 --group-size 64
  hipflask quantize network.onnx --data recipe.toml --to int8")]
pub struct QuantizeArgs {
    /// The f32 student, or a network as .onnx: float, or quantized as QDQ
    pub model: PathBuf,
    /// Formats to make, of int8, f16, w8 and w4: the last two are int8 or int4 weights in groups,
    /// computed in f32
    #[arg(long, value_name = "FORMATS", value_delimiter = ',', default_value = "int8,f16")]
    #[arg(hide_possible_values = true)]
    pub to: Vec<Format>,
    /// Samples to calibrate int8 with.
    #[command(flatten)]
    pub data: DataArgs,
    /// Training samples that int8 is calibrated with [default: the recipe's, 512]
    #[arg(long, value_name = "N")]
    pub calibrate: Option<usize>,
    /// Draw those by a seed instead of spreading them evenly over the training samples
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// How int8 chooses ranges; auto takes for each value what errs least on held samples [default:
    /// the recipe's, mse]
    #[arg(long, visible_alias = "observer", value_parser = method_parser())]
    pub method: Option<Method>,
    /// Do more and more for int8 until it loses at most so many percentage points of accuracy against
    /// f32 on held samples (without labels: until so few percent get another class); gate: whether it
    /// does
    #[arg(long, value_name = "POINTS", value_parser = points)]
    pub max_drop: Option<f64>,
    /// Time for that, as 90s, 10m or 1h; the best so far is kept [default: until nothing is left to do]
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "max_drop")]
    pub time: Option<Duration>,
    /// Go on from where a climb for --max-drop was interrupted or out of time
    #[arg(long, requires = "max_drop")]
    pub resume: bool,
    /// As the last rung, train on as int8 as the recipe's qat table says (quantization-aware)
    #[arg(long, requires = "max_drop")]
    pub qat: bool,
    /// The teacher that this training imitates [default: the recipe's teacher.file; without one, the
    /// labels teach]
    #[arg(long, value_name = "FILE", requires = "qat")]
    pub teacher: Option<PathBuf>,
    /// Most held samples that choices are made by: validation samples, or training samples that do not
    /// calibrate
    #[arg(long, value_name = "N", default_value_t = HELD as u64, value_parser = positive())]
    pub held: u64,
    /// Also show what int8 does to each layer
    #[arg(long)]
    pub report: bool,
    /// Weights of w8 and w4 with one scale: 32, 64 or 128 [default: the recipe's, 32]
    #[arg(long, value_name = "N", value_parser = group_size)]
    pub group_size: Option<usize>,
    /// Folder for the results [default: the model's own]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// The runtime of the boards.
    Hipflask,
    /// tract, which knows more of ONNX.
    Tract,
}

/// `validate`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask validate out/digits/student-int8.safetensors --teacher out/digits/teacher.safetensors
  hipflask validate student-*.safetensors --teacher teacher.safetensors --max-drop 1.5
  hipflask validate student-int8.safetensors --data examples/fashion-dscnn.toml --samples 1000
  hipflask validate network.onnx --data recipe.toml --engine tract")]
pub struct ValidateArgs {
    /// The students, in any formats
    #[arg(required = true, value_name = "STUDENT")]
    pub students: Vec<PathBuf>,
    /// The teacher that they are compared with
    #[arg(long, value_name = "FILE")]
    pub teacher: Option<PathBuf>,
    /// The same student trained on labels only
    #[arg(long, value_name = "FILE")]
    pub control: Option<PathBuf>,
    /// What runs the students: hipflask's runtime, or tract for those in .onnx, as a second opinion
    #[arg(long, value_enum, value_name = "ENGINE", default_value = "hipflask")]
    #[arg(hide_possible_values = true)]
    pub engine: Engine,
    /// Samples to measure on.
    #[command(flatten)]
    pub data: DataArgs,
    /// Gate: most percentage points of accuracy below the teacher
    #[arg(long, value_name = "POINTS", value_parser = points)]
    pub max_drop: Option<f64>,
    /// Gate: least share of samples with the teacher's class, from 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub min_agreement: Option<f64>,
    /// Test samples to measure on [default: all]
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    /// File for the report as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where the teacher runs: cpu, cuda, cuda:N, metal or auto
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
}

/// `inspect`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask inspect student-int8.safetensors
  hipflask inspect student-f32.safetensors student-int8.safetensors --data recipe.toml
  hipflask inspect student-int8.safetensors --dot | dot -Tsvg > student.svg
  hipflask inspect student-int8.safetensors --fit ram=256K,flash=1M
  hipflask inspect network.onnx --check
  hipflask inspect recipe.toml
  hipflask inspect recipe.toml --fit ram=64K,flash=100K,macs=20M,latency=5ms")]
pub struct InspectArgs {
    /// The model; of a recipe, the nodes of student and teacher
    pub model: PathBuf,
    /// Another model to show beside it, layers matched by name
    pub other: Option<PathBuf>,
    /// With two models, the f32 student and what was made of it: also show range, clipped share and
    /// signal-to-noise ratio of each layer, on samples of this recipe's data
    #[arg(long, value_name = "RECIPE", requires = "other")]
    pub data: Option<PathBuf>,
    /// Print the graph for Graphviz
    #[arg(long, conflicts_with_all = ["json", "other"])]
    pub dot: bool,
    /// Run an .onnx file with tract too, on random inputs, and compare: a gate
    #[arg(long, conflicts_with_all = ["dot", "other"])]
    pub check: bool,
    /// Whether it fits a board, as ram=256K,flash=1M,macs=20M,latency=5ms: of a recipe, the student
    /// that it will make; gate: what is over is named with the layer to blame
    #[arg(long, value_name = "LIMITS", conflicts_with_all = ["dot", "other", "check"])]
    pub fit: Option<BudgetTable>,
}

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

/// `export`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hipflask export out/digits/student-int8.safetensors --out student-int8.onnx
  hipflask export out/digits/student-f32.safetensors --out student.onnx --json
  hipflask export board/model.safetensors --golden board/golden.safetensors --out src/student.rs")]
pub struct ExportArgs {
    /// The model: f32 and f16 become float, int8 becomes QDQ, w8 and w4 MatMulNBits
    pub model: PathBuf,
    /// The file to write: NAME.onnx, or NAME.rs for an int8 model as a Rust module (for
    /// microcontrollers) [default: the model's name with .onnx]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Golden samples that the Rust module proves itself with
    #[arg(long, value_name = "FILE")]
    pub golden: Option<PathBuf>,
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

fn board_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(BOARDS.map(|board| board.name))
}

fn points(text: &str) -> Result<f64, String> {
    number(text, 0.0..=100.0, "percentage points from 0 to 100")
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    parsed
        .ok_or_else(|| "it must be a number of seconds, minutes or hours, as 90s, 10m or 1h".into())
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1.0, "a fraction from 0 to 1, as 0.95")
}

fn number(text: &str, range: RangeInclusive<f64>, wanted: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| format!("it must be {wanted}"))
}

fn positive() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=10_000_000)
}

fn threads(text: &str) -> Result<usize, String> {
    let most = hipflask_runtime::Options::MOST_THREADS;
    text.parse().ok().filter(|n| (1..=most).contains(n)).ok_or(format!("a number from 1 to {most}"))
}

fn group_size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| Groups::SIZES.contains(n)).ok_or("32, 64 or 128".into())
}

fn method_parser() -> impl TypedValueParser<Value = Method> {
    PossibleValuesParser::new(Method::ALL.map(|(name, _)| name)).map(|name| {
        Method::ALL.iter().find(|(known, _)| *known == name).map_or(Method::default(), |m| m.1)
    })
}
