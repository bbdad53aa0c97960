//! `predict`: the best classes of images (PGM, PPM or raw bytes).

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use hipflask_runtime::graph::Layout;
use hipflask_runtime::input::image;
use hipflask_runtime::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::{Flags, Outcome, open, print, to_json};

/// Classes printed for a file.
const TOP: usize = 3;

#[derive(Serialize)]
struct Prediction {
    file: String,
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
    let shape = &session.inputs()[0].shape;
    let size = Layout::Nhwc.image(shape).unwrap_or([1, 1, shape.elements()]);
    let preprocess = model.preprocess().ok_or_else(|| {
        let what = "says nothing of its preprocessing, so bytes cannot become its input";
        Error::new(ErrorKind::Input, path, what)
    })?;
    let rule = preprocess.image(path)?;
    let mut input = Vec::new();
    for &file in files {
        let bytes = hipflask_runtime::file::open(Path::new(file))?;
        let pixels = image::decode((*bytes).as_ref(), size).map_err(|e| e.in_file(file))?;
        rule.apply_nhwc(pixels, size[2], &mut input);
        let scores = session.predict(&input)?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let label = |class: usize| model.card().labels.get(class).cloned().unwrap_or_default();
        let top = order.iter().take(TOP);
        let top =
            top.map(|&class| Class { index: class, label: label(class), score: scores[class] });
        let prediction = Prediction { file: file.into(), top: top.collect() };
        if flags.json {
            print(out, &to_json(&prediction))?;
            continue;
        }
        let mut text = format!("{file}:");
        for Class { index, label, score } in &prediction.top {
            let _ = write!(text, "  {index} {label} ({score:.3})");
        }
        print(out, &(text + "\n"))?;
    }
    Ok(Outcome::Done)
}
