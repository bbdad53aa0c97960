//! What the student may take on the board: the table `[budget]` and the flag `--fit`.

use std::str::FromStr;

use hipflask_distill::network::amount;
use serde::{Deserialize, Serialize};

use super::suggest::unknown;

/// Most that the student may take; what is left out is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetTable {
    /// Bytes for all values of an inference, as `256K`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram: Option<Bytes>,
    /// Bytes of the model file, as `1M`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash: Option<Bytes>,
    /// Multiply-accumulates of an inference, as `20M`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs: Option<Macs>,
    /// Median time of an inference on this machine, as `5ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

impl BudgetTable {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

/// A number of multiply-accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Macs(pub u64);

/// A time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Latency(pub f64);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        amount::bytes(&text).map(Self).ok_or_else(|| {
            format!("{text:?} is no number of bytes: write it as \"256K\", \"1M\" or \"100 kB\"")
        })
    }
}

impl TryFrom<String> for Macs {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        amount::count(&text).map(Self).ok_or_else(|| {
            format!(
                "{text:?} is no number of multiply-accumulates: write it as \"20M\" or \"500k\""
            )
        })
    }
}

impl TryFrom<String> for Latency {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        amount::microseconds(&text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no time: write it as \"5ms\" or \"250us\""))
    }
}

impl From<Bytes> for String {
    fn from(Bytes(bytes): Bytes) -> Self {
        match bytes {
            1.. if bytes.is_multiple_of(1024) => format!("{}K", bytes / 1024),
            _ => bytes.to_string(),
        }
    }
}

impl From<Macs> for String {
    fn from(Macs(macs): Macs) -> Self {
        macs.to_string()
    }
}

impl From<Latency> for String {
    fn from(Latency(microseconds): Latency) -> Self {
        format!("{microseconds}us")
    }
}

impl FromStr for BudgetTable {
    type Err = String;

    /// Keys and values as `ram=256K,flash=1M`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut table = Self::default();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?}: write limits as ram=256K,flash=1M"))?;
            let value = value.to_string();
            match key.trim() {
                "ram" => table.ram = Some(value.try_into()?),
                "flash" => table.flash = Some(value.try_into()?),
                "macs" => table.macs = Some(value.try_into()?),
                "latency" => table.latency = Some(value.try_into()?),
                key => {
                    let keys = ["ram", "flash", "macs", "latency"];
                    return Err(unknown("limit", key, "of a budget", &keys));
                }
            }
        }
        Ok(table)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{BudgetTable, Bytes, Latency, Macs};

    #[test]
    fn limits_are_read_from_a_flag_and_written_as_toml_that_reads_the_same() {
        let text = "ram=256K,flash=1M,macs=20M,latency=5ms";
        let table: BudgetTable = text.parse().unwrap();
        let expected = BudgetTable {
            ram: Some(Bytes(262_144)),
            flash: Some(Bytes(1_048_576)),
            macs: Some(Macs(20_000_000)),
            latency: Some(Latency(5000.0)),
        };
        assert_eq!(table, expected);
        assert!(!table.is_empty() && BudgetTable::default().is_empty());
        let written = toml::to_string(&table).unwrap();
        assert!(written.starts_with("ram = \"256K\"\nflash = \"1024K\"\n"), "{written}");
        assert_eq!(toml::from_str::<BudgetTable>(&written).unwrap(), expected);
    }

    #[test]
    fn what_is_no_limit_is_refused_with_what_it_should_be() {
        for (text, part) in [
            ("ram", "write limits as ram=256K"),
            ("ram=many", "\"many\" is no number of bytes"),
            ("macs=1KiB", "\"1KiB\" is no number of multiply-accumulates"),
            ("latency=5", "\"5\" is no time: write it as \"5ms\""),
            ("rum=1K", "did you mean \"ram\"?"),
        ] {
            let error = text.parse::<BudgetTable>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
