//! What training rows say about how fields become features.

use std::collections::BTreeSet;

use hipflask_runtime::input::table::is_missing;
use hipflask_runtime::input::{Column, ColumnRule, TablePreprocess};

use super::delimiter;
use crate::data::{DataSpec, Fields, Rows};
use crate::{Error, ErrorKind, Result};

/// Most categories of a column: each is a feature.
const MOST_CATEGORIES: usize = 1000;

/// The rule for each column of the training rows: numbers are standardised by their mean and standard
/// deviation (of the population, in f64), categories are those that occur, by name.
pub(in crate::data) fn preprocess(rows: &Rows, spec: &DataSpec) -> Result<TablePreprocess> {
    let columns = rows.columns().iter().map(|column| {
        let name = column.name.clone();
        let rule = match (&column.fields, spec.table.ordinal.get(&name)) {
            (Fields::Numbers(numbers), _) => {
                let known = || numbers.iter().copied().filter(|x| !x.is_nan()).map(f64::from);
                let (mean, std) = moments(known).ok_or_else(|| nothing(&name))?;
                ColumnRule::Number { mean, std }
            }
            (Fields::Texts { values, codes }, Some(order)) => {
                let place = |text: &String| order.iter().position(|value| value == text);
                let places: Vec<Option<usize>> = values.iter().map(place).collect();
                let known = || codes.iter().filter_map(|&c| places[c as usize]).map(|p| p as f64);
                let (mean, std) = moments(known).ok_or_else(|| nothing(&name))?;
                ColumnRule::Ordinal { values: order.clone(), mean, std }
            }
            (Fields::Texts { values, codes }, None) => {
                let present: BTreeSet<u32> = codes.iter().copied().collect();
                let texts = present.into_iter().map(|code| values[code as usize].as_str());
                let texts = texts.map(|text| if is_missing(text) { "" } else { text });
                ColumnRule::OneHot { values: categories(&name, texts)? }
            }
        };
        Ok(Column { name, rule })
    });
    Ok(TablePreprocess {
        columns: columns.collect::<Result<_>>()?,
        header: spec.table.header,
        delimiter: delimiter(spec),
        missing: spec.table.missing,
    })
}

/// Mean and standard deviation of the population, 1 for that where all values are the same; `None` of no values.
pub(in crate::data) fn moments<I: Iterator<Item = f64>>(
    values: impl Fn() -> I,
) -> Option<(f32, f32)> {
    let count = values().count() as f64;
    let mean = values().sum::<f64>() / count;
    let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    let std = variance.sqrt() as f32;
    (count > 0.0).then_some((mean as f32, if std.is_normal() { std } else { 1.0 }))
}

fn categories<'a>(name: &str, texts: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let texts: BTreeSet<&str> = texts.collect();
    if texts.len() > MOST_CATEGORIES {
        let what = format!(
            "column {name:?} has {} different texts, at most {MOST_CATEGORIES} become features: name it \
             in data.table.ignore",
            texts.len()
        );
        return Err(Error::new(ErrorKind::Data, "data", what));
    }
    Ok(texts.into_iter().map(Into::into).collect())
}

fn nothing(name: &str) -> Error {
    let what =
        format!("column {name:?} holds nothing in the training rows: name it in data.table.ignore");
    Error::new(ErrorKind::Data, "data", what)
}
