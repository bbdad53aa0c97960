//! Rows of a table: what each column becomes.

mod rows;

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::refused;
use crate::Result;

pub use rows::{Row, TableRows};

/// How the fields of a row become features, column by column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePreprocess {
    /// The columns that the network reads, in the order of its features.
    pub columns: Vec<Column>,
    /// Whether the first line of a file has the titles; columns are called `1`, `2`, … without.
    pub header: bool,
    /// What separates the fields of a file; ASCII.
    pub delimiter: char,
    /// What is done about missing fields.
    pub missing: Missing,
}

/// What is done about fields that say that their value is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// A missing number is the mean of the training samples, a missing category one of its own.
    #[default]
    Mean,
    /// The row is refused.
    Error,
}

/// A column that the network reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its title.
    pub name: String,
    /// What its fields become.
    pub rule: ColumnRule,
}

/// What the fields of a column become. Numbers are f32 throughout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ColumnRule {
    /// One feature, `(x - mean) / std`; 0 (the mean) where the field is missing.
    Number {
        /// Of the training samples.
        mean: f32,
        /// Of the training samples; positive.
        std: f32,
    },
    /// A feature for each value, 1 for the one that the field has and 0 for the others; all are 0
    /// for a value that was not seen in training.
    OneHot {
        /// The values seen in training; the empty text stands for a missing one.
        values: Vec<String>,
    },
    /// One feature, the standardised index in an ordered list; 0 for everything else.
    Ordinal {
        /// From the lowest to the highest.
        values: Vec<String>,
        /// Of the training samples' indices.
        mean: f32,
        /// Of the training samples' indices; positive.
        std: f32,
    },
}

impl Default for TablePreprocess {
    fn default() -> Self {
        Self { columns: Vec::new(), header: true, delimiter: ',', missing: Missing::default() }
    }
}

impl TablePreprocess {
    /// Number of features.
    pub fn width(&self) -> usize {
        self.columns.iter().map(|column| column.rule.width()).sum()
    }

    /// Checks the rules, and their number of features against the network's.
    pub fn check(&self, features: usize) -> Result<()> {
        if !self.delimiter.is_ascii() || ['"', '\n', '\r'].contains(&self.delimiter) {
            return Err(refused(format!(
                "{:?} cannot separate fields: give an ASCII character other than the quote",
                self.delimiter
            )));
        }
        for Column { name, rule } in &self.columns {
            if let ColumnRule::Number { mean, std } | ColumnRule::Ordinal { mean, std, .. } = rule
                && !(mean.is_finite() && std.is_finite() && *std > 0.0)
            {
                return Err(refused(format!(
                    "column {name:?}: mean and std must be finite, std above 0"
                )));
            }
        }
        if self.width() != features {
            return Err(refused(format!(
                "the columns give {} features, the network takes {features}",
                self.width()
            )));
        }
        Ok(())
    }
}

impl ColumnRule {
    /// Number of features.
    pub fn width(&self) -> usize {
        match self {
            Self::Number { .. } | Self::Ordinal { .. } => 1,
            Self::OneHot { values } => values.len(),
        }
    }

    /// Appends the features of `field`; the error says what is wrong with it.
    pub fn append(&self, field: &str, output: &mut Vec<f32>) -> Result<(), String> {
        match self {
            Self::Number { .. } => self.append_number(number(field)?, output),
            Self::OneHot { .. } | Self::Ordinal { .. } => {
                self.append_index(self.index(field), output);
            }
        }
        Ok(())
    }

    /// Appends the feature of a number, missing where it is `None`; nothing for categories.
    pub fn append_number(&self, number: Option<f32>, output: &mut Vec<f32>) {
        if let Self::Number { mean, std } = self {
            output.push(number.map_or(0.0, |x| (x - mean) / std));
        }
    }

    /// Appends the features of value `index` of the list, `None` for all others; nothing for numbers.
    pub fn append_index(&self, index: Option<usize>, output: &mut Vec<f32>) {
        match self {
            Self::Number { .. } => {}
            Self::OneHot { values } => {
                output.extend((0..values.len()).map(|i| if Some(i) == index { 1.0 } else { 0.0 }));
            }
            Self::Ordinal { mean, std, .. } => {
                output.push(index.map_or(0.0, |i| (i as f32 - mean) / std));
            }
        }
    }

    /// Where `field` stands in the list of values.
    pub fn index(&self, field: &str) -> Option<usize> {
        let field = if is_missing(field) { "" } else { field.trim() };
        match self {
            Self::Number { .. } => None,
            Self::OneHot { values } | Self::Ordinal { values, .. } => {
                values.iter().position(|value| value == field)
            }
        }
    }
}

/// Whether a field says that its value is not known: empty, `?`, `NA`, `N/A`, `NaN`, `null`.
pub fn is_missing(field: &str) -> bool {
    let field = field.trim();
    let words = ["?", "na", "n/a", "nan", "null"];
    field.is_empty() || words.iter().any(|word| field.eq_ignore_ascii_case(word))
}

/// The number in `field`; `None` where it is missing. The error says what is there instead.
pub fn number(field: &str) -> Result<Option<f32>, String> {
    if is_missing(field) {
        return Ok(None);
    }
    match field.trim().parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(Some(number)),
        Ok(_) => Err(format!("{:?} is beyond the largest number", field.trim().to_owned())),
        Err(_) => Err(format!("{:?} is no number", field.trim().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn features(rule: &ColumnRule, field: &str) -> Vec<f32> {
        let mut output = Vec::new();
        rule.append(field, &mut output).unwrap();
        assert_eq!(output.len(), rule.width());
        output
    }

    fn list(values: &[&str]) -> Vec<String> {
        values.iter().map(|&value| value.into()).collect()
    }

    #[test]
    fn numbers_are_standardised_and_missing_ones_are_the_mean() {
        let rule = ColumnRule::Number { mean: 10.0, std: 4.0 };
        assert_eq!(features(&rule, " 12 "), [0.5]);
        assert_eq!(features(&rule, "1e1"), [0.0]);
        for missing in ["", "?", "NA", "n/a", "NaN", "null"] {
            assert_eq!(features(&rule, missing), [0.0]);
        }
        let mut output = Vec::new();
        assert_eq!(rule.append("red", &mut output).unwrap_err(), "\"red\" is no number");
        assert!(rule.append("inf", &mut output).unwrap_err().contains("beyond"));
        assert!(output.is_empty());
    }

    #[test]
    fn an_unknown_category_is_nothing_and_a_missing_one_its_own() {
        let rule = ColumnRule::OneHot { values: list(&["red", "green"]) };
        assert_eq!(features(&rule, " green"), [0.0, 1.0]);
        assert_eq!(features(&rule, "blue"), [0.0, 0.0]);
        assert_eq!(features(&rule, ""), [0.0, 0.0]);
        let rule = ColumnRule::OneHot { values: list(&["", "red"]) };
        assert_eq!(features(&rule, "NA"), [1.0, 0.0]);
        assert_eq!(features(&rule, "red"), [0.0, 1.0]);
    }

    #[test]
    fn an_ordinal_is_its_standardised_index() {
        let rule = ColumnRule::Ordinal { values: list(&["S", "M", "L"]), mean: 1.0, std: 0.5 };
        assert_eq!(features(&rule, "L"), [2.0]);
        assert_eq!(features(&rule, "XL"), [0.0]);
    }

    #[test]
    fn the_features_must_be_the_networks() {
        let name = String::from("colour");
        let rule = ColumnRule::OneHot { values: list(&["red", "green"]) };
        let mut table =
            TablePreprocess { columns: [Column { name, rule }].into(), ..Default::default() };
        table.check(2).unwrap();
        assert!(table.check(3).unwrap_err().message().contains("give 2 features"));
        table.columns[0].rule = ColumnRule::Number { mean: 0.0, std: 0.0 };
        assert!(table.check(1).unwrap_err().message().contains("column \"colour\""));
        table.delimiter = '"';
        assert!(table.check(1).unwrap_err().message().contains("cannot separate"));
    }
}
