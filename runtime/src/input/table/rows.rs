//! Rows of a file as features of the network.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Column, Missing, TablePreprocess, is_missing};
use crate::input::csv::{self, Record, Records};
use crate::{Error, ErrorKind, Result};

/// A row as the network takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// Its features.
    pub features: Vec<f32>,
}

/// Goes through the rows of a file; see [`TablePreprocess::rows`].
#[derive(Clone, Debug)]
pub struct TableRows<'a> {
    table: &'a TablePreprocess,
    records: Records<'a>,
    /// Where the columns of `table` stand in a record.
    places: Vec<usize>,
    /// Fields of a record, once one has been seen.
    fields: Option<usize>,
}

impl TablePreprocess {
    /// The rows of `file`; it may have more columns than the network reads, in any order where it
    /// has a header.
    ///
    /// An error where the file is not UTF-8 or lacks a column; each row may be one of its own.
    pub fn rows<'a>(&'a self, file: &'a [u8]) -> Result<TableRows<'a>> {
        let delimiter = u8::try_from(self.delimiter).ok().filter(u8::is_ascii).unwrap_or(b',');
        let mut records = Records::new(csv::text(file)?, delimiter);
        let header = if self.header { records.next().transpose()? } else { None };
        let place = |column: &Column| match &header {
            Some(titles) => {
                let place = titles.fields.iter().position(|title| title.trim() == column.name);
                place.ok_or_else(|| no_column(&column.name, titles))
            }
            None if self.header => Err(Error::new(ErrorKind::Input, "", "has no header")),
            None => position(&column.name),
        };
        let places = self.columns.iter().map(place).collect::<Result<_>>()?;
        let fields = header.map(|titles| titles.fields.len());
        Ok(TableRows { table: self, records, places, fields })
    }
}

/// Where the column called `name` stands in a file without titles.
fn position(name: &str) -> Result<usize> {
    let number = name.parse().ok().and_then(|number: usize| number.checked_sub(1));
    number.ok_or_else(|| {
        let what = "the columns of a file without titles are called 1, 2, …";
        Error::new(ErrorKind::Input, format!("column {name:?}"), what)
    })
}

fn no_column(name: &str, titles: &Record<'_>) -> Error {
    let names: Vec<&str> = titles.fields.iter().map(|title| title.trim()).collect();
    let what = format!(
        "column {name:?}, which the model reads, is not among the titles ({}): the first line must \
         have those of the training file",
        shortened(&names.join(", "))
    );
    csv::refused(titles.line, what)
}

/// The first 60 characters.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl TableRows<'_> {
    fn row(&mut self, record: &Record<'_>) -> Result<Row> {
        let Record { line, fields } = record;
        let (line, held) = (*line, fields.len());
        let wanted = *self.fields.get_or_insert(held);
        if held != wanted {
            let of = if self.table.header { "the titles are" } else { "the first row has" };
            return Err(csv::refused(line, format!("has {held} fields, {of} {wanted}")));
        }
        let mut features = Vec::with_capacity(self.table.width());
        for (Column { name, rule }, &place) in self.table.columns.iter().zip(&self.places) {
            let refused = |what: String| csv::refused(line, format!("column {name:?}: {what}"));
            let field = fields.get(place).ok_or_else(|| refused("is not there".into()))?;
            if self.table.missing == Missing::Error && is_missing(field) {
                return Err(refused("the value is missing".into()));
            }
            rule.append(field, &mut features).map_err(refused)?;
        }
        Ok(Row { line, features })
    }
}

impl Iterator for TableRows<'_> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        Some(record.and_then(|record| self.row(&record)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::input::ColumnRule;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn table(header: bool) -> TablePreprocess {
        let [age, colour] = if header { ["age", "colour"] } else { ["1", "3"] };
        let hot = ColumnRule::OneHot { values: ["red".into(), "blue".into()].into() };
        let columns = [
            Column { name: age.into(), rule: ColumnRule::Number { mean: 2.0, std: 4.0 } },
            Column { name: colour.into(), rule: hot },
        ];
        TablePreprocess { columns: columns.into(), header, ..TablePreprocess::default() }
    }

    fn errors(table: &TablePreprocess, file: &str) -> Vec<String> {
        let rows = match table.rows(file.as_bytes()) {
            Ok(rows) => rows,
            Err(error) => return [error.to_string()].into(),
        };
        rows.filter_map(|row| row.err().map(|e| e.to_string())).collect()
    }

    #[test]
    fn columns_are_found_by_title_in_any_order() {
        let table = table(true);
        let rows = table.rows(b"class,colour, age \nyes,blue,10\n\nno,,NA\n").unwrap();
        let rows: Vec<Row> = rows.map(Result::unwrap).collect();
        let expected = [
            Row { line: 2, features: [2.0, 0.0, 1.0].into() },
            Row { line: 4, features: [0.0, 0.0, 0.0].into() },
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn without_titles_columns_go_by_position() {
        let table = table(false);
        let rows: Vec<Row> = table.rows(b"6,x,red\n").unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, [Row { line: 1, features: [1.0, 1.0, 0.0].into() }]);
        assert!(errors(&table, "6,x")[0].contains("line 1: column \"3\": is not there"));
    }

    #[test]
    fn a_bad_row_is_named_by_its_line_and_the_next_one_is_read() {
        let mut table = table(true);
        let file = "age,colour\n1,red,2\nx,red\n,red\n3,red";
        let found = errors(&table, file);
        assert_eq!(found[0], "line 2: has 3 fields, the titles are 2");
        assert_eq!(found[1], "line 3: column \"age\": \"x\" is no number");
        assert_eq!(found.len(), 2);
        table.missing = Missing::Error;
        assert_eq!(errors(&table, file)[2], "line 4: column \"age\": the value is missing");
    }

    #[test]
    fn a_file_without_the_columns_says_what_it_has() {
        let found = errors(&table(true), "height,colour\n1,red");
        assert!(found[0].contains("column \"age\"") && found[0].contains("(height, colour)"));
        assert_eq!(errors(&table(true), ""), ["has no header"]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), header in any::<bool>()) {
            let table = table(header);
            let mut file = if header { b"age,colour\n".to_vec() } else { Vec::new() };
            file.extend(bytes);
            for row in table.rows(&file).into_iter().flatten() {
                prop_assert!(row.is_err() || row.unwrap().features.len() == 3);
            }
        }
    }
}
