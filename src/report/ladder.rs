//! The ladder of int8: what each rung reached, as a document and as a table.

use std::io::{Result, Write};

use hipflask_quantize::recover::Rung;
use serde::{Deserialize, Serialize};

use super::model::ModelReport;
use crate::stages::portions::Origin;

/// What climbing the ladder came to.
#[derive(Clone, Debug, Serialize)]
pub struct LadderReport {
    /// Most percentage points to lose: the target.
    pub max_drop: f64,
    /// Whether the best stays within it, on the held samples.
    pub met: bool,
    /// Whether climbing ended because the time was over.
    pub out_of_time: bool,
    /// Samples that calibrated.
    pub calibration_samples: usize,
    /// Samples that all accuracies of the rungs are measured on, and choices made by.
    pub held_samples: usize,
    /// What those are.
    pub held: Origin,
    /// The float student on the held samples.
    pub float: Figures,
    /// The rungs climbed, in order.
    pub rungs: Vec<RungReport>,
    /// Rungs that would change nothing, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Which of `rungs`, from 0, was written: the one with the least drop, of equals that with the
    /// least KL.
    pub best: usize,
    /// Float and best on the test samples, which chose nothing; none without test samples.
    pub test: Option<TestFigures>,
}

/// What a model reached and costs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Figures {
    /// Share of samples whose best class is the label; none without labels.
    pub accuracy: Option<f64>,
    /// Size of the file.
    pub bytes: u64,
    /// Median time of an inference on this machine, one thread, in microseconds.
    pub latency_us: f64,
}

impl Figures {
    /// Those of a measured model whose file has `bytes`.
    pub fn of(model: &ModelReport, bytes: u64) -> Self {
        Self { accuracy: model.scores.accuracy, bytes, latency_us: model.latency_us.p50 }
    }
}

/// One int8 student on the way.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RungReport {
    /// The rung.
    pub rung: Rung,
    /// What was done.
    pub note: String,
    /// Accuracy, bytes and latency.
    #[serde(flatten)]
    pub figures: Figures,
    /// Percentage points of accuracy below the float student; without labels, the share of samples
    /// with another class than the float student's, in percent.
    pub drop: f64,
    /// Share of samples with the float student's class.
    pub agreement: f64,
    /// Mean KL(float ‖ int8) at temperature 1, in nats.
    pub kl: f64,
    /// Whether the next rung was built on it: its KL is the least so far.
    pub adopted: bool,
    /// Time for making and measuring it.
    pub seconds: f64,
}

/// A rung that was left out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Skipped {
    /// The rung.
    pub rung: Rung,
    /// Why.
    pub why: String,
}

/// Float and int8 on the test samples.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TestFigures {
    /// Number of samples.
    pub samples: usize,
    /// Accuracy of the float student; none without labels.
    pub float: Option<f64>,
    /// Accuracy of the int8 student.
    pub int8: Option<f64>,
    /// As [`RungReport::drop`].
    pub drop: f64,
}

impl LadderReport {
    /// The one that was written.
    pub fn best(&self) -> &RungReport {
        &self.rungs[self.best]
    }

    /// A line a rung, and what the ladder came to.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(
            out,
            "int8 within {} points of f32, judged on {} {}; {} samples for calibration\n",
            self.max_drop,
            self.held_samples,
            self.held.describe(),
            self.calibration_samples
        )?;
        writeln!(
            out,
            "{:<17}{:>10}{:>9}{:>11}{:>10}{:>11}{:>10}  what was done",
            "rung", "accuracy", "drop", "agreement", "KL", "bytes", "p50 µs"
        )?;
        let percent = |v: Option<f64>| v.map_or("-".into(), |v| format!("{:.2} %", v * 100.0));
        let Figures { accuracy, bytes, latency_us } = self.float;
        let accuracy = percent(accuracy);
        writeln!(
            out,
            "{:<17}{accuracy:>10}{:>9}{:>11}{:>10}{bytes:>11}{latency_us:>10.1}",
            "f32", "-", "-", "-"
        )?;
        for (i, rung) in self.rungs.iter().enumerate() {
            let Figures { accuracy, bytes, latency_us } = rung.figures;
            let accuracy = percent(accuracy);
            let name = format!("{}{}", rung.rung.name(), if i == self.best { " *" } else { "" });
            writeln!(
                out,
                "{name:<17}{accuracy:>10}{:>9.2}{:>11}{:>10.5}{bytes:>11}{latency_us:>10.1}  {}{}",
                rung.drop,
                percent(Some(rung.agreement)),
                rung.kl,
                rung.note,
                if rung.adopted { "" } else { "; not kept" },
            )?;
        }
        for Skipped { rung, why } in &self.skipped {
            writeln!(out, "{:<17}left out: {why}", rung.name())?;
        }
        let best = self.best();
        let verdict = match (self.met, self.out_of_time) {
            (true, _) => "within",
            (false, true) => "the time (--time) is over; it is beyond",
            (false, false) => "no rung is left; it is beyond",
        };
        writeln!(
            out,
            "\n* {}, written: {:.2} points, {verdict} the {} of --max-drop",
            best.rung.name(),
            best.drop,
            self.max_drop
        )?;
        if self.held != Origin::Validation {
            writeln!(
                out,
                "Training has seen the samples that judged: hold some out with data.validation for a \
                 stricter choice."
            )?;
        }
        match self.test {
            Some(TestFigures { samples, float: Some(float), int8: Some(int8), drop }) => writeln!(
                out,
                "On {samples} test samples, which chose nothing: f32 {:.2} %, int8 {:.2} %, drop \
                 {drop:.2} points",
                float * 100.0,
                int8 * 100.0
            ),
            Some(TestFigures { samples, drop, .. }) => writeln!(
                out,
                "On {samples} test samples, which chose nothing: another class than f32's for \
                 {drop:.2} %"
            ),
            None => Ok(()),
        }
    }
}
