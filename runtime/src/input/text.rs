//! Text: the ids of its tokens, cut or padded to one length.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::refused;
use crate::{Error, ErrorKind, Result};

/// How a text becomes the ids of `length` tokens, as f32.
///
/// Without a `tokenizer` the tokens are the bytes of its UTF-8. The id is one more than the
/// token's number, 0 is padding: ids beyond `length` are cut off, zeros fill a shorter text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextPreprocess {
    /// Tokens that the network reads.
    pub length: usize,
    /// Ids that occur, padding included: 257 of bytes.
    pub vocabulary: usize,
    /// The file that splits text into tokens; bytes without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Tokenizer>,
}

/// The file of a tokenizer. It stays on the desk: boards take bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokenizer {
    /// Its name.
    pub name: String,
    /// SHA-256 of its contents, in hexadecimal.
    pub sha256: String,
}

/// Ids of bytes and of padding.
pub const BYTES: usize = 257;

impl TextPreprocess {
    /// The rule for bytes.
    pub fn bytes(length: usize) -> Self {
        Self { length, vocabulary: BYTES, tokenizer: None }
    }

    /// Checks the numbers against the network's, which reads `elements` ids.
    pub fn check(&self, elements: usize) -> Result<()> {
        let Self { length, vocabulary, .. } = *self;
        if length != elements {
            return Err(refused(format!("texts of {length} tokens, the network takes {elements}")));
        }
        if self.tokenizer.is_none() && vocabulary != BYTES {
            return Err(refused(format!("bytes have {BYTES} ids, not {vocabulary}")));
        }
        Ok(())
    }

    /// Fails where the tokens are not bytes.
    pub fn check_bytes(&self) -> Result<()> {
        let Some(Tokenizer { name, .. }) = &self.tokenizer else { return Ok(()) };
        let what = format!(
            "reads tokens of {name:?}, which the model does not hold: give that file to hipflask \
             predict with --tokenizer, or train on bytes"
        );
        Err(Error::new(ErrorKind::Input, "", what))
    }

    /// The input that the bytes of `text` become.
    pub fn bytes_of(&self, text: &str) -> Vec<f32> {
        let mut input = Vec::with_capacity(self.length);
        self.append_bytes(text, &mut input);
        input
    }

    /// Appends the input that the bytes of `text` become; allocates nothing where there is room.
    pub fn append_bytes(&self, text: &str, output: &mut Vec<f32>) {
        // The bytes of `normalized(text)`.
        let words = text.split_whitespace().enumerate().flat_map(|(at, word)| {
            let space = (at > 0).then_some(b' ');
            space.into_iter().chain(word.bytes())
        });
        self.append(words.map(u32::from), output);
    }

    /// Appends the input that the numbers of tokens become.
    pub fn append(&self, tokens: impl Iterator<Item = u32>, output: &mut Vec<f32>) {
        let end = output.len().saturating_add(self.length);
        // Exact up to 2²⁴ ids.
        output.extend(tokens.take(self.length).map(|token| token as f32 + 1.0));
        output.resize(end, 0.0);
    }
}

/// `text` without white space around it and with one space for each run of it within: lines of a
/// document say no more than spaces do.
pub fn normalized(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        normal.push_str(word);
    }
    normal
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_text_is_its_bytes_cut_or_padded() {
        let rule = TextPreprocess::bytes(6);
        // a, b, space and the two bytes of ß, one more each.
        assert_eq!(rule.bytes_of(" ab\tß\n"), [98.0, 99.0, 33.0, 196.0, 160.0, 0.0]);
        assert_eq!(TextPreprocess::bytes(2).bytes_of("ab ß"), [98.0, 99.0]);
        assert_eq!(rule.bytes_of(""), [0.0; 6]);
        assert_eq!(rule.bytes_of("\0\u{10ffff}"), [1.0, 245.0, 144.0, 192.0, 192.0, 0.0]);
    }

    #[test]
    fn tokens_of_a_file_are_refused_where_the_file_is_not() {
        let tokenizer = Tokenizer { name: "words.json".into(), sha256: "00".into() };
        let rule = TextPreprocess { length: 3, vocabulary: 40, tokenizer: Some(tokenizer) };
        let error = rule.check_bytes().unwrap_err();
        assert!(
            error.message().contains("\"words.json\"") && error.message().contains("--tokenizer")
        );
        let mut ids = Vec::new();
        rule.append([7, 0, 38].into_iter(), &mut ids);
        assert_eq!(ids, [8.0, 1.0, 39.0]);
        rule.check(3).unwrap();
    }

    #[test]
    fn the_length_must_be_the_networks() {
        TextPreprocess::bytes(8).check(8).unwrap();
        let error = TextPreprocess::bytes(8).check(9).unwrap_err();
        assert!(error.message().contains("texts of 8 tokens, the network takes 9"));
        let wrong = TextPreprocess { vocabulary: 10, ..TextPreprocess::bytes(8) };
        assert!(wrong.check(8).unwrap_err().message().contains("257"));
    }
}
