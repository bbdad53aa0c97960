//! `predict`: the best classes of images (PGM, PPM or raw bytes).

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use hipflask_runtime::graph::{Layout, Op};
use hipflask_runtime::input::{ImagePreprocess, image};
use hipflask_runtime::{Model, Options, Session};
use serde::Serialize;

use super::print_json;
use crate::args::{Common, PredictArgs};
use crate::open;
use crate::outcome::Outcome;

#[derive(Serialize)]
struct Predictions {
    model: String,
    predictions: Vec<Prediction>,
}

#[derive(Serialize)]
struct Prediction {
    file: String,
    top: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    index: usize,
    label: String,
    /// From 0 to 1: the softmax of the scores, for reading.
    probability: f64,
    /// The network's own output.
    score: f32,
}

/// Runs the command.
pub fn run(args: &PredictArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let model = open::model(&args.model)?;
    let options = Options { threads: args.threads, ..Options::default() };
    let mut session = Session::new(&model, &options)?;
    let name = args.model.display().to_string();
    let preprocess = model.preprocess().with_context(|| {
        format!(
            "{name}: the file says nothing of its preprocessing, so bytes cannot become its input"
        )
    })?;
    let rule = preprocess.image(&name)?;
    let top = args.top as usize;
    let predictions = args.files.iter().map(|file| {
        let scores = scores(file, rule, &mut session)?;
        Ok(Prediction { file: file.display().to_string(), top: best(&model, scores, top) })
    });
    if common.json {
        let predictions = predictions.collect::<Result<_>>()?;
        print_json(out, &Predictions { model: name, predictions })?;
        return Ok(Outcome::Done);
    }
    for prediction in predictions {
        let Prediction { file, top } = prediction?;
        writeln!(out, "{file}")?;
        for Class { index, label, probability, .. } in top {
            writeln!(out, "  {:>6.2} %  {index:>3} {label}", probability * 100.0)?;
        }
    }
    Ok(Outcome::Done)
}

fn scores<'a>(file: &Path, rule: &ImagePreprocess, session: &'a mut Session) -> Result<&'a [f32]> {
    let shape = session.inputs().first().map(|port| port.shape.clone()).unwrap_or_default();
    let size = Layout::Nhwc.image(&shape).unwrap_or([1, 1, shape.elements()]);
    let name = file.display().to_string();
    let bytes = std::fs::read(file).with_context(|| format!("{name}: cannot be read"))?;
    let pixels = image::decode(&bytes, size).map_err(|e| e.in_file(&name))?;
    let mut input = Vec::new();
    rule.apply_nhwc(pixels, size[2], &mut input);
    Ok(session.predict(&input)?)
}

/// The `top` classes of the highest scores, best first.
fn best(model: &Model, scores: &[f32], top: usize) -> Vec<Class> {
    let ends_in_softmax =
        model.graph().nodes.last().is_some_and(|node| matches!(node.op, Op::Softmax));
    let probabilities = if ends_in_softmax {
        scores.iter().copied().map(f64::from).collect()
    } else {
        softmax(scores)
    };
    let label = |index: usize| match model.card().labels.get(index) {
        Some(label) => label.clone(),
        None => format!("class {index}"),
    };
    let mut classes: Vec<Class> = scores
        .iter()
        .zip(probabilities)
        .enumerate()
        .map(|(index, (&score, probability))| Class {
            index,
            label: label(index),
            probability,
            score,
        })
        .collect();
    classes.sort_by(|a, b| b.score.total_cmp(&a.score));
    classes.truncate(top);
    classes
}

fn softmax(scores: &[f32]) -> Vec<f64> {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = scores.iter().map(|&s| f64::from(s - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::softmax;

    #[test]
    fn softmax_of_logarithms_gives_their_shares() {
        let shares = softmax(&[0.0, 2.0_f32.ln(), 5.0_f32.ln()]);
        for (share, expected) in shares.iter().zip([0.125, 0.25, 0.625]) {
            // ln in f32 is good to 1e-7.
            assert!((share - expected).abs() < 1e-6, "{shares:?}");
        }
        // Large scores do not overflow.
        assert!(
            softmax(&[1e30, 0.0])
                .iter()
                .zip([1.0, 0.0])
                .all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12)
        );
    }
}
