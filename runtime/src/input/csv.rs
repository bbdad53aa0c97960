//! Records of a text with separated fields (RFC 4180), the same on the desk and on the board.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::{Error, ErrorKind, Result};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its fields, without their quotes.
    pub fields: Vec<Cow<'a, str>>,
}

/// Reads a text record by record.
///
/// Lines end with `\n`, `\r\n` or `\r`; empty ones are passed over. A field that begins with `"` goes
/// up to the next `"` that is not doubled, over separators and line breaks; quotes elsewhere are
/// text. After an error it goes on with the line after the one on which the broken record begins.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a str,
    line: usize,
    delimiter: u8,
}

/// The text in `bytes`, without a byte-order mark; an error names the line that is not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str> {
    let text = core::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|&byte| byte == b'\n').count();
        refused(line, "is not UTF-8: save the file in that encoding")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

impl<'a> Records<'a> {
    /// The records of `text`, whose fields are separated by the ASCII character `delimiter`.
    pub fn new(text: &'a str, delimiter: u8) -> Self {
        Self { rest: text, line: 1, delimiter }
    }

    fn record(&mut self) -> Result<Record<'a>> {
        let (line, mut fields) = (self.line, Vec::new());
        loop {
            fields.push(match self.rest.strip_prefix('"') {
                Some(inside) => self.quoted(inside)?,
                None => Cow::Borrowed(self.plain()),
            });
            match self.rest.as_bytes().first() {
                Some(&byte) if byte == self.delimiter => self.advance(1),
                None | Some(b'\n' | b'\r') => return Ok(Record { line, fields }),
                Some(_) => {
                    return Err(refused(
                        line,
                        "has text after a closing quote: double the quotes that belong to a field",
                    ));
                }
            }
        }
    }

    /// The field up to the next separator.
    fn plain(&mut self) -> &'a str {
        let ends = |&byte: &u8| byte == self.delimiter || byte == b'\n' || byte == b'\r';
        let bytes = self.rest.as_bytes();
        let (field, _) = self.rest.split_at(bytes.iter().position(ends).unwrap_or(bytes.len()));
        self.advance(field.len());
        field
    }

    /// The field that begins with a quote, `inside` being what follows that.
    fn quoted(&mut self, mut inside: &'a str) -> Result<Cow<'a, str>> {
        let mut field = Cow::Borrowed("");
        let first = self.line;
        loop {
            let Some((part, after)) = inside.split_once('"') else {
                return Err(refused(first, "opens a quote that is not closed"));
            };
            self.line = self.line.saturating_add(line_breaks(part));
            if field.is_empty() {
                field = Cow::Borrowed(part);
            } else {
                field.to_mut().push_str(part);
            }
            let Some(more) = after.strip_prefix('"') else {
                self.rest = after;
                return Ok(field);
            };
            field.to_mut().push('"');
            inside = more;
        }
    }

    /// `bytes` must end a character.
    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let breaks = self.rest.bytes().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        self.line = self.line.saturating_add(line_breaks(self.rest.get(..breaks)?));
        self.advance(breaks);
        if self.rest.is_empty() {
            return None;
        }
        let start = self.clone();
        let record = self.record();
        if record.is_err() {
            *self = start;
            let length = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
            self.advance(length);
        }
        Some(record)
    }
}

/// Line breaks in `text`; `\r\n` is one.
fn line_breaks(text: &str) -> usize {
    let feeds = text.bytes().filter(|&byte| byte == b'\n').count();
    let returns = text.bytes().filter(|&byte| byte == b'\r').count();
    feeds.saturating_add(returns).saturating_sub(text.matches("\r\n").count())
}

/// An error about a line.
pub(super) fn refused(line: usize, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Input, format!("line {line}"), message)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    type Found = Vec<Result<(usize, Vec<String>), String>>;

    fn read(text: &str) -> Found {
        let records = Records::new(text, b',');
        let owned = |record: Record<'_>| {
            (record.line, record.fields.into_iter().map(Cow::into_owned).collect())
        };
        records.map(|record| record.map(owned).map_err(|e| e.to_string())).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "as what it is compared with")]
    fn record(line: usize, fields: &[&str]) -> Result<(usize, Vec<String>), String> {
        Ok((line, fields.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn fields_may_be_quoted_empty_or_go_over_lines() {
        let text = "a,\"b,\"\"c\"\"\",\r\n\n\"two\r\nlines\",x\"y\",\rlast";
        let expected =
            [record(1, &["a", "b,\"c\"", ""]), record(3, &["two\r\nlines", "x\"y\"", ""])];
        assert_eq!(read(text), [&expected[..], &[record(5, &["last"])]].concat());
        assert_eq!(read(""), []);
        assert_eq!(read("\n\r\n"), []);
        assert_eq!(read(","), [record(1, &["", ""])]);
    }

    #[test]
    fn a_broken_record_costs_its_line_only() {
        let found = read("a,b\n\"open,1\nc,\"d\"e\nf,g\n\"never\nh,i");
        assert_eq!(found[0], record(1, &["a", "b"]));
        assert!(found[1].as_ref().unwrap_err().starts_with("line 2: has text after a closing"));
        assert!(found[2].as_ref().unwrap_err().starts_with("line 3: has text after a closing"));
        assert_eq!(found[3], record(4, &["f", "g"]));
        assert!(found[4].as_ref().unwrap_err().starts_with("line 5: opens a quote"));
        assert_eq!(found[5..], [record(6, &["h", "i"])]);
    }

    #[test]
    fn another_encoding_is_refused_with_its_line() {
        assert_eq!(text(b"\xef\xbb\xbfa,b").unwrap(), "a,b");
        let error = text(b"a\nM\xfcller").unwrap_err().to_string();
        assert!(error.starts_with("line 2: is not UTF-8"), "{error}");
    }

    proptest! {
        /// Against the `csv` crate, on texts without broken quotes, which it reads otherwise.
        #[test]
        fn records_are_those_of_the_csv_crate(text in "([ab ,;\n\r]|\r\n|,\"(x|\"\"|,|\r|\n|\r\n)*\",|é){0,24}") {
            let mut reader = csv::ReaderBuilder::new();
            let mut reader = reader.has_headers(false).flexible(true).from_reader(text.as_bytes());
            let theirs: Vec<Vec<String>> = reader.records()
                .map(|record| record.unwrap().iter().map(Into::into).collect()).collect();
            let ours: Vec<Vec<String>> =
                read(&text).into_iter().map(|record| record.unwrap().1).collect();
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn no_text_panics_and_lines_ascend(text in "[a,\"\n\r]{0,40}") {
            let lines: Vec<usize> = read(&text).into_iter().flatten().map(|(line, _)| line).collect();
            prop_assert!(lines.is_sorted(), "{:?}", lines);
        }
    }
}
