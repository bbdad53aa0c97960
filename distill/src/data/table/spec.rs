//! The `[data.table]` table of a recipe.

use std::collections::BTreeMap;

use hipflask_runtime::input::Missing;
use serde::{Deserialize, Serialize};

/// What the columns of a table are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TableSpec {
    /// Column with the class of each row, its name or number; without it rows are unlabelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Columns that the network does not see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Columns of categories whose fields look like numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categorical: Vec<String>,
    /// Columns of categories that have an order, each with its categories from the lowest on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ordinal: BTreeMap<String, Vec<String>>,
    /// Whether the first line has the titles; without them columns are called "1", "2", …
    pub header: bool,
    /// What separates the fields; the comma for CSV, the tabulator for TSV without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// What is done about missing fields.
    pub missing: Missing,
}

impl Default for TableSpec {
    fn default() -> Self {
        Self {
            target: None,
            ignore: Vec::new(),
            categorical: Vec::new(),
            ordinal: BTreeMap::new(),
            header: true,
            delimiter: None,
            missing: Missing::default(),
        }
    }
}

impl TableSpec {
    /// Whether it says nothing, so that recipes without tables need not show it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The keys that name columns, each with those columns.
    pub(super) fn named(&self) -> Vec<(&'static str, &str)> {
        let lists = [
            ("data.table.target", self.target.as_slice()),
            ("data.table.ignore", &self.ignore),
            ("data.table.categorical", &self.categorical),
        ];
        let named = lists.into_iter().flat_map(|(key, names)| names.iter().map(move |n| (key, n)));
        let ordinal = self.ordinal.keys().map(|name| ("data.table.ordinal", name));
        named.chain(ordinal).map(|(key, name)| (key, name.as_str())).collect()
    }
}
