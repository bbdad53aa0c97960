//! `predict`: the best classes of images (PGM, PPM or raw bytes), sounds (WAV), rows of tables and lines of text.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use hipflask_runtime::{Error, ErrorKind, Model, Result};
use serde::Serialize;

use crate::{Flags, Outcome, open, print, to_json};

/// Classes printed for a file.
const TOP: usize = 3;

#[derive(Serialize)]
struct Prediction {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<usize>,
    top: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    index: usize,
    label: String,
    score: f32,
}

pub(crate) fn run(
    path: &str,
    files: &[&str],
    flags: Flags,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let (model, mut session) = open(path, flags)?;
    let preprocess = model.preprocess().ok_or_else(|| {
        let what = "says nothing of its preprocessing, so bytes cannot become its input";
        Error::new(ErrorKind::Input, path, what)
    })?;
    let shape = session.inputs()[0].shape.to_vec();
    for &file in files {
        let bytes = hipflask_runtime::file::open(Path::new(file))?;
        let in_file = |error: Error| error.in_file(file);
        for input in preprocess.inputs((*bytes).as_ref(), &shape).map_err(in_file)? {
            let input = input.map_err(in_file)?;
            let scores = session.predict(&input.values)?;
            let prediction =
                Prediction { file: file.into(), at: input.at, top: best(&model, scores) };
            print(out, &if flags.json { to_json(&prediction) } else { prediction.text() })?;
        }
    }
    Ok(Outcome::Done)
}

/// The classes of the highest scores, best first.
fn best(model: &Model, scores: &[f32]) -> Vec<Class> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let label = |class: usize| model.card().labels.get(class).cloned().unwrap_or_default();
    let top = order.into_iter().take(TOP);
    top.map(|class| Class { index: class, label: label(class), score: scores[class] }).collect()
}

impl Prediction {
    /// One line; a row is named as `file:line`.
    fn text(&self) -> String {
        let mut text = self.file.clone();
        if let Some(at) = self.at {
            let _ = write!(text, ":{at}");
        }
        text.push(':');
        for Class { index, label, score } in &self.top {
            let _ = write!(text, "  {index} {label} ({score:.3})");
        }
        text + "\n"
    }
}
