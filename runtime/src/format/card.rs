//! The card: what the model is for, where it comes from, what was measured.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Facts about a model that travel with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Card {
    /// What it does, as `classification`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task: String,
    /// Data set it was trained on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dataset: String,
    /// Class names, in the order of the outputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Teacher that it was distilled from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherCard>,
    /// Measured figures by name, as `accuracy`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Licence of the weights.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub licence: String,
}

/// The teacher of a student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherCard {
    /// Its network or file name.
    pub name: String,
    /// SHA-256 of its weights, in hexadecimal.
    pub fingerprint: String,
}
