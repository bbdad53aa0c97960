//! What a distillation brought: teacher, student, control and gain.

use std::io::{Result, Write};

use serde::Serialize;

use super::model::{ModelReport, TeacherReport};
use super::table;

/// One distillation; accuracies are of the test samples.
#[derive(Clone, Debug, Serialize)]
pub struct Distilled {
    /// Where its files are.
    pub folder: String,
    /// Seed of the run.
    pub seed: u64,
    /// Who taught.
    pub teacher: Option<TeacherReport>,
    /// Who stood between teacher and student.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<TeacherReport>,
    /// Who learnt together with the student.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<TeacherReport>,
    /// Who learnt.
    pub student: ModelReport,
    /// The same student trained on labels only.
    pub control: Option<ModelReport>,
    /// Accuracy of the student above the control's, as a fraction.
    pub gain: Option<f64>,
}

impl Distilled {
    /// Accuracy of the student on the validation samples, where there are any.
    pub fn validation(&self) -> Option<f64> {
        self.student.training.as_ref()?.summary.validation_accuracy()
    }

    /// A few lines for each network.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        if let Some(teacher) = &self.teacher {
            table::teacher(out, &format!("teacher {}", teacher.name), teacher)?;
        }
        for network in self.chain.iter().chain(&self.peers) {
            table::teacher(out, &network.name, network)?;
        }
        for (name, model) in [("student", Some(&self.student)), ("control", self.control.as_ref())]
        {
            if let Some(model) = model {
                table::accuracy(out, &format!("{name} f32"), &model.scores)?;
                table::training(out, model.training.as_ref())?;
            }
        }
        if let Some(gain) = self.gain {
            writeln!(out, "gain over the control: {:+.2} points", gain * 100.0)?;
        }
        writeln!(out, "The student is in {}: {}", self.folder, self.student.file)
    }
}
