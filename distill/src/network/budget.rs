//! Budgets as recipes and flags write them: how large a student may be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::amount;

/// Most that a student may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SizeBudget {
    /// Bytes of its int8 file, as `100 KiB`.
    Bytes(u64),
    /// Bytes for the values of an inference in int8, as `64 KiB ram`.
    Ram(u64),
    /// Multiply-accumulates of an inference, as `5M macs`.
    Macs(u64),
    /// Trained parameters, as `12000 params`.
    Parameters(u64),
}

impl fmt::Display for SizeBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: u64| match bytes {
            1.. if bytes.is_multiple_of(1024) => format!("{} KiB", bytes / 1024),
            _ => format!("{bytes} B"),
        };
        match *self {
            Self::Bytes(bytes) => f.write_str(&size(bytes)),
            Self::Ram(bytes) => write!(f, "{} ram", size(bytes)),
            Self::Macs(count) => write!(f, "{count} macs"),
            Self::Parameters(count) => write!(f, "{count} params"),
        }
    }
}

impl FromStr for SizeBudget {
    type Err = String;

    /// A number with a unit, then of what, with or without spaces: `100 KiB`, `1.5MB`, `64K ram`,
    /// `5M macs`, `12000 params`, `12k params`.
    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let is_bare = trimmed.chars().all(|c| c.is_ascii_digit() || c == '.');
        let found = if let Some(count) = trimmed.strip_suffix("params") {
            amount::count(count).map(Self::Parameters)
        } else if let Some(count) = trimmed.strip_suffix("macs") {
            amount::count(count).map(Self::Macs)
        } else if let Some(bytes) = trimmed.strip_suffix("ram") {
            amount::bytes(bytes).map(Self::Ram)
        } else {
            amount::bytes(trimmed).filter(|_| !is_bare).map(Self::Bytes)
        };
        found.ok_or_else(|| {
            format!(
                "{text:?} is no size: write a number and a unit (B, K, KiB, kB, M, MiB, MB, params, \
                 macs, or bytes of ram), as \"100 KiB\", \"64 KiB ram\", \"5M macs\" or \"12000 \
                 params\""
            )
        })
    }
}

impl TryFrom<String> for SizeBudget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SizeBudget> for String {
    fn from(budget: SizeBudget) -> Self {
        budget.to_string()
    }
}
