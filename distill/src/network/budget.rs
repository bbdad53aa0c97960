//! The widest network that fits a size: of its int8 file, or of its parameters.

use std::fmt;
use std::str::FromStr;

use hipflask_quantize::{Calibration, Method, Range, prepare, to_int8};
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::Graph;
use serde::{Deserialize, Serialize};

use super::{HIDDEN, NetworkSpec, SIZES, WIDTHS};
use crate::{Error, ErrorKind, Result};

/// Bytes left for what a file says besides network and class names: preprocessing, teacher, figures.
const CARD_BYTES: u64 = 512;
/// Bytes left for each value, whose measured scale may need more digits than the one stood in.
const VALUE_BYTES: u64 = 2;

/// Units of bytes, and units of parameters.
const BYTES: [(&str, f64); 6] =
    [("B", 1.0), ("kB", 1e3), ("KB", 1e3), ("KiB", 1024.0), ("MB", 1e6), ("MiB", 1_048_576.0)];
const PARAMETERS: [(&str, f64); 3] = [("params", 1.0), ("k params", 1e3), ("M params", 1e6)];

/// Most that a student may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SizeBudget {
    /// Bytes of its int8 file, as `100 KiB`.
    Bytes(u64),
    /// Trained parameters, as `12000 params`.
    Parameters(u64),
}

/// A network that was chosen to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The network with its size.
    pub spec: NetworkSpec,
    /// Bytes of its int8 file, with what measured scales and figures may add; 0 where parameters
    /// were counted.
    pub bytes: u64,
    /// Its trained parameters.
    pub parameters: usize,
}

impl SizeBudget {
    /// The widest network of the kind of `spec` that fits, by bisection: of an `mlp` with hidden
    /// layers in the same proportions.
    ///
    /// `labels` are the class names that its file will hold. Fails where even the narrowest does not
    /// fit, and where there is no width to choose.
    pub fn widest(self, spec: &NetworkSpec, input: &[usize], labels: &[String]) -> Result<Fit> {
        let refuse = |message: String| Error::new(ErrorKind::Config, "size_budget", message);
        if spec.width.is_some() {
            return Err(refuse("chooses the width: leave `width` out".into()));
        }
        let Some(name) = spec.network.as_deref() else {
            let message = "chooses the width of a network by name: `layers` have their own sizes";
            return Err(refuse(message.into()));
        };
        if name == "mlp" && spec.hidden.as_ref().is_some_and(Vec::is_empty) {
            return Err(refuse("chooses the sizes in `hidden`, and there is none".into()));
        }
        let (least, most) = match name {
            "mlp" => (*SIZES.start(), *SIZES.end()),
            _ => (*WIDTHS.start(), *WIDTHS.end()),
        };
        let narrowest = sized(spec, least);
        let Some(mut best) = self.try_fit(&narrowest, input, labels)? else {
            let needed = match self {
                Self::Bytes(_) => format!("{} bytes", int8_bytes(&narrowest, input, labels)?),
                Self::Parameters(_) => {
                    format!("{} parameters", narrowest.plan(input, labels.len())?.0.parameters())
                }
            };
            return Err(refuse(format!(
                "{self} is too small: {} takes {needed}; allow more, or choose another network or \
                 a smaller depth",
                narrowest.describe()
            )));
        };
        // Whatever cannot be built is too large: the narrowest was.
        let (mut fits, mut too_large) = (least, most + 1);
        while too_large - fits > 1 {
            // Doubles first: most budgets are far below the largest network.
            let middle = (2 * fits).min(fits + (too_large - fits) / 2);
            match self.try_fit(&sized(spec, middle), input, labels).ok().flatten() {
                Some(fit) => (fits, best) = (middle, fit),
                None => too_large = middle,
            }
        }
        Ok(best)
    }

    fn try_fit(
        self,
        spec: &NetworkSpec,
        input: &[usize],
        labels: &[String],
    ) -> Result<Option<Fit>> {
        // Counted before anything is allocated.
        let parameters = spec.plan(input, labels.len())?.0.parameters();
        let most = match self {
            Self::Bytes(most) | Self::Parameters(most) => most,
        };
        if parameters as u64 > most {
            return Ok(None);
        }
        let bytes = match self {
            Self::Bytes(_) => int8_bytes(spec, input, labels)?,
            Self::Parameters(_) => 0,
        };
        Ok((bytes <= most).then(|| Fit { spec: spec.clone(), bytes, parameters }))
    }
}

/// `spec` with the width `size`, or hidden layers of which the largest is that.
fn sized(spec: &NetworkSpec, size: usize) -> NetworkSpec {
    if spec.network.as_deref() != Some("mlp") {
        return NetworkSpec { width: Some(size), ..spec.clone() };
    }
    let hidden = spec.hidden.as_deref().unwrap_or(&HIDDEN);
    let largest = hidden.iter().copied().max().unwrap_or(1).max(1);
    let scaled = hidden.iter().map(|&units| (units * size).div_ceil(largest).max(1));
    NetworkSpec { hidden: Some(scaled.collect()), ..spec.clone() }
}

/// Most bytes of the int8 file: weights take the same whatever they are.
fn int8_bytes(spec: &NetworkSpec, input: &[usize], labels: &[String]) -> Result<u64> {
    let graph = spec.build(input, labels.len(), 0)?;
    let int8 = stand_in(&graph).map_err(|e| {
        Error::new(ErrorKind::Config, "size_budget", format!("the network has no int8 form: {e}"))
    })?;
    let values = int8.values.len() as u64;
    let card = Card { labels: labels.to_vec(), ..Card::default() };
    let file = ModelFile { graph: int8, preprocess: None, card };
    Ok(file.to_bytes().len() as u64 + values * VALUE_BYTES + CARD_BYTES)
}

/// The int8 form with ranges that nothing measured.
fn stand_in(graph: &Graph) -> Result<Graph, hipflask_quantize::Error> {
    let prepared = prepare(graph)?;
    let ranges = vec![Range { min: 0.0, max: 1.0 }; prepared.values.len()];
    let methods = vec![Method::MinMax; prepared.values.len()];
    to_int8(&prepared, &Calibration { ranges, methods, samples: 1 })
}

impl fmt::Display for SizeBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bytes(bytes) if bytes > 0 && bytes % 1024 == 0 => {
                write!(f, "{} KiB", bytes / 1024)
            }
            Self::Bytes(bytes) => write!(f, "{bytes} B"),
            Self::Parameters(count) => write!(f, "{count} params"),
        }
    }
}

impl FromStr for SizeBudget {
    type Err = String;

    /// A number and a unit, with or without spaces: `100 KiB`, `1.5MB`, `12000 params`, `12k params`.
    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.split_whitespace().collect::<Vec<_>>().join(" ");
        let find = |units: &[(&str, f64)]| {
            units.iter().find(|(known, _)| *known == unit).map(|&(_, times)| times)
        };
        let wrong = || {
            format!(
                "{text:?} is no size: write a number and a unit (B, kB, KiB, MB, MiB or params), as \
                 \"100 KiB\" or \"12000 params\""
            )
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let whole = |times: f64| (number * times).floor() as u64;
        match (find(&BYTES), find(&PARAMETERS)) {
            (Some(times), _) if number > 0.0 => Ok(Self::Bytes(whole(times))),
            (_, Some(times)) if number > 0.0 => Ok(Self::Parameters(whole(times))),
            _ => Err(wrong()),
        }
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
