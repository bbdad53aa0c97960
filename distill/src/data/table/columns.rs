//! What the columns of a table hold: numbers, categories, or categories in an order.

use std::collections::HashMap;

use hipflask_runtime::input::Missing;
use hipflask_runtime::input::table::{is_missing, number};

use super::TableSpec;
use super::raw::{Raw, TextColumn};
use crate::data::{Fields, Rows, RowsColumn};
use crate::{Error, ErrorKind, Result};

/// The columns that the network reads.
pub(super) struct Kinds(Vec<(String, Kind)>);

enum Kind {
    Number,
    Category,
    Ordinal(Vec<String>),
}

impl Kinds {
    /// What `spec` says of the columns of `raw`; of those it does not name, what most of their fields
    /// are, numbers at a tie.
    pub(super) fn of(raw: &Raw, spec: &TableSpec) -> Result<Self> {
        let mut told = HashMap::new();
        for (key, name) in spec.named() {
            raw.column(name).map_err(|e| Error::new(ErrorKind::Data, key, e.to_string()))?;
            if let Some(before) = told.insert(name, key) {
                let what = format!("names column {name:?}, which {before} names too: keep one");
                return Err(Error::new(ErrorKind::Data, key, what));
            }
        }
        let seen = raw.titles().iter().filter_map(|name| {
            match told.get(name.as_str()) {
                Some(&("data.table.target" | "data.table.ignore")) => None,
                Some(&"data.table.categorical") => Some(Ok(Kind::Category)),
                Some(_) => spec.ordinal.get(name).map(|values| Ok(Kind::Ordinal(values.clone()))),
                None => Some(raw.column(name).and_then(|column| guessed(column, name, raw))),
            }
            .map(|kind| Ok((name.clone(), kind?)))
        });
        let kinds: Vec<(String, Kind)> = seen.collect::<Result<_>>()?;
        if kinds.is_empty() {
            let what =
                "has no column for the network to read besides the target and those in ignore";
            return Err(Error::new(ErrorKind::Data, raw.name(), what));
        }
        Ok(Self(kinds))
    }

    /// The columns in `raw`, found by their titles.
    pub(super) fn columns<'a>(&self, raw: &'a Raw) -> Result<Vec<&'a TextColumn>> {
        self.0.iter().map(|(name, _)| raw.column(name)).collect()
    }

    /// What is wrong with a row, where something is.
    pub(super) fn check(
        &self,
        columns: &[&TextColumn],
        row: usize,
        missing: Missing,
    ) -> Result<(), String> {
        for ((name, kind), column) in self.0.iter().zip(columns) {
            let field = column.get(row);
            if is_missing(field) {
                if missing == Missing::Error {
                    return Err(format!(
                        "column {name:?}: the value is missing, and data.table.missing is \"error\""
                    ));
                }
                continue;
            }
            match kind {
                Kind::Number => {
                    number(field).map_err(|what| {
                        format!(
                            "column {name:?}: {what}, and most of its fields are: correct it, name \
                             the column in data.table.categorical, or leave such rows out with \
                             on_error = \"skip\""
                        )
                    })?;
                }
                Kind::Category => {}
                Kind::Ordinal(values) if values.iter().any(|value| value == field) => {}
                Kind::Ordinal(values) => {
                    let values = values.join(", ");
                    return Err(format!("column {name:?}: {field:?} is not among {values}"));
                }
            }
        }
        Ok(())
    }

    /// The rows `rows` of `columns`, which have passed the check.
    pub(super) fn rows(&self, columns: &[&TextColumn], rows: &[usize]) -> Rows {
        let columns = self.0.iter().zip(columns).map(|((name, kind), column)| {
            let fields = rows.iter().map(|&row| column.get(row));
            let fields = match kind {
                Kind::Number => {
                    let value = |field| number(field).ok().flatten().unwrap_or(f32::NAN);
                    Fields::Numbers(fields.map(value).collect())
                }
                Kind::Category | Kind::Ordinal(_) => texts(fields),
            };
            RowsColumn { name: name.clone(), fields }
        });
        Rows::new(columns.collect())
    }
}

fn guessed(column: &TextColumn, name: &str, raw: &Raw) -> Result<Kind> {
    let (mut numbers, mut texts) = (0_usize, 0_usize);
    for field in column.iter() {
        match number(field) {
            Ok(Some(_)) => numbers += 1,
            Ok(None) => {}
            Err(_) => texts += 1,
        }
    }
    match (numbers, texts) {
        (0, 0) => {
            let what =
                format!("column {name:?} holds nothing in any row: name it in data.table.ignore");
            Err(Error::new(ErrorKind::Data, raw.name(), what))
        }
        _ if numbers >= texts => Ok(Kind::Number),
        _ => Ok(Kind::Category),
    }
}

fn texts<'a>(fields: impl Iterator<Item = &'a str>) -> Fields {
    let (mut codes, mut values, mut known) = (Vec::new(), Vec::new(), HashMap::new());
    for field in fields {
        codes.push(*known.entry(field).or_insert_with(|| {
            values.push(field.to_string());
            values.len() as u32 - 1
        }));
    }
    Fields::Texts { values: values.into(), codes }
}
