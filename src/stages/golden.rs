//! Golden samples: test samples with the exact answers, for the board to prove itself.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hipflask_distill::evaluate::Logits;
use hipflask_runtime::golden::Golden;
use hipflask_runtime::{Model, Options, Session};

use super::samples::Samples;

/// The bytes of a golden file of `count` samples, spread evenly over all, that know `model` and every
/// byte of its `file`.
pub fn record(
    model: &Model,
    file: &Path,
    samples: &Samples<'_>,
    teacher: Option<&Logits>,
    count: usize,
) -> Result<Vec<u8>> {
    let name = file.display().to_string();
    samples.check(model, &name)?;
    if samples.is_empty() {
        bail!("golden samples: the data has no test samples to record: name files in data.test");
    }
    let mut session = Session::new(model, &Options::default())?;
    let indices = samples.spread(count);
    let inputs = indices.iter().map(|&i| samples.get(i)).collect();
    let row = |t: &Logits, i: usize| t.values[i * t.classes..][..t.classes].to_vec();
    let answers = teacher.map(|t| indices.iter().map(|&i| row(t, i)).collect());
    let labels = samples.labels().map(|all| indices.iter().map(|&i| all[i] as i32).collect());
    let golden = Golden::record(
        model,
        &mut session,
        inputs,
        answers.unwrap_or_default(),
        labels.unwrap_or_default(),
    )?;
    let bytes = std::fs::read(file).with_context(|| format!("{name}: cannot be read"))?;
    Ok(golden.of_file(&bytes).to_bytes())
}
