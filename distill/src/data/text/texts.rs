//! Texts as the numbers of their tokens, one after another.

use hipflask_runtime::input::text::Tokenizer;

use super::TextTokenizer;
use crate::fingerprint::Fingerprint;

/// Texts of any length as numbers of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    tokens: Vec<u32>,
    /// Where each text ends in `tokens`.
    ends: Vec<usize>,
    /// What split them; bytes without it.
    tokenizer: Option<Tokenizer>,
    /// Ids that occur, padding included.
    vocabulary: usize,
}

impl Texts {
    /// No texts yet, of the tokens of `tokenizer`.
    pub fn new(tokenizer: &TextTokenizer) -> Self {
        let (vocabulary, tokenizer) = (tokenizer.vocabulary(), tokenizer.file().cloned());
        Self { tokens: Vec::new(), ends: Vec::new(), tokenizer, vocabulary }
    }

    /// No texts of the same tokens.
    fn none(&self) -> Self {
        let Self { tokenizer, vocabulary, .. } = self;
        Self {
            tokens: Vec::new(),
            ends: Vec::new(),
            tokenizer: tokenizer.clone(),
            vocabulary: *vocabulary,
        }
    }

    /// Ids that occur, padding included.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Adds a text.
    pub fn push(&mut self, tokens: impl IntoIterator<Item = u32>) {
        self.tokens.extend(tokens);
        self.ends.push(self.tokens.len());
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What split the texts into tokens; bytes without it.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The tokens of text `index`.
    ///
    /// # Panics
    ///
    /// When there is no such text.
    pub fn get(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.tokens[start..self.ends[index]]
    }

    /// Tokens of the longest text.
    pub fn longest(&self) -> usize {
        (0..self.len()).map(|i| self.get(i).len()).max().unwrap_or(0)
    }

    /// The texts `indices`, in that order.
    ///
    /// # Panics
    ///
    /// When there is no such text.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut chosen = self.none();
        for &i in indices {
            chosen.push(self.get(i).iter().copied());
        }
        chosen
    }

    /// Adds the texts of `more`; gives them back where other tokens are numbered in them.
    pub(in crate::data) fn append(&mut self, more: Self) -> Result<(), Self> {
        if self.tokenizer != more.tokenizer {
            return Err(more);
        }
        let start = self.tokens.len();
        self.tokens.extend(more.tokens);
        self.ends.extend(more.ends.iter().map(|end| start + end));
        Ok(())
    }

    pub(in crate::data) fn fingerprint(&self, fingerprint: &mut Fingerprint) {
        fingerprint.numbers(self.ends.iter().map(|&end| end as u64));
        fingerprint.numbers(self.tokens.iter().map(|&token| u64::from(token)));
        let tokenizer = self.tokenizer.as_ref();
        fingerprint.bytes(tokenizer.map_or(&[], |file| file.sha256.as_bytes()));
    }
}
