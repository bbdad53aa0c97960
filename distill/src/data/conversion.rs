//! From raw samples to the network's input, by the rule that travels with the model.

use hipflask_runtime::input::audio::{AudioFrontEnd, Extractor};
use hipflask_runtime::input::text::Tokenizer;
use hipflask_runtime::input::{ColumnRule, Preprocess, TablePreprocess, TextPreprocess};
use rayon::prelude::*;

use super::Samples;
use super::audio::Waves;
use super::rows::{Fields, Rows};
use crate::{Error, ErrorKind, Result};

/// Turns raw samples of one kind and size into the network's input.
pub struct Conversion {
    shape: Vec<usize>,
    rule: Rule,
}

enum Rule {
    /// The values of all bytes, one table a channel.
    Bytes(Vec<[f32; 256]>),
    /// Mean and deviation, one pair a channel.
    Standard(Vec<[f32; 2]>),
    /// What is done with which column of the rows.
    Columns(Vec<ColumnStep>),
    /// The features of sounds.
    Features(Box<Extractor>),
    /// How texts are cut and padded.
    Tokens(TextPreprocess),
}

/// One column that the network reads.
struct ColumnStep {
    /// Its place in the rows.
    column: usize,
    rule: ColumnRule,
    /// For a column of texts: what each text is.
    texts: Vec<Meaning>,
}

/// What a text stands for under a rule.
#[derive(Clone, Copy)]
enum Meaning {
    /// A number, NaN where it is missing.
    Number(f32),
    /// A place in the rule's list; `None` where it is not in it.
    Index(Option<usize>),
}

impl Conversion {
    /// The conversion of `samples` (their kind, size and columns) by `preprocess`.
    pub fn new(samples: &Samples, preprocess: &Preprocess) -> Result<Self> {
        match (samples, preprocess) {
            (Samples::Images { .. } | Samples::Pictures(_), Preprocess::Image(rule)) => {
                let shape = samples.image_shape().unwrap_or_default();
                rule.check(shape[0]).map_err(|e| refused(e.message()))?;
                let tables = (0..shape[0]).map(|c| rule.table(c)).collect();
                Ok(Self { shape: shape.to_vec(), rule: Rule::Bytes(tables) })
            }
            (Samples::Values { shape, .. }, Preprocess::Values(rule)) => {
                let channels = shape.first().copied().unwrap_or(1);
                rule.check(channels).map_err(|e| refused(e.message()))?;
                let pick = |values: &[f32], c: usize| *values.get(c).unwrap_or(&values[0]);
                let pairs = (0..channels).map(|c| [pick(&rule.mean, c), pick(&rule.std, c)]);
                Ok(Self { shape: shape.clone(), rule: Rule::Standard(pairs.collect()) })
            }
            (Samples::Rows(rows), Preprocess::Table(table)) => Self::of_rows(rows, table),
            (Samples::Waves(waves), Preprocess::Audio(front_end)) => {
                Self::of_waves(waves, front_end)
            }
            (Samples::Texts(texts), Preprocess::Text(rule)) => {
                let sha256 = |file: Option<&Tokenizer>| file.map(|file| file.sha256.clone());
                if sha256(texts.tokenizer()) != sha256(rule.tokenizer.as_ref()) {
                    let reads = rule.tokenizer.as_ref().map_or("bytes", |file| file.name.as_str());
                    return Err(refused(format!(
                        "the data are {}, the model reads {reads:?}: give data.text.tokenizer the file \
                         that the model was trained with, or leave it out for bytes",
                        samples.describe()
                    )));
                }
                Ok(Self { shape: vec![rule.length], rule: Rule::Tokens(rule.clone()) })
            }
            _ => Err(refused(format!(
                "the data are {}, the preprocessing is for {}: give the data that the model was \
                 trained for",
                samples.describe(),
                preprocess.reads()
            ))),
        }
    }

    fn of_rows(rows: &Rows, table: &TablePreprocess) -> Result<Self> {
        let steps = table.columns.iter().map(|wanted| {
            let found = rows.columns().iter().position(|column| column.name == wanted.name);
            let column = found.ok_or_else(|| {
                refused(format!("the model reads column {:?}, the data have none", wanted.name))
            })?;
            let texts = match &rows.columns()[column].fields {
                Fields::Numbers(_) => match wanted.rule {
                    ColumnRule::Number { .. } => Vec::new(),
                    _ => {
                        return Err(refused(format!(
                            "column {:?} holds numbers, the model reads categories there: name it \
                             in data.categorical",
                            wanted.name
                        )));
                    }
                },
                Fields::Texts { values, .. } => match &wanted.rule {
                    ColumnRule::Number { .. } => Fields::numbers_in(values)
                        .map_err(|e| refused(format!("column {:?}: {e}", wanted.name)))?
                        .into_iter()
                        .map(Meaning::Number)
                        .collect(),
                    rule => values.iter().map(|text| Meaning::Index(rule.index(text))).collect(),
                },
            };
            Ok(ColumnStep { column, rule: wanted.rule.clone(), texts })
        });
        let steps = steps.collect::<Result<_>>()?;
        Ok(Self { shape: vec![table.width()], rule: Rule::Columns(steps) })
    }

    fn of_waves(waves: &Waves, front_end: &AudioFrontEnd) -> Result<Self> {
        if waves.rate != front_end.rate {
            return Err(refused(format!(
                "the sounds have {} samples a second, the model takes {}: give the data that it was \
                 trained for",
                waves.rate, front_end.rate
            )));
        }
        let extractor = Extractor::new(front_end).map_err(|e| refused(e.message()))?;
        let [frames, features] = extractor.shape();
        Ok(Self { shape: vec![1, frames, features], rule: Rule::Features(extractor.into()) })
    }

    /// The front end, where samples are sounds.
    pub(super) fn front_end(&self) -> Option<&AudioFrontEnd> {
        match &self.rule {
            Rule::Features(extractor) => Some(extractor.front_end()),
            _ => None,
        }
    }

    /// The network's input for one sample: `[c, h, w]`, `[1, frames, features]`, `[features]` or `[tokens]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Appends the input that sample `index` of `samples` becomes.
    ///
    /// # Panics
    ///
    /// When there is no such sample, or samples of another kind.
    pub fn append(&self, samples: &Samples, index: usize, output: &mut Vec<f32>) {
        let channels = self.shape.first().copied().unwrap_or(1).max(1);
        let size: usize = self.shape.iter().product();
        let plane = (size / channels).max(1);
        match (&self.rule, samples) {
            (Rule::Bytes(tables), Samples::Images { pixels, .. }) => {
                append_image(&pixels[index * size..(index + 1) * size], plane, tables, output);
            }
            (Rule::Bytes(tables), Samples::Pictures(pictures)) => {
                append_image(&pictures.decode(index), plane, tables, output);
            }
            (Rule::Standard(pairs), Samples::Values { values, .. }) => {
                let sample = &values[index * size..(index + 1) * size];
                for (channel, [mean, std]) in sample.chunks_exact(plane).zip(pairs) {
                    output.extend(channel.iter().map(|x| (x - mean) / std));
                }
            }
            (Rule::Columns(steps), Samples::Rows(rows)) => {
                for step in steps {
                    step.append(&rows.columns()[step.column].fields, index, output);
                }
            }
            (Rule::Features(extractor), Samples::Waves(waves)) => {
                let start = output.len();
                output.resize(start + size, 0.0);
                waves.clips[index].features(&mut extractor.clone(), &mut output[start..]);
            }
            (Rule::Tokens(rule), Samples::Texts(texts)) => {
                rule.append(texts.get(index).iter().copied(), output);
            }
            _ => panic!("a conversion is made for the kind of samples it is used on"),
        }
    }

    /// The inputs of all `samples`, one after another.
    pub fn all(&self, samples: &Samples) -> Vec<f32> {
        let n = samples.len();
        if let (Rule::Features(extractor), Samples::Waves(waves)) = (&self.rule, samples) {
            let size = self.shape.iter().product::<usize>();
            let mut output = vec![0.0; n * size];
            output.par_chunks_mut(size).zip(&waves.clips).for_each_init(
                || extractor.clone(),
                |extractor, (features, clip)| clip.features(extractor, features),
            );
            return output;
        }
        let mut output = Vec::with_capacity(n * self.shape.iter().product::<usize>());
        (0..n).for_each(|index| self.append(samples, index, &mut output));
        output
    }
}

fn append_image(image: &[u8], plane: usize, tables: &[[f32; 256]], output: &mut Vec<f32>) {
    for (bytes, table) in image.chunks_exact(plane).zip(tables) {
        output.extend(bytes.iter().map(|&byte| table[usize::from(byte)]));
    }
}

impl ColumnStep {
    fn append(&self, fields: &Fields, row: usize, output: &mut Vec<f32>) {
        let meaning = match fields {
            Fields::Numbers(numbers) => Meaning::Number(numbers[row]),
            Fields::Texts { codes, .. } => self.texts[codes[row] as usize],
        };
        match meaning {
            Meaning::Number(x) => self.rule.append_number((!x.is_nan()).then_some(x), output),
            Meaning::Index(index) => self.rule.append_index(index, output),
        }
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, "data", message)
}
