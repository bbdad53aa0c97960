//! Texts: those of `--text`, and each line of a file as soon as it is there.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use hipflask_distill::data::TextTokenizer;
use hipflask_runtime::input::TextPreprocess;

use crate::args::PredictArgs;

/// Reads texts for a model of text.
pub(super) struct Texts<'a> {
    rule: &'a TextPreprocess,
    tokenizer: TextTokenizer,
}

impl<'a> Texts<'a> {
    /// By the tokenizer of `args`, which has to be that of the model in `model`.
    pub(super) fn new(rule: &'a TextPreprocess, args: &PredictArgs, model: &str) -> Result<Self> {
        let tokenizer = if let Some(file) = &args.tokenizer {
            TextTokenizer::open(file)?
        } else {
            rule.check_bytes().map_err(|e| e.in_file(model))?;
            TextTokenizer::default()
        };
        Ok(Self { rule, tokenizer })
    }

    /// The network's input for `text`.
    pub(super) fn input(&self, text: &str) -> Result<Vec<f32>> {
        Ok(self.tokenizer.input(self.rule, text)?)
    }

    /// Gives `each` the number and the input of every line of `file` (`-` is standard input) that is
    /// not empty.
    pub(super) fn lines(
        &self,
        file: &Path,
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let name = file.display().to_string();
        let lines: Box<dyn BufRead> = if name == "-" {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(file).with_context(|| format!("{name}: cannot be read"))?;
            Box::new(BufReader::new(file))
        };
        for (number, line) in (1..).zip(lines.lines()) {
            let line = line.with_context(|| format!("{name}:{number}: cannot be read as UTF-8"))?;
            if !line.trim().is_empty() {
                each(number, &self.input(&line)?)?;
            }
        }
        Ok(())
    }
}
