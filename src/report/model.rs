//! What was measured: the document behind `report.json`, the table and the gates.

use hipflask_distill::evaluate::Scores;
use serde::Serialize;

use super::seeds::SeedsReport;
use super::training::TrainingReport;

/// Everything that a validation found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the recipe or model.
    pub name: String,
    /// Seed of the run; `None` for a validation of files.
    pub seed: Option<u64>,
    /// The samples.
    pub data: DataReport,
    /// The teacher on the test samples.
    pub teacher: Option<TeacherReport>,
    /// The assistants and earlier generations between teacher and student, in the order of training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<TeacherReport>,
    /// The networks that were trained together with the student.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<TeacherReport>,
    /// The same student trained on labels only.
    pub control: Option<ModelReport>,
    /// The distilled student in each format.
    pub students: Students,
    /// Accuracy of the distilled f32 student above the control's, as a fraction.
    pub gain: Option<f64>,
    /// Mean and deviation over several seeds, when more than one was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<SeedsReport>,
    /// The gates and whether they held.
    pub gates: Vec<Gate>,
    /// Whether all gates held.
    pub passed: bool,
    /// What made this report.
    pub versions: Versions,
}

/// The data set.
#[derive(Clone, Debug, Serialize)]
pub struct DataReport {
    /// Its name.
    pub name: String,
    /// Training samples.
    pub train: usize,
    /// Test samples, on which everything here is measured.
    pub test: usize,
    /// Damaged files left out of both.
    pub skipped: usize,
    /// Class names.
    pub classes: Vec<String>,
    /// SHA-256 of the samples.
    pub fingerprint: String,
}

/// A network that teaches, or is trained together with the student.
#[derive(Clone, Debug, Serialize)]
pub struct TeacherReport {
    /// Network or file, or its part in the run, as `assistant-1` or `peer-1`.
    pub name: String,
    /// Its scores against the labels.
    #[serde(flatten)]
    pub scores: Scores,
    /// How it was trained, where it was trained here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingReport>,
    /// Those that answer together, where it is an ensemble.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberReport>,
}

/// One teacher of an ensemble.
#[derive(Clone, Debug, Serialize)]
pub struct MemberReport {
    /// Its file.
    pub name: String,
    /// Its weight in the mean.
    pub weight: f64,
    /// Its own scores against the labels.
    #[serde(flatten)]
    pub scores: Scores,
}

/// One student file.
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    /// File name.
    pub file: String,
    /// Its scores.
    #[serde(flatten)]
    pub scores: Scores,
    /// Size of the file.
    pub bytes: u64,
    /// Size of its weights alone.
    pub weight_bytes: usize,
    /// Trained parameters.
    pub parameters: usize,
    /// Multiply-accumulates of an inference.
    pub macs: u64,
    /// Memory for the values of an inference.
    pub arena_bytes: usize,
    /// Time of an inference on this machine, one thread, batch 1.
    pub latency_us: Latency,
    /// Instruction set that was used.
    pub isa: String,
    /// How it was trained, where it was trained now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingReport>,
}

/// Percentiles of single inferences, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Inferences timed.
    pub runs: usize,
}

impl Latency {
    /// Percentiles (nearest rank) of times in microseconds; zeros for none.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let index = (share * times.len() as f64).ceil() as usize;
            times.get(index.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self { p50: rank(0.50), p90: rank(0.90), p99: rank(0.99), runs: times.len() }
    }
}

/// The student in each format, as far as it was made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Students {
    /// 32-bit floats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f32: Option<ModelReport>,
    /// 16-bit floats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f16: Option<ModelReport>,
    /// 8-bit weights in groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub w8: Option<ModelReport>,
    /// 4-bit weights in groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub w4: Option<ModelReport>,
    /// 8-bit integers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int8: Option<ModelReport>,
    /// What int8 was by conversion alone, where it was trained on as such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub converted: Option<Scores>,
}

impl Students {
    /// Those that are there, with the one for the board last.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &ModelReport)> {
        let all = [
            ("f32", &self.f32),
            ("f16", &self.f16),
            ("w8", &self.w8),
            ("w4", &self.w4),
            ("int8", &self.int8),
        ];
        all.into_iter().filter_map(|(name, model)| Some((name, model.as_ref()?)))
    }

    /// Where the report of a format belongs; f32's for a name that is none.
    pub fn place(&mut self, format: &str) -> &mut Option<ModelReport> {
        match format {
            "f16" => &mut self.f16,
            "w8" => &mut self.w8,
            "w4" => &mut self.w4,
            "int8" => &mut self.int8,
            _ => &mut self.f32,
        }
    }

    /// The one that is meant for the board: int8, else the one of the smallest weights.
    pub fn smallest(&self) -> Option<(&'static str, &ModelReport)> {
        self.each().last()
    }
}

/// A condition on the outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Gate {
    /// The flag or recipe key that sets it, as `max-drop`.
    pub name: String,
    /// Its limit.
    pub limit: f64,
    /// What was measured; `None` when it could not be.
    pub value: Option<f64>,
    /// Whether it held.
    pub passed: bool,
    /// What it says, for people.
    pub text: String,
}

/// What made the report.
#[derive(Clone, Debug, Serialize)]
pub struct Versions {
    /// This program.
    pub hipflask: String,
    /// Format of the model files.
    pub format: u32,
    /// Best instruction set of the machine.
    pub isa: String,
    /// Operating system and architecture.
    pub platform: String,
}

impl Versions {
    /// Those of this build on this machine.
    pub fn current() -> Self {
        Self {
            hipflask: env!("CARGO_PKG_VERSION").into(),
            format: hipflask_runtime::format::VERSION,
            isa: hipflask_runtime::kernels::Isa::best().name().into(),
            platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Latency;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latency = Latency::of((1..=200).rev().map(f64::from).collect());
        let found = (latency.p50, latency.p90, latency.p99, latency.runs);
        assert_eq!(found, (100.0, 180.0, 198.0, 200));
        assert_eq!(Latency::of(Vec::new()).p99.to_bits(), 0);
    }
}
