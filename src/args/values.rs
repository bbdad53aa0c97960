//! How the values of flags are read.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use hipflask_quantize::Method;
use hipflask_runtime::groups::Groups;

use crate::bundle::target::BOARDS;

pub(super) fn board_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(BOARDS.map(|board| board.name))
}

pub(super) fn points(text: &str) -> Result<f64, String> {
    number(text, 0.0..=100.0, "percentage points from 0 to 100")
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    parsed
        .ok_or_else(|| "it must be a number of seconds, minutes or hours, as 90s, 10m or 1h".into())
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1.0, "a fraction from 0 to 1, as 0.95")
}

fn number(text: &str, range: RangeInclusive<f64>, wanted: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| format!("it must be {wanted}"))
}

pub(super) fn positive() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=10_000_000)
}

pub(super) fn threads(text: &str) -> Result<usize, String> {
    let most = hipflask_runtime::Options::MOST_THREADS;
    text.parse().ok().filter(|n| (1..=most).contains(n)).ok_or(format!("a number from 1 to {most}"))
}

pub(super) fn group_size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| Groups::SIZES.contains(n)).ok_or("32, 64 or 128".into())
}

pub(super) fn method_parser() -> impl TypedValueParser<Value = Method> {
    PossibleValuesParser::new(Method::ALL.map(|(name, _)| name)).map(|name| {
        Method::ALL.iter().find(|(known, _)| *known == name).map_or(Method::default(), |m| m.1)
    })
}
