//! A sweep: one line a recipe, and the best by the validation samples.

use std::io::{Result, Write};

use serde::Serialize;

use super::seeds::Spread;

/// What a sweep found.
#[derive(Clone, Debug, Serialize)]
pub struct SweepReport {
    /// Name of the recipe.
    pub name: String,
    /// Where the folders of the runs are.
    pub folder: String,
    /// Seeds of each run.
    pub seeds: Vec<u64>,
    /// The swept keys.
    pub keys: Vec<String>,
    /// The runs in the order of the grid.
    pub runs: Vec<SweepRun>,
    /// Which of `runs`, from 0, has the highest mean validation accuracy, the first of equals;
    /// `None` without validation samples: the test samples choose nothing.
    pub best: Option<usize>,
}

/// One recipe of a sweep over all seeds; shares are fractions.
#[derive(Clone, Debug, Serialize)]
pub struct SweepRun {
    /// Its values, in the order of the keys.
    pub values: Vec<String>,
    /// Its folders, one a seed.
    pub folders: Vec<String>,
    /// Accuracy of the kept student on the validation samples.
    pub validation: Option<Spread>,
    /// Accuracy of the kept student on the test samples.
    pub accuracy: Option<Spread>,
    /// The same above the control's, seed by seed.
    pub gain: Option<Spread>,
    /// Why there is no student, where training diverged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl SweepReport {
    /// Of `runs`, which are compared by their validation accuracy.
    pub fn new(
        name: &str,
        folder: String,
        seeds: Vec<u64>,
        keys: Vec<String>,
        runs: Vec<SweepRun>,
    ) -> Self {
        let mut best = None;
        for (i, run) in runs.iter().enumerate() {
            let Some(mean) = run.validation.as_ref().map(|spread| spread.mean) else { continue };
            if best.is_none_or(|(_, highest)| mean > highest) {
                best = Some((i, mean));
            }
        }
        Self { name: name.into(), folder, seeds, keys, runs, best: best.map(|(i, _)| i) }
    }

    /// A line a run, and which is best.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let width = |column: usize| {
            let values = self.runs.iter().filter_map(|run| run.values.get(column));
            let texts = values.chain(self.keys.get(column));
            texts.map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let left = |texts: &[String]| -> String {
            let columns = texts.iter().enumerate();
            columns
                .flat_map(|(i, text)| [format!("{text:<w$}", w = width(i)), "  ".into()])
                .collect()
        };
        let over = match self.seeds.len() {
            1 => String::new(),
            _ => format!(" over seeds {:?}, mean ± standard deviation", self.seeds),
        };
        writeln!(out, "{}: sweep{over}\n", self.name)?;
        let heads = ["validation %", "test %", "gain, points"].map(|head| format!("{head:>16}"));
        writeln!(out, "{}{}", left(&self.keys), heads.concat())?;
        for run in &self.runs {
            write!(out, "{}", left(&run.values))?;
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            match &run.failed {
                Some(_) => writeln!(out, "{:>16}", "diverged")?,
                None => writeln!(
                    out,
                    "{:>16}{:>16}{:>16}",
                    or_dash(run.validation.as_ref().map(ToString::to_string)),
                    or_dash(run.accuracy.as_ref().map(ToString::to_string)),
                    or_dash(run.gain.as_ref().map(|gain| format!("{gain:+}"))),
                )?,
            }
        }
        for (run, why) in self.runs.iter().filter_map(|run| Some((run, run.failed.as_ref()?))) {
            writeln!(out, "\n{}: {why}", self.describe(run))?;
        }
        match self.best.and_then(|best| self.runs.get(best)) {
            Some(best) => {
                writeln!(out, "\nBest by validation accuracy: {}", self.describe(best))?;
            }
            None => writeln!(
                out,
                "\nNo run is called the best: there are no validation samples to choose by (set \
                 data.validation), and a choice by test accuracy would flatter the chosen."
            )?,
        }
        writeln!(out, "Results are in {}", self.folder)
    }

    /// `temperature=4, optimizer.lr=1e-3`.
    fn describe(&self, run: &SweepRun) -> String {
        let pairs = self.keys.iter().zip(&run.values).map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(", ")
    }
}
