//! The tables of `[teacher]` for several teachers.

use std::path::{Path, PathBuf};

use hipflask_distill::data::Mix;
use hipflask_distill::loss::{LossSpec, WeightedSum};
use hipflask_distill::network::NetworkSpec;
use hipflask_distill::nn::Precision;
use hipflask_distill::optim::{OptimizerSpec, ScheduleSpec};
use hipflask_distill::teacher::{Channels, Placement};
use hipflask_distill::trainer::{EarlyStopping, Keep, TrainSpec};
use serde::{Deserialize, Serialize};

use super::Recipe;
use super::check::{Checked, fraction, out_of_range, training, within};
use super::parse::Problem;
use super::schema::TeacherTable;
use super::training::{declares_network, training_table};

/// A teacher from a file: one of `teacher.ensemble`, or what `[teacher]` itself says of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTable {
    /// The file, looked for beside the recipe, then in `$HIPFLASK_DATA`.
    pub file: PathBuf,
    /// Its share in the mean, above 0; only the proportions count.
    #[serde(default = "one")]
    pub weight: f64,
    /// Accuracy below which it is refused, a fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_accuracy: Option<f64>,
    /// The network that bare weights belong to, as in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f32; 2]>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Placement>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// As in `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_order: Option<Vec<usize>>,
}

training_table! {
    defaults = TrainSpec::default();
    /// A network that learns from the teacher, or from the assistant before it, and teaches the next.
    pub struct AssistantTable {
        /// Its network, as in `[teacher]`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub network: Option<String> = None,
        /// As in `[teacher]`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub width: Option<usize> = None,
        /// As in `[teacher]`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub depth: Option<usize> = None,
        /// As in `[teacher]`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub hidden: Option<Vec<usize>> = None,
        /// As in `[teacher]`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub layers: Option<Vec<String>> = None,
        /// The weighted sum that it minimises; `distill.loss` without it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub loss: Option<Vec<LossSpec>> = None,
    }
}

declares_network!(FileTable, AssistantTable);

const fn one() -> f64 {
    1.0
}

impl TeacherTable {
    /// What the table says of a teacher in `file`.
    pub fn of_file(&self, file: &Path) -> FileTable {
        FileTable {
            file: file.into(),
            weight: one(),
            expect_accuracy: self.expect_accuracy,
            network: self.network.clone(),
            width: self.width,
            depth: self.depth,
            hidden: self.hidden.clone(),
            layers: self.layers.clone(),
            range: self.range,
            mean: self.mean.clone(),
            std: self.std.clone(),
            channels: self.channels,
            layout: self.layout,
            output: self.output.clone(),
            class_order: self.class_order.clone(),
        }
    }

    /// Replaces the declared teacher by the one in `file`.
    pub fn set_file(&mut self, file: PathBuf) {
        self.file = Some(file);
        self.ensemble.clear();
        self.average = None;
    }

    /// The table without what stands between teacher and student.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { assistants: Vec::new(), ..self.clone() }
    }

    /// Whether the teacher is a declared network, to be trained by the run.
    pub fn is_trained(&self) -> bool {
        self.file.is_none() && self.ensemble.is_empty()
    }

    /// Fails where keys of an ensemble contradict each other or those of a single teacher.
    pub(super) fn check_ensemble(&self) -> Checked {
        if self.ensemble.is_empty() {
            return match self.average {
                Some(_) => Err(Problem::at(
                    "teacher.average",
                    "teacher.average is for an ensemble: name its files in teacher.ensemble",
                )),
                None => Ok(()),
            };
        }
        let of_one = self.of_file(Path::new(""));
        let alone = FileTable { expect_accuracy: self.expect_accuracy, ..FileTable::default() };
        if self.file.is_some() || self.data.is_some() || of_one != alone {
            let message = "[teacher] has an ensemble: file, network, range and the like stand in its \
                           tables, beside it there are average and expect_accuracy";
            return Err(Problem::at("teacher.ensemble", message));
        }
        for (i, member) in self.ensemble.iter().enumerate() {
            let at = |key: &str| format!("teacher.ensemble.{i}.{key}");
            if !(member.weight.is_finite() && member.weight > 0.0) {
                return out_of_range(&at("weight"), member.weight, "above 0");
            }
            fraction(&at("expect_accuracy"), member.expect_accuracy)?;
            if member.network.is_some() && member.layers.is_some() {
                let message = "it has network and layers: keep one of them";
                return Err(Problem::at(&at("layers"), format!("{}: {message}", at("layers"))));
            }
        }
        Ok(())
    }
}

impl Default for FileTable {
    fn default() -> Self {
        TeacherTable::default().of_file(Path::new(""))
    }
}

/// Fails where the networks between teacher and student are declared wrongly; `held_out` says whether
/// the data has validation samples.
pub(super) fn check_chain(recipe: &Recipe, held_out: bool) -> Checked {
    let generations = recipe.distill.generations;
    within("distill.generations", generations, 1..=100)?;
    for (i, assistant) in recipe.teacher.assistants.iter().enumerate() {
        let table = format!("teacher.assistants.{i}");
        let at = |key: &str| format!("{table}.{key}");
        if assistant.network.is_some() == assistant.layers.is_some() {
            let message = format!("{table} needs either network or layers");
            return Err(Problem::at(&at("layers"), message));
        }
        training(&table, &assistant.training(Vec::new()), held_out)?;
        let loss = assistant.loss.as_deref().unwrap_or(&recipe.distill.loss);
        let loss = WeightedSum::new(loss)
            .map_err(|error| Problem::at(&at("loss"), format!("{}: {error}", at("loss"))))?;
        if loss.needs_peers() {
            let message = "an assistant is trained alone: give it a loss of its own without mutual";
            return Err(Problem::at(&at("loss"), format!("{table}: {message}")));
        }
        if !loss.needs_teacher() {
            let message = "no term of its loss imitates its teacher: add one, as { kind = \"kd\" }";
            return Err(Problem::at(&at("loss"), format!("{table}: {message}")));
        }
    }
    let (path, chain) = match generations {
        1 => ("teacher.assistants", !recipe.teacher.assistants.is_empty()),
        _ => ("distill.generations", true),
    };
    if chain && !recipe.needs_teacher() {
        let message = "no term of distill.loss imitates a teacher: add one, as { kind = \"kd\" }";
        return Err(Problem::at(path, format!("{path}: {message}")));
    }
    Ok(())
}
