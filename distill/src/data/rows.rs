//! Rows of a table as columns: numbers, or texts by their place in a list.

use std::sync::Arc;

use hipflask_runtime::input::table;

use crate::fingerprint::Fingerprint;

/// Rows of a table, column by column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    columns: Vec<RowsColumn>,
    len: usize,
}

/// One column of [`Rows`].
#[derive(Clone, Debug, PartialEq)]
pub struct RowsColumn {
    /// Its title.
    pub name: String,
    /// One field a row.
    pub fields: Fields,
}

/// The fields of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Fields {
    /// Numbers, NaN where one is missing.
    Numbers(Vec<f32>),
    /// Texts without space around them.
    Texts {
        /// Each text once, in the order of their appearance.
        values: Arc<[String]>,
        /// For each row the place of its text in `values`.
        codes: Vec<u32>,
    },
}

impl Rows {
    /// Rows of `columns`.
    ///
    /// # Panics
    ///
    /// When they differ in length.
    pub fn new(columns: Vec<RowsColumn>) -> Self {
        let len = columns.first().map_or(0, |column| column.fields.len());
        let same = columns.iter().all(|column| column.fields.len() == len);
        assert!(same, "the columns of a table have as many fields each");
        Self { columns, len }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The columns in the order of the file.
    pub fn columns(&self) -> &[RowsColumn] {
        &self.columns
    }

    /// The rows `indices`, in that order.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let columns = self.columns.iter().map(|RowsColumn { name, fields }| RowsColumn {
            name: name.clone(),
            fields: fields.select(indices),
        });
        Self { columns: columns.collect(), len: indices.len() }
    }

    /// Adds the rows of `more` at the end; gives them back where their columns are others.
    pub(super) fn append(&mut self, more: Self) -> Result<(), Self> {
        let same = |(own, other): (&RowsColumn, &RowsColumn)| {
            own.name == other.name
                && matches!(own.fields, Fields::Numbers(_))
                    == matches!(other.fields, Fields::Numbers(_))
        };
        let count = self.columns.len() == more.columns.len();
        if !count || !self.columns.iter().zip(&more.columns).all(same) {
            return Err(more);
        }
        self.len += more.len;
        for (own, other) in self.columns.iter_mut().zip(more.columns) {
            own.fields.append(other.fields);
        }
        Ok(())
    }

    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint) {
        fingerprint.numbers([self.len as u64].into_iter());
        for RowsColumn { name, fields } in &self.columns {
            fingerprint.bytes(name.as_bytes());
            match fields {
                Fields::Numbers(numbers) => {
                    fingerprint.numbers(numbers.iter().map(|v| u64::from(v.to_bits())));
                }
                Fields::Texts { values, codes } => {
                    fingerprint.bytes(values.join("\n").as_bytes());
                    fingerprint.numbers(codes.iter().map(|&code| u64::from(code)));
                }
            }
        }
    }
}

impl Fields {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts { codes, .. } => codes.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds fields of the same kind.
    fn append(&mut self, more: Self) {
        match (self, more) {
            (Self::Numbers(numbers), Self::Numbers(more)) => numbers.extend(more),
            (Self::Texts { values, codes }, Self::Texts { values: other, codes: more }) => {
                let mut all = values.to_vec();
                let places: Vec<u32> = other
                    .iter()
                    .map(|text| {
                        let known = all.iter().position(|value| value == text);
                        known.unwrap_or_else(|| {
                            all.push(text.clone());
                            all.len() - 1
                        }) as u32
                    })
                    .collect();
                codes.extend(more.into_iter().map(|code| places[code as usize]));
                *values = all.into();
            }
            _ => {}
        }
    }

    fn select(&self, indices: &[usize]) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(indices.iter().map(|&i| numbers[i]).collect()),
            Self::Texts { values, codes } => Self::Texts {
                values: values.clone(),
                codes: indices.iter().map(|&i| codes[i]).collect(),
            },
        }
    }

    /// The numbers in the texts, one for each of `values`, NaN where one is missing; the error says
    /// which is none.
    pub(super) fn numbers_in(values: &[String]) -> Result<Vec<f32>, String> {
        values.iter().map(|text| Ok(table::number(text)?.unwrap_or(f32::NAN))).collect()
    }
}
