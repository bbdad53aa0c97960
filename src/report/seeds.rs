//! Several seeds: mean, deviation and standard error of each accuracy.

use std::fmt;
use std::io::{Result, Write};

use hipflask_distill::evaluate::mean_and_deviation;
use serde::Serialize;

use super::distilled::Distilled;
use super::model::{ModelReport, Report, TeacherReport};

/// One figure over several seeds; shares are fractions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// One a seed.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation; 0 for one seed.
    pub deviation: f64,
    /// Of the mean: the deviation over the root of the number of seeds.
    pub standard_error: f64,
}

impl Spread {
    /// Of one value a seed.
    pub fn of(values: Vec<f64>) -> Self {
        let (mean, deviation) = mean_and_deviation(&values);
        let standard_error = deviation / (values.len().max(1) as f64).sqrt();
        Self { values, mean, deviation, standard_error }
    }

    /// Of all seeds; `None` where one has no value.
    pub fn of_all(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        values.into_iter().collect::<Option<Vec<f64>>>().map(Self::of)
    }
}

/// `96.80 ± 0.12` in percent or percentage points; for one seed without a deviation.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mean, deviation) = (self.mean * 100.0, self.deviation * 100.0);
        match (f.sign_plus(), self.values.len()) {
            (true, ..2) => write!(f, "{mean:+.2}"),
            (false, ..2) => write!(f, "{mean:.2}"),
            (true, _) => write!(f, "{mean:+.2} ± {deviation:.2}"),
            (false, _) => write!(f, "{mean:.2} ± {deviation:.2}"),
        }
    }
}

/// Test accuracies of one seed's models, as far as they are there.
#[derive(Clone, Debug, Default)]
pub struct Accuracies {
    /// The teacher.
    pub teacher: Option<f64>,
    /// The networks between teacher and student and the student's peers, by name.
    pub others: Vec<(String, Option<f64>)>,
    /// The student trained on labels only.
    pub control: Option<f64>,
    /// The student in 32-bit floats, in 16-bit floats, with 8- and 4-bit weights in groups, in 8-bit
    /// integers.
    pub student: [Option<f64>; 5],
}

impl Accuracies {
    /// What the f32 student has above the control.
    fn gain(&self) -> Option<f64> {
        Some(self.student[0]? - self.control?)
    }
}

fn accuracy(model: Option<&ModelReport>) -> Option<f64> {
    model.and_then(|model| model.scores.accuracy)
}

fn others(chain: &[TeacherReport], peers: &[TeacherReport]) -> Vec<(String, Option<f64>)> {
    let networks = chain.iter().chain(peers);
    networks.map(|network| (network.name.clone(), network.scores.accuracy)).collect()
}

impl From<&Report> for Accuracies {
    fn from(report: &Report) -> Self {
        let students = &report.students;
        Self {
            teacher: report.teacher.as_ref().and_then(|t| t.scores.accuracy),
            others: others(&report.chain, &report.peers),
            control: accuracy(report.control.as_ref()),
            student: [&students.f32, &students.f16, &students.w8, &students.w4, &students.int8]
                .map(|s| accuracy(s.as_ref())),
        }
    }
}

impl From<&Distilled> for Accuracies {
    fn from(run: &Distilled) -> Self {
        Self {
            teacher: run.teacher.as_ref().and_then(|t| t.scores.accuracy),
            others: others(&run.chain, &run.peers),
            control: accuracy(run.control.as_ref()),
            student: [accuracy(Some(&run.student)), None, None, None, None],
        }
    }
}

/// Accuracies over several seeds.
#[derive(Clone, Debug, Serialize)]
pub struct SeedsReport {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// One line for each model that every seed has: teacher, the chain below it, peers, control,
    /// student in each format.
    pub accuracy: Vec<SeedLine>,
    /// The distilled f32 student's accuracy less the control's, seed by seed, as fractions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<SeedLine>,
}

/// One model's accuracy over the seeds.
#[derive(Clone, Debug, Serialize)]
pub struct SeedLine {
    /// Which model.
    pub model: String,
    /// Its accuracies.
    #[serde(flatten)]
    pub spread: Spread,
}

impl SeedsReport {
    /// Of the accuracies of several seeds, in their order.
    pub fn of(seeds: &[u64], runs: &[Accuracies]) -> Self {
        let line = |model: &str, value: &dyn Fn(&Accuracies) -> Option<f64>| {
            let spread = Spread::of_all(runs.iter().map(value))?;
            Some(SeedLine { model: model.into(), spread })
        };
        let teacher = line("teacher", &|run| run.teacher);
        let others = runs.first().map_or(&[][..], |run| &run.others).iter().enumerate();
        let others = others.map(|(i, (name, _))| {
            line(name, &|run| run.others.get(i).and_then(|(_, accuracy)| *accuracy))
        });
        let students = [
            line("control f32", &|run| run.control),
            line("student f32", &|run| run.student[0]),
            line("student f16", &|run| run.student[1]),
            line("student w8", &|run| run.student[2]),
            line("student w4", &|run| run.student[3]),
            line("student int8", &|run| run.student[4]),
        ];
        Self {
            seeds: seeds.to_vec(),
            accuracy: [teacher].into_iter().chain(others).chain(students).flatten().collect(),
            gain: line("gain", &Accuracies::gain),
        }
    }

    /// A line a model, and one for the gain.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(out, "Accuracy over seeds {:?}, mean ± standard deviation:", self.seeds)?;
        for SeedLine { model, spread } in &self.accuracy {
            writeln!(out, "  {model:<14}{spread} %")?;
        }
        if let Some(SeedLine { spread, .. }) = &self.gain {
            let error = spread.standard_error * 100.0;
            writeln!(
                out,
                "  gain of distillation, seed by seed: {spread:+} points, standard error {error:.2}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Accuracies, SeedsReport, Spread};

    #[test]
    fn the_gain_is_that_of_pairs() {
        // By hand: gains 0.02, 0.02, 0.05; mean 0.03, deviation √(2·0.01² + 0.02²)/√2 = 0.0173205,
        // over √3 a standard error of 0.01.
        let run = |student, control| Accuracies {
            control: Some(control),
            student: [Some(student), None, None, None, None],
            ..Accuracies::default()
        };
        let report = SeedsReport::of(&[1, 2, 3], &[run(0.9, 0.88), run(0.8, 0.78), run(0.9, 0.85)]);
        let names: Vec<_> = report.accuracy.iter().map(|line| line.model.as_str()).collect();
        assert_eq!(names, ["control f32", "student f32"]);
        let gain = report.gain.map(|line| line.spread);
        let close =
            |found: Option<f64>, wanted: f64| found.is_some_and(|v| (v - wanted).abs() < 1e-9);
        assert!(close(gain.as_ref().map(|g| g.mean), 0.03));
        assert!(close(gain.as_ref().map(|g| g.standard_error), 0.01));
        assert_eq!(gain.map(|g| format!("{g:+}")), Some("+3.00 ± 1.73".into()));
        assert_eq!(Spread::of(vec![0.5]).to_string(), "50.00");
    }
}
