//! Temperatures: constant, or moving over the run.

use std::f64::consts::PI;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Moment;
use crate::{Error, ErrorKind, Result};

/// Divides logits before a softmax: finite and greater than 0. Higher is softer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Temperature(f64);

impl Temperature {
    /// Fails unless `value` is finite and greater than 0.
    pub fn new(value: f64) -> Result<Self> {
        if value.is_finite() && value > 0.0 {
            return Ok(Self(value));
        }
        let message = format!("{value} must be finite and greater than 0; 4 is a usual choice");
        Err(Error::new(ErrorKind::Config, "temperature", message))
    }

    /// 1: probabilities as they are.
    pub const fn one() -> Self {
        Self(1.0)
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Temperature {
    /// 4, the value of most published comparisons (CRD, DKD).
    fn default() -> Self {
        Self(4.0)
    }
}

impl TryFrom<f64> for Temperature {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self> {
        Self::new(value)
    }
}

impl From<Temperature> for f64 {
    fn from(temperature: Temperature) -> Self {
        temperature.0
    }
}

/// A temperature over the run, as a recipe writes it: `4.0`, or
/// `{ from = 8.0, to = 1.0, kind = "cosine" }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TemperatureSchedule {
    /// The same from first to last.
    Constant(Temperature),
    /// From one to another, step by step.
    Ramp(Ramp),
}

/// A temperature that moves from the first step to the last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// At the first step.
    pub from: Temperature,
    /// After the last step.
    pub to: Temperature,
    /// How it gets there.
    #[serde(default)]
    pub kind: Curve,
}

/// The way from one value to another over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curve {
    /// In equal steps.
    #[default]
    Linear,
    /// Half a cosine: slow, fast, slow.
    Cosine,
}

impl TemperatureSchedule {
    /// The temperature at `moment`.
    pub fn at(&self, moment: Moment) -> f64 {
        match self {
            Self::Constant(temperature) => temperature.get(),
            Self::Ramp(Ramp { from, to, kind }) => {
                let share = match kind {
                    Curve::Linear => moment.share(),
                    Curve::Cosine => 0.5 * (1.0 - (PI * moment.share()).cos()),
                };
                from.get() + (to.get() - from.get()) * share
            }
        }
    }
}

impl Default for TemperatureSchedule {
    fn default() -> Self {
        Temperature::default().into()
    }
}

impl From<Temperature> for TemperatureSchedule {
    fn from(temperature: Temperature) -> Self {
        Self::Constant(temperature)
    }
}

impl<'de> Deserialize<'de> for TemperatureSchedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrRamp)
    }
}

/// Reads by type rather than by trial, so that an error names the key that is wrong.
struct NumberOrRamp;

impl<'de> Visitor<'de> for NumberOrRamp {
    type Value = TemperatureSchedule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or { from = …, to = …, kind = \"linear\" or \"cosine\" }")
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Temperature::new(value).map(Into::into).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ramp::deserialize(MapAccessDeserializer::new(map)).map(TemperatureSchedule::Ramp)
    }
}
