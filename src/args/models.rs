//! Flags of the commands that change, measure or show a model: `quantize`, `validate`, `inspect`, `export`.

use std::path::PathBuf;
use std::time::Duration;

use hipflask_quantize::Method;

use super::shared::DataArgs;
use super::values::{duration, group_size, method_parser, points, positive, share};
use crate::recipe::Format;
use crate::recipe::budget::BudgetTable;
use crate::stages::portions::HELD;

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
