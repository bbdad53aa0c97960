//! Text: labelled lines or files, split into tokens when they are read.

mod read;
#[cfg(test)]
mod tests;
mod texts;
mod tokenizer;

use std::path::PathBuf;

use hipflask_runtime::input::TextPreprocess;
use serde::{Deserialize, Serialize};

pub(in crate::data) use read::read;
pub use texts::Texts;
pub use tokenizer::TextTokenizer;

use super::{DataSpec, Places};
use crate::{Error, ErrorKind, Result};

/// Tokens of the longest text that is read whole, where the recipe does not say.
const LENGTH: usize = 256;
/// Most tokens that a network reads.
const MOST_TOKENS: usize = 65_536;

/// How texts are read: `[data.text]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextSpec {
    /// Tokens to which each text is cut or padded; without it those of the longest training text,
    /// up to 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// A `tokenizer.json` of the tokenizers library; tokens are bytes without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
}

impl TextSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What splits the texts of `spec`.
pub(super) fn tokenizer(spec: &DataSpec, places: &Places) -> Result<TextTokenizer> {
    if !spec.augment.is_empty() {
        let message = "changes images; texts are read as they are: leave it out";
        return Err(Error::new(ErrorKind::Data, "data.augment", message));
    }
    match &spec.text.tokenizer {
        Some(file) => TextTokenizer::open(&spec.locate(file, places)?),
        None => Ok(TextTokenizer::default()),
    }
}

/// The rule for a network that learns from `texts`.
pub(super) fn preprocess(texts: &Texts, spec: &TextSpec) -> Result<TextPreprocess> {
    let length = spec.length.unwrap_or_else(|| texts.longest().clamp(1, LENGTH));
    if !(1..=MOST_TOKENS).contains(&length) {
        let message = format!("{length} is out of range: 1 to {MOST_TOKENS}");
        return Err(Error::new(ErrorKind::Data, "data.text.length", message));
    }
    let (vocabulary, tokenizer) = (texts.vocabulary(), texts.tokenizer().cloned());
    Ok(TextPreprocess { length, vocabulary, tokenizer })
}
