//! What a distillation brought: teacher, student, control and gain.

use std::io::{Result, Write};

use hipflask_distill::evaluate::Scores;
use serde::Serialize;

use super::model::{Gate, ModelReport, TeacherReport};
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
    /// The student trained on as int8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int8: Option<ModelReport>,
    /// The int8 student that this began as, converted without training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub converted: Option<Scores>,
    /// The same student trained on labels only.
    pub control: Option<ModelReport>,
    /// Accuracy of the student above the control's, as a fraction.
    pub gain: Option<f64>,
    /// Whether the int8 student fits its board, where the recipe says what that has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
}

impl Distilled {
    /// What came of it: the student in int8 where it was trained as such, else in f32.
    pub fn outcome(&self) -> &ModelReport {
        self.int8.as_ref().unwrap_or(&self.student)
    }

    /// Accuracy of the outcome on the validation samples, where there are any.
    pub fn validation(&self) -> Option<f64> {
        self.outcome().training.as_ref()?.summary.validation_accuracy()
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
        if let Some(converted) = &self.converted {
            table::accuracy(out, "student int8, converted", converted)?;
        }
        if let Some(int8) = &self.int8 {
            table::accuracy(out, "student int8, trained on", &int8.scores)?;
            table::training(out, int8.training.as_ref())?;
        }
        if let Some(gain) = self.gain {
            writeln!(out, "gain over the control: {:+.2} points", gain * 100.0)?;
        }
        table::gates(&self.gates, out)?;
        writeln!(out, "The student is in {}: {}", self.folder, self.outcome().file)
    }
}
