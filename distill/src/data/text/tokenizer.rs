//! Text to the numbers of tokens: bytes, or what a file of the `tokenizers` library says.

use std::path::Path;

use hipflask_runtime::input::TextPreprocess;
use hipflask_runtime::input::text::{BYTES, Tokenizer, normalized};

use crate::fingerprint::sha256;
use crate::{Error, ErrorKind, Result};

/// Most ids: as many as f32 counts.
const MOST_IDS: usize = 1 << 24;

/// Splits texts into tokens.
#[derive(Default)]
pub struct TextTokenizer {
    /// A file's tokenizer and where it is from; bytes without it.
    file: Option<(tokenizers::Tokenizer, Tokenizer)>,
}

impl TextTokenizer {
    /// The tokenizer in the file `path` (`tokenizer.json` of the `tokenizers` library); what it says
    /// of cutting and padding does not count.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|e| Error::new(ErrorKind::Io, &shown, format!("cannot be read: {e}")))?;
        let refused = |reason: String| {
            let message = format!(
                "is no tokenizer: {reason}; give a tokenizer.json of the tokenizers library, or leave \
                 data.tokenizer out for bytes"
            );
            Error::new(ErrorKind::Data, &shown, message)
        };
        let mut tokenizer =
            tokenizers::Tokenizer::from_bytes(&bytes).map_err(|e| refused(e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| refused(e.to_string()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sha256 = sha256(&bytes);
        let file = Self { file: Some((tokenizer, Tokenizer { name, sha256 })) };
        match file.vocabulary() {
            2..=MOST_IDS => Ok(file),
            ids => Err(refused(format!("it has {} tokens", ids - 1))),
        }
    }

    /// Where it is from; bytes without it.
    pub fn file(&self) -> Option<&Tokenizer> {
        self.file.as_ref().map(|(_, file)| file)
    }

    /// Ids that occur, padding included.
    pub fn vocabulary(&self) -> usize {
        let Some((tokenizer, _)) = &self.file else { return BYTES };
        // Numbers may have gaps.
        tokenizer.get_vocab(true).into_values().max().map_or(1, |last| last as usize + 2)
    }

    /// The numbers of the tokens of `text`, white space made single spaces.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        let text = normalized(text);
        match &self.file {
            None => Ok(text.bytes().map(u32::from).collect()),
            Some((tokenizer, file)) => match tokenizer.encode(text, true) {
                Ok(encoding) => Ok(encoding.get_ids().to_vec()),
                Err(error) => Err(Error::new(ErrorKind::Data, &file.name, error.to_string())),
            },
        }
    }

    /// The network's input for `text`; an error where `rule`, the model's, is for another tokenizer.
    pub fn input(&self, rule: &TextPreprocess, text: &str) -> Result<Vec<f32>> {
        if rule.tokenizer.as_ref().map(|file| &file.sha256) != self.file().map(|file| &file.sha256)
        {
            let name = |file: Option<&Tokenizer>| match file {
                Some(file) => format!("tokens of {:?} ({:.8}…)", file.name, file.sha256),
                None => "bytes".into(),
            };
            let (wanted, given) = (name(rule.tokenizer.as_ref()), name(self.file()));
            let message =
                format!("the model reads {wanted}, not {given}: give the file it was trained with");
            return Err(Error::new(ErrorKind::Data, "tokenizer", message));
        }
        let mut input = Vec::with_capacity(rule.length);
        rule.append(self.tokens(text)?.into_iter(), &mut input);
        Ok(input)
    }
}
