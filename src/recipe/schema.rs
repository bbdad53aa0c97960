//! The tables and keys of a recipe with their defaults.

use std::path::PathBuf;

use clap::ValueEnum;
use hipflask_distill::data::{DataSpec, Mix};
use hipflask_distill::loss::{LossSpec, Temperature, TemperatureSchedule};
use hipflask_distill::network::{NetworkSpec, SizeBudget};
use hipflask_distill::nn::Precision;
use hipflask_distill::optim::{OptimizerSpec, ScheduleSpec};
use hipflask_distill::soft_targets::Precision as CachePrecision;
use hipflask_distill::teacher::{Average, Channels, Placement};
use hipflask_distill::trainer::{EarlyStopping, Keep, TrainSpec};
use hipflask_quantize::Method;
use serde::{Deserialize, Serialize};

use super::budget::BudgetTable;
use super::peers::PeerTable;
use super::teachers::{AssistantTable, FileTable};
use super::training::{declares_network, training_table};

/// A whole run: data, teacher, student and what is asked of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Name of the run in reports; the file's name without it.
    pub name: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Samples of the student, and of the teacher unless it has its own.
    pub data: DataSpec,
    /// Who teaches.
    pub teacher: TeacherTable,
    /// Who learns.
    pub student: StudentTable,
    /// How the student learns.
    pub distill: DistillTable,
    /// How the int8 student learns on as such; it is only converted without the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qat: Option<QatTable>,
    /// Into which formats the student is converted.
    pub quantize: QuantizeTable,
    /// What the result must reach.
    pub validate: ValidateTable,
    /// What the student may take on the board.
    #[serde(skip_serializing_if = "BudgetTable::is_empty")]
    pub budget: BudgetTable,
    /// For which boards it is bundled.
    pub bundle: BundleTable,
}

training_table! {
    defaults = TrainSpec::default();
    /// The teacher: trained here, or read from a file.
    pub struct TeacherTable {
        /// Named network, as `resnet8`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub network: Option<String> = None,
        /// Channels of the network's first layer.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub width: Option<usize> = None,
        /// Layers or blocks of a network whose name does not say them (`docs/networks.md`).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub depth: Option<usize> = None,
        /// Units of the hidden layers of an `mlp`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub hidden: Option<Vec<usize>> = None,
        /// The network layer by layer, instead of a name.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub layers: Option<Vec<String>> = None,
        /// File with the trained teacher, looked for beside the recipe, then in `$HIPFLASK_DATA`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub file: Option<PathBuf> = None,
        /// Accuracy below which the teacher is refused, a fraction.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub expect_accuracy: Option<f64> = None,
        /// What bytes 0 and 255 become for the teacher of a file; the data's without it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub range: Option<[f32; 2]> = None,
        /// Subtracted after that, as in `[data]`; the data's without it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub mean: Option<Vec<f32>> = None,
        /// Divisor after that, as in `[data]`; the data's without it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub std: Option<Vec<f32>> = None,
        /// Order of the channels for the teacher of a file.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub channels: Option<Channels> = None,
        /// Where a teacher in ONNX wants the channels; `[n, c, h, w]` without it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub layout: Option<Placement> = None,
        /// Which output of a teacher in ONNX holds the logits, where it has several.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub output: Option<String> = None,
        /// For each class of the teacher of a file the data's class that it is, where it learnt them
        /// in another order.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub class_order: Option<Vec<usize>> = None,
        /// Several teachers from files that answer together, instead of one.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub ensemble: Vec<FileTable> = Vec::new(),
        /// Of what the ensemble takes the mean: `"logits"`, or `"probabilities"`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub average: Option<Average> = None,
        /// Networks between teacher and student, each taught by the one before.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub assistants: Vec<AssistantTable> = Vec::new(),
        /// Share of the target spread over all classes, in `[0, 1)`.
        pub label_smoothing: f64 = 0.0,
        /// Another data set that the teacher is trained on.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub data: Option<DataSpec> = None,
    }
}

declares_network!(TeacherTable, StudentTable);

/// The student's network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StudentTable {
    /// Named network, as `ds-cnn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Channels of the network's first layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Layers or blocks of a network whose name does not say them (`docs/networks.md`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Units of the hidden layers of an `mlp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// The network layer by layer, instead of a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// Most that its int8 file may take, as `100 KiB`, the values of an inference, as `64 KiB ram`, the
    /// work, as `5M macs`, or its parameters, as `12000 params`: instead of `width`, the largest that
    /// fits is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_budget: Option<SizeBudget>,
    /// Weights to start from; random ones without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

training_table! {
    defaults = TrainSpec::default();
    /// The student's training.
    pub struct DistillTable {
        /// The weighted sum that the student minimises.
        pub loss: Vec<LossSpec> = hinton(),
        /// Networks that are trained together with the student, each taught by all others.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub peers: Vec<PeerTable> = Vec::new(),
        /// How often a student is trained: the first learns from the teacher, each other from the one
        /// before it, and the last is kept.
        pub generations: usize = 1,
        /// Augmented views of each sample, which come back epoch after epoch, so that the teacher is
        /// asked no more often than that and its answers are kept; new views every epoch without it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cache_views: Option<usize> = None,
        /// Folder of the teacher's answers, shared by all runs that ask the same; `soft-targets` in
        /// the run's own without it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cache: Option<PathBuf> = None,
        /// How its logits are kept.
        pub cache_precision: CachePrecision = CachePrecision::default(),
        /// Seed of the augmentation of cached views; not the recipe's, so that seeds share them.
        pub view_seed: u64 = 0,
        /// Whether the same student is also trained on labels only, for comparison.
        pub control: bool = false,
    }
}

/// Hinton's loss at temperature 4 with a tenth of cross-entropy.
fn hinton() -> Vec<LossSpec> {
    vec![
        LossSpec::Kd { temperature: TemperatureSchedule::default(), weight: 0.9 },
        LossSpec::CrossEntropy { weight: 0.1, label_smoothing: 0.0 },
    ]
}

training_table! {
    defaults = tuning();
    /// Quantization-aware training: the student computes as its int8 form will, and learns its weights
    /// and the scales of its values for that.
    pub struct QatTable {
        /// What it minimises; the teacher's probabilities at temperature 1, or the labels where nothing
        /// else needs a teacher.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub loss: Option<Vec<LossSpec>> = None,
    }
}

/// A few epochs of small steps: the student is trained already.
fn tuning() -> TrainSpec {
    TrainSpec {
        epochs: 3,
        optimizer: OptimizerSpec::AdamW {
            lr: 1e-4,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            decay_all: true,
        },
        ..TrainSpec::default()
    }
}

impl QatTable {
    /// The objective; `taught` says whether the student has a teacher.
    pub fn loss(&self, taught: bool) -> Vec<LossSpec> {
        let default = || {
            if taught {
                // High temperatures spoil what int8 can still tell apart.
                let temperature = Temperature::one().into();
                vec![LossSpec::Kd { temperature, weight: 1.0 }]
            } else {
                TrainSpec::default().loss
            }
        };
        self.loss.clone().unwrap_or_else(default)
    }
}

/// Conversion for the board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizeTable {
    /// Formats to make.
    pub to: Vec<Format>,
    /// How int8 finds its ranges.
    pub calibration: CalibrationTable,
    /// Weights with one scale in w4 and w8.
    pub group_size: usize,
}

impl Default for QuantizeTable {
    fn default() -> Self {
        Self {
            to: vec![Format::Int8, Format::F16],
            calibration: CalibrationTable::default(),
            group_size: 32,
        }
    }
}

/// How int8 finds its ranges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalibrationTable {
    /// How a range is chosen.
    pub method: Method,
    /// Training samples looked at.
    pub samples: usize,
}

impl Default for CalibrationTable {
    fn default() -> Self {
        Self { method: Method::default(), samples: 512 }
    }
}

/// What the result must reach: these set the exit code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidateTable {
    /// Most percentage points of accuracy below the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_drop: Option<f64>,
    /// Least share of samples with the teacher's class, a fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_agreement: Option<f64>,
    /// Test samples recorded with their exact answers for the board.
    pub golden: usize,
}

impl Default for ValidateTable {
    fn default() -> Self {
        Self { max_drop: None, min_agreement: None, golden: 32 }
    }
}

/// Bundles for boards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BundleTable {
    /// Target triples, or boards by name; `native` is this machine.
    pub targets: Vec<String>,
}

impl Default for BundleTable {
    fn default() -> Self {
        Self { targets: vec!["native".into()] }
    }
}

/// A format for the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// 8-bit integers, weights per channel.
    Int8,
    /// 16-bit float weights, computed in 32 bits.
    F16,
    /// 8-bit integer weights in groups, computed in 32-bit floats.
    W8,
    /// 4-bit integer weights in groups, computed in 32-bit floats.
    W4,
}

impl Format {
    /// All, the one that is meant for the board last: that of the smallest weights, or int8.
    pub const ALL: [Self; 4] = [Self::F16, Self::W8, Self::W4, Self::Int8];

    /// The one of `made` that is meant for the board.
    pub fn for_board(made: &[Self]) -> Option<Self> {
        Self::ALL.into_iter().rev().find(|format| made.contains(format))
    }

    /// The name in recipes, options and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F16 => "f16",
            Self::W8 => "w8",
            Self::W4 => "w4",
        }
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            name: String::new(),
            seed: 42,
            data: DataSpec::default(),
            teacher: TeacherTable::default(),
            student: StudentTable::default(),
            distill: DistillTable::default(),
            qat: None,
            quantize: QuantizeTable::default(),
            validate: ValidateTable::default(),
            budget: BudgetTable::default(),
            bundle: BundleTable::default(),
        }
    }
}
