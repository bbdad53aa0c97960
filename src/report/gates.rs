//! The gates: conditions on the outcome that set the exit code.

use super::model::{Gate, ModelReport, TeacherReport};

/// What is demanded of the student for the board.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Most percentage points of accuracy below the teacher.
    pub max_drop: Option<f64>,
    /// Least share of samples with the teacher's class.
    pub min_agreement: Option<f64>,
}

/// Checks `model`, called `name`, against the limits.
pub fn check(
    limits: &Limits,
    name: &str,
    model: &ModelReport,
    teacher: Option<&TeacherReport>,
) -> Vec<Gate> {
    let mut gates = Vec::new();
    if let Some(limit) = limits.max_drop {
        let accuracy = teacher.and_then(|t| t.scores.accuracy).zip(model.scores.accuracy);
        let value = accuracy.map(|(teacher, student)| (teacher - student) * 100.0);
        let found = match value {
            Some(drop) => format!("{drop:.2} points"),
            None => "not measured: it needs a teacher and labels".into(),
        };
        gates.push(Gate {
            name: "max-drop".into(),
            limit,
            value,
            // Half a millionth of a point: the rounding of differences of fractions.
            passed: value.is_some_and(|v| v <= limit + 5e-7),
            text: format!("{name} below the teacher: {found}, at most {limit} (max-drop)"),
        });
    }
    if let Some(limit) = limits.min_agreement {
        let value = model.scores.agreement;
        let found = match value {
            Some(share) => format!("{:.2} %", share * 100.0),
            None => "not measured: it needs a teacher".into(),
        };
        gates.push(Gate {
            name: "min-agreement".into(),
            limit,
            value,
            passed: value.is_some_and(|v| v >= limit),
            text: format!(
                "{name} agrees with the teacher: {found}, at least {:.2} % (min-agreement)",
                limit * 100.0
            ),
        });
    }
    gates
}
