//! Amounts as people write them: bytes, counts, times.

/// Units of bytes. A letter alone and the binary units count in 1024, the decimal ones in 1000.
const BYTES: [(&str, f64); 14] = [
    ("", 1.0),
    ("B", 1.0),
    ("K", KIB),
    ("k", KIB),
    ("M", KIB * KIB),
    ("G", KIB * KIB * KIB),
    ("KiB", KIB),
    ("MiB", KIB * KIB),
    ("GiB", KIB * KIB * KIB),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("bytes", 1.0),
];
const KIB: f64 = 1024.0;

const COUNTS: [(&str, f64); 5] = [("", 1.0), ("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9)];

const MICROSECONDS: [(&str, f64); 5] =
    [("us", 1.0), ("µs", 1.0), ("μs", 1.0), ("ms", 1e3), ("s", 1e6)];

/// Whole bytes in `text`, as `256K` (of 1024), `1.5 MiB`, `100 kB` (of 1000) or `2048`; `None` where
/// it is no such amount, or 0.
pub fn bytes(text: &str) -> Option<u64> {
    whole(text, &BYTES)
}

/// The number that `text` says, as `20M`, `300k` or `12000`; `None` where it is none, or 0.
pub fn count(text: &str) -> Option<u64> {
    whole(text, &COUNTS)
}

/// Microseconds in `text`, as `5ms`, `250us` or `0.1 s`; `None` where it is no such time, or 0.
pub fn microseconds(text: &str) -> Option<f64> {
    amount(text, &MICROSECONDS)
}

fn whole(text: &str, units: &[(&str, f64)]) -> Option<u64> {
    let value = amount(text, units)?.floor();
    // Beyond this not every whole number is an f64.
    (1.0..=9e15).contains(&value).then_some(value as u64)
}

/// A number above 0 and a unit, with or without spaces around them.
fn amount(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let times = units.iter().find(|(known, _)| *known == unit.trim())?.1;
    let value = number.parse::<f64>().ok()? * times;
    (value.is_finite() && value > 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, microseconds};

    #[test]
    fn amounts_are_read_with_their_units() {
        for (text, expected) in [
            ("256K", 262_144),
            ("1M", 1_048_576),
            ("1.5 MiB", 1_572_864),
            ("2G", 2_147_483_648),
            ("100 kB", 100_000),
            ("100 KB", 100_000),
            (" 2048 ", 2048),
            ("1 B", 1),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for (text, expected) in [("20M", 20_000_000), ("300k", 300_000), ("0.5 G", 500_000_000)] {
            assert_eq!(count(text), Some(expected), "{text}");
        }
        for (text, expected) in [("5ms", 5e3), ("250 us", 250.0), ("7µs", 7.0), ("0.5s", 5e5)] {
            assert_eq!(microseconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in ["", "K", "-1K", "0", "0.2 B", "1e9", "1.2.3M", "NaN B", "1 Kib", "1T"] {
            assert_eq!(bytes(text), None, "{text}");
        }
        for text in ["", "20 KiB", "M", "0k", "99999999999999999999"] {
            assert_eq!(count(text), None, "{text}");
        }
        for text in ["5", "5 minutes", "0ms", "ms"] {
            assert_eq!(microseconds(text), None, "{text}");
        }
    }
}
