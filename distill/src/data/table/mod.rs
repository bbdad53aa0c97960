//! Tables: rows of separated fields (CSV, TSV), plain or gzip, with one column for the class.

mod columns;
mod fit;
mod raw;
mod spec;
mod target;
#[cfg(test)]
mod tests;

use super::left_out::LeftOut;
use super::part::Part;
use super::{DataFormat, DataSpec, Places, Samples, Split};
use crate::{Error, ErrorKind, Result};

pub use spec::TableSpec;

pub(super) use fit::{moments, preprocess};

use columns::Kinds;
use raw::Raw;

/// The training and the test rows of one source.
pub(super) fn read(spec: &DataSpec, places: &Places) -> Result<[Option<Part>; 2]> {
    let open = |names: &[std::path::PathBuf]| -> Result<Option<Table>> {
        if names.is_empty() {
            return Ok(None);
        }
        let mut left_out = LeftOut::new(spec.on_error);
        let files: Vec<_> = names.iter().map(|n| spec.locate(n, places)).collect::<Result<_>>()?;
        let raw = Raw::read(&files, spec.table.header, delimiter(spec), &mut left_out)?;
        Ok(Some(Table { raw, left_out }))
    };
    let [train, test] = [open(&spec.train)?, open(&spec.test)?];
    // The training rows say what is a number; test rows without any speak for themselves.
    let Some(first) = train.as_ref().or(test.as_ref()) else { return Ok([None, None]) };
    let kinds = Kinds::of(&first.raw, &spec.table)?;
    let tables = [train, test].map(|table| table.map(|table| table.kept(&kinds, spec)).transpose());
    let [train, test] = tables;
    target::parts([train?, test?], spec)
}

/// What separates the fields.
fn delimiter(spec: &DataSpec) -> char {
    spec.table.delimiter.unwrap_or(if spec.format == DataFormat::Tsv { '\t' } else { ',' })
}

/// The rows of some files, and what was wrong with others.
struct Table {
    raw: Raw,
    left_out: LeftOut,
}

/// Rows that can be learnt from.
struct Kept {
    rows: Samples,
    /// The text in the target's column, for each row.
    targets: Option<Vec<String>>,
    skipped: Vec<String>,
}

impl Table {
    /// The rows without those that do not fit `kinds`, or whose class is missing or unknown.
    fn kept(mut self, kinds: &Kinds, spec: &DataSpec) -> Result<Kept> {
        let columns = kinds.columns(&self.raw)?;
        let target = spec.table.target.as_deref().map(|name| self.raw.column(name)).transpose()?;
        let mut rows = Vec::with_capacity(self.raw.len());
        for row in 0..self.raw.len() {
            let class = target.map(|column| target::check(column.get(row), &spec.labels));
            let fields = kinds.check(&columns, row, spec.table.missing);
            match fields.and(class.unwrap_or(Ok(()))) {
                Ok(()) => rows.push(row),
                Err(what) => self.left_out.refuse(self.raw.wrong(row, what))?,
            }
        }
        if rows.is_empty() {
            let what = "has no row to learn from: every one was left out by on_error = \"skip\"";
            return Err(Error::new(ErrorKind::Data, self.raw.name(), what));
        }
        let targets = target
            .map(|column| rows.iter().map(|&row| column.get(row).trim().to_string()).collect());
        let fields = Samples::Rows(kinds.rows(&columns, &rows));
        Ok(Kept { rows: fields, targets, skipped: self.left_out.reasons })
    }
}

impl Kept {
    fn part(self, labels: Option<Vec<u32>>, classes: Option<Vec<String>>) -> Part {
        Part { split: Split { samples: self.rows, labels }, classes, skipped: self.skipped }
    }
}
