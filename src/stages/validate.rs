//! The report: what was measured, and whether the gates held.

use hipflask_distill::data::{DataSet, DataSpec};

use super::scored::Scored;
use crate::report::Report;
use crate::report::gates::{self, Limits};
use crate::report::model::{DataReport, Gate, ModelReport, Students, TeacherReport, Versions};

/// What a report is made of.
pub struct Measured<'a> {
    /// Name of the recipe or model.
    pub name: &'a str,
    /// Seed of the run, where there was one.
    pub seed: Option<u64>,
    /// Declaration of the samples.
    pub spec: &'a DataSpec,
    /// The samples.
    pub data: &'a DataSet,
    /// The teacher, if there is one.
    pub teacher: Option<&'a Scored>,
    /// The networks between teacher and student.
    pub chain: Vec<TeacherReport>,
    /// The networks that were trained together with the student.
    pub peers: Vec<TeacherReport>,
    /// The student trained on labels only, if there is one.
    pub control: Option<ModelReport>,
    /// The student in each format.
    pub students: Students,
    /// Gates beside those of the limits: whether the student for the board fits it.
    pub gates: Vec<Gate>,
}

/// The report; the gates look at the smallest student, the one for the board.
pub fn report(measured: Measured<'_>, limits: &Limits) -> Report {
    let Measured {
        name,
        seed,
        spec,
        data,
        teacher,
        chain,
        peers,
        control,
        students,
        gates: others,
    } = measured;
    let teacher = teacher.map(|t| t.report.clone());
    let accuracy = |m: Option<&ModelReport>| m.and_then(|m| m.scores.accuracy);
    let gain = accuracy(students.f32.as_ref()).zip(accuracy(control.as_ref()));
    let mut gates = match students.smallest() {
        Some((format, model)) => {
            gates::check(limits, &format!("student {format}"), model, teacher.as_ref())
        }
        None => Vec::new(),
    };
    gates.extend(others);
    Report {
        name: name.into(),
        seed,
        data: DataReport {
            name: spec.name(),
            train: data.train.len(),
            test: data.test.len(),
            skipped: data.skipped.len(),
            classes: data.class_names.clone(),
            fingerprint: data.fingerprint.clone(),
        },
        teacher,
        chain,
        peers,
        control,
        students,
        gain: gain.map(|(student, control)| student - control),
        seeds: None,
        passed: gates.iter().all(|gate| gate.passed),
        gates,
        versions: Versions::current(),
    }
}
