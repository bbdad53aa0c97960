//! Rows of files as columns of text.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use hipflask_runtime::input::csv::{self, Record, Records};

use crate::data::files::uncompressed;
use crate::data::left_out::LeftOut;
use crate::suggest::nearest;
use crate::{Error, ErrorKind, Result};

/// Most bytes of one file, uncompressed.
const MOST_BYTES: u64 = 4 << 30;

/// Rows of one or several files with the same columns.
pub(super) struct Raw {
    titles: Vec<String>,
    columns: Vec<TextColumn>,
    files: Vec<String>,
    /// Of each row its file and line.
    places: Vec<(usize, usize)>,
}

/// Texts one after another.
#[derive(Default)]
pub(super) struct TextColumn {
    text: String,
    ends: Vec<usize>,
}

impl TextColumn {
    fn push(&mut self, field: &str) {
        self.text.push_str(field);
        self.ends.push(self.text.len());
    }

    /// The field of row `row`; empty where there is no such row.
    pub(super) fn get(&self, row: usize) -> &str {
        let end = |row: usize| self.ends.get(row).copied();
        let start = row.checked_sub(1).map_or(Some(0), end);
        let range = start.zip(end(row)).map(|(start, end)| start..end);
        range.and_then(|range| self.text.get(range)).unwrap_or_default()
    }

    /// All fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|row| self.get(row))
    }
}

impl Raw {
    /// Reads `files`, whose titles must be the same; rows with more or fewer fields than those are
    /// left to `left_out`.
    pub(super) fn read(
        files: &[PathBuf],
        header: bool,
        delimiter: char,
        left_out: &mut LeftOut,
    ) -> Result<Self> {
        let separator =
            u8::try_from(delimiter).ok().filter(|c| c.is_ascii() && !b"\"\r\n".contains(c));
        let separator = separator.ok_or_else(|| {
            let what = format!("{delimiter:?}: give an ASCII character other than the quote");
            wrong("data.table.delimiter", what)
        })?;
        let mut raw =
            Self { titles: Vec::new(), columns: Vec::new(), files: Vec::new(), places: Vec::new() };
        for path in files {
            let name = path.display().to_string();
            let bytes = bytes(path)
                .map_err(|e| Error::new(ErrorKind::Io, &name, format!("cannot be read: {e}")))?;
            let text = csv::text(&bytes).map_err(|e| in_file(&name, &e))?;
            raw.add(&name, Records::new(text, separator), header, left_out)?;
        }
        if raw.places.is_empty() {
            return Err(wrong(&raw.name(), "has no rows"));
        }
        Ok(raw)
    }

    fn add(
        &mut self,
        name: &str,
        mut records: Records<'_>,
        header: bool,
        left_out: &mut LeftOut,
    ) -> Result<()> {
        let file = self.files.len();
        if header {
            let titles = records.next().transpose().map_err(|e| in_file(name, &e))?;
            let titles = titles.map(|titles| titles.fields).unwrap_or_default();
            self.begin(name, titles.iter().map(|title| title.trim().into()).collect())?;
        }
        self.files.push(name.into());
        for record in records {
            let Record { line, fields } = match record {
                Ok(record) => record,
                Err(error) => {
                    left_out.refuse(in_file(name, &error))?;
                    continue;
                }
            };
            if self.titles.is_empty() {
                let titles = (1..=fields.len()).map(|number| number.to_string());
                self.begin(name, titles.collect())?;
            }
            if fields.len() == self.titles.len() {
                self.places.push((file, line));
                let trimmed = fields.iter().map(|field: &Cow<'_, str>| field.trim());
                self.columns.iter_mut().zip(trimmed).for_each(|(column, field)| column.push(field));
            } else {
                let of = if header { "titles" } else { "fields in the first row" };
                let what = format!(
                    "has {} fields, there are {} {of}: correct it, quote fields that hold the \
                     separator, or leave such rows out with on_error = \"skip\"",
                    fields.len(),
                    self.titles.len()
                );
                left_out.refuse(wrong(&format!("{name}: line {line}"), what))?;
            }
        }
        Ok(())
    }

    /// Takes the titles of a file, or compares them with those before.
    fn begin(&mut self, name: &str, titles: Vec<String>) -> Result<()> {
        if titles.is_empty() {
            return Err(wrong(name, "is empty"));
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = titles.iter().find(|title| !seen.insert(title.as_str())) {
            return Err(wrong(name, format!("two columns are called {twice:?}: rename one")));
        }
        if self.titles.is_empty() {
            self.columns = titles.iter().map(|_| TextColumn::default()).collect();
            self.titles = titles;
        } else if self.titles != titles {
            let what = format!("has other titles than {}", self.name());
            return Err(wrong(name, what));
        }
        Ok(())
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Titles in the order of the file.
    pub(super) fn titles(&self) -> &[String] {
        &self.titles
    }

    /// The first file, for messages.
    pub(super) fn name(&self) -> String {
        self.files.first().cloned().unwrap_or_default()
    }

    /// The column called `title`.
    pub(super) fn column(&self, title: &str) -> Result<&TextColumn> {
        let place = self.titles.iter().position(|own| own == title);
        place.and_then(|place| self.columns.get(place)).ok_or_else(|| {
            let near = nearest(title, self.titles.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("there are {}", self.titles.join(", ")),
            };
            wrong(&self.name(), format!("has no column {title:?}: {hint}"))
        })
    }

    /// An error about a row.
    pub(super) fn wrong(&self, row: usize, what: String) -> Error {
        let (file, line) = self.places.get(row).copied().unwrap_or_default();
        let name = self.files.get(file).map_or("", String::as_str);
        wrong(&format!("{name}: line {line}"), what)
    }
}

/// The bytes of a file, uncompressed.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader = uncompressed(BufReader::new(File::open(path)?))?;
    reader.take(MOST_BYTES.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it has more than {} GiB", MOST_BYTES >> 30)));
    }
    Ok(bytes)
}

fn in_file(name: &str, error: &hipflask_runtime::Error) -> Error {
    wrong(&format!("{name}: {}", error.at()), error.message())
}

fn wrong(at: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, at, message)
}
