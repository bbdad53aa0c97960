//! A teacher with its scores, which must be those of one that has learnt the task.

use anyhow::{Result, bail};
use hipflask_distill::data::DataSet;
use hipflask_distill::evaluate::{Logits, score, teacher_logits};
use hipflask_distill::teacher::Teacher;
use hipflask_runtime::format::TeacherCard;

use super::diagnosis::{self, Source};
use crate::report::model::TeacherReport;

/// Below this many points above chance, a teacher has nothing to teach.
const POINTS_ABOVE_CHANCE: f64 = 0.1;

/// A teacher with its scores on the student's test samples.
pub struct Scored {
    /// The teacher.
    pub teacher: Box<dyn Teacher>,
    /// Its logits for the test samples, in their order.
    pub logits: Logits,
    /// Name and scores.
    pub report: TeacherReport,
}

impl Scored {
    /// Asks `teacher` for all test samples of `data`.
    pub fn new(teacher: Box<dyn Teacher>, data: &DataSet) -> Result<Self> {
        let logits = teacher_logits(teacher.as_ref(), data, &data.test)?;
        Ok(Self::of(teacher, logits, data))
    }

    /// `teacher`, whose answers to the test samples of `data` are `logits`.
    pub fn of(teacher: Box<dyn Teacher>, logits: Logits, data: &DataSet) -> Self {
        let scores = score(&logits, None, data.test.labels.as_deref());
        let name = teacher.name().into();
        let report = TeacherReport { name, scores, training: None, members: Vec::new() };
        Self { teacher, logits, report }
    }

    /// Its entry in a student's card.
    pub fn card(&self) -> TeacherCard {
        TeacherCard { name: self.report.name.clone(), fingerprint: self.teacher.fingerprint() }
    }

    /// Fails when the teacher is hardly better than guessing, or worse than the recipe expects; the
    /// error says what would make it better, as far as can be found out.
    ///
    /// Mostly it gets its samples in another range, order or layout than it learnt with.
    pub fn check(
        &self,
        expected: Option<f64>,
        data: &DataSet,
        source: Option<&Source<'_>>,
    ) -> Result<()> {
        let Some(accuracy) = self.report.scores.accuracy else { return Ok(()) };
        let chance = 1.0 / data.classes.max(1) as f64;
        let least = expected.unwrap_or_else(|| (chance + POINTS_ABOVE_CHANCE).min(1.0));
        if accuracy >= least {
            return Ok(());
        }
        let why = match expected {
            Some(_) => "expect_accuracy",
            None => "ten points above chance",
        };
        bail!(
            "teacher {}: {:.2} % accuracy on {} test samples, below {:.2} % ({why}): it would teach \
             nothing good; {}",
            self.report.name,
            accuracy * 100.0,
            self.report.scores.samples,
            least * 100.0,
            diagnosis::advice(self, accuracy, data, source)?
        )
    }
}
