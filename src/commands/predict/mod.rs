//! `predict`: the best classes of images (pictures or raw bytes), sounds (WAV), rows of tables and texts.

mod texts;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hipflask_runtime::graph::Op;
use hipflask_runtime::input::Preprocess;
use hipflask_runtime::{Error, Model, Options, Session};
use serde::Serialize;

use self::texts::Texts;
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
    /// The file, or the text of `--text`.
    file: String,
    /// The line of a row or a text, the place of a sample in an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<usize>,
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
    let texts = match preprocess {
        Preprocess::Text(rule) => Some(Texts::new(rule, args, &name)?),
        other if !args.text.is_empty() || args.tokenizer.is_some() => {
            let reads = other.reads();
            bail!("{name}: reads {reads}: --text and --tokenizer are for models of text");
        }
        _ => None,
    };
    let mut asked =
        Asked { model: &model, preprocess, session: &mut session, texts, top: args.top as usize };
    if common.json {
        let mut predictions = Vec::new();
        asked.all(args, &mut |prediction| {
            predictions.push(prediction);
            Ok(())
        })?;
        print_json(out, &Predictions { model: name, predictions })?;
        return Ok(Outcome::Done);
    }
    asked.all(args, &mut |prediction| print(&prediction, out))?;
    Ok(Outcome::Done)
}

/// What answers.
struct Asked<'a> {
    model: &'a Model,
    preprocess: &'a Preprocess,
    session: &'a mut Session,
    /// Reads texts, where the model does.
    texts: Option<Texts<'a>>,
    top: usize,
}

/// Takes predictions one by one.
type Each<'a> = dyn FnMut(Prediction) -> Result<()> + 'a;

impl Asked<'_> {
    /// Gives `each` the prediction for every text and every input of the files.
    fn all(&mut self, args: &PredictArgs, each: &mut Each<'_>) -> Result<()> {
        let Some(texts) = self.texts.take() else {
            return args.files.iter().try_for_each(|file| self.predict(file, each));
        };
        for text in &args.text {
            each(self.prediction(text.clone(), None, &texts.input(text)?)?)?;
        }
        for file in &args.files {
            texts.lines(file, &mut |line, input| {
                each(self.prediction(file.display().to_string(), Some(line), input)?)
            })?;
        }
        Ok(())
    }

    fn prediction(&mut self, file: String, at: Option<usize>, input: &[f32]) -> Result<Prediction> {
        let top = best(self.model, self.session.predict(input)?, self.top);
        Ok(Prediction { file, at, top })
    }

    /// Gives `each` the prediction for every input that is in `file`.
    fn predict(&mut self, file: &Path, each: &mut Each<'_>) -> Result<()> {
        let name = file.display().to_string();
        let bytes = std::fs::read(file).with_context(|| format!("{name}: cannot be read"))?;
        let shape = self.session.inputs().first().map(|port| port.shape.to_vec());
        let in_file = |error: Error| error.in_file(&name);
        let inputs = self.preprocess.inputs(&bytes, &shape.unwrap_or_default());
        for input in inputs.map_err(in_file)? {
            let input = input.map_err(in_file)?;
            each(self.prediction(name.clone(), input.at, &input.values)?)?;
        }
        Ok(())
    }
}

fn print(prediction: &Prediction, out: &mut dyn Write) -> Result<()> {
    match prediction.at {
        Some(at) => writeln!(out, "{}:{at}", prediction.file)?,
        None => writeln!(out, "{}", prediction.file)?,
    }
    for Class { index, label, probability, .. } in &prediction.top {
        writeln!(out, "  {:>6.2} %  {index:>3} {label}", probability * 100.0)?;
    }
    Ok(())
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
