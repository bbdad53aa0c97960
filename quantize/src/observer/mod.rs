//! Observers gather the range of one activation over all calibration samples, in constant memory.

mod histogram;
mod min_max;
mod mse;
mod percentile;

pub use histogram::Histogram;
pub use min_max::MinMax;
pub use mse::Mse;
pub use percentile::Percentile;

/// Gathers one value's range.
pub trait Observer {
    /// Takes in one sample's values; all finite.
    fn observe(&mut self, values: &[f32]);

    /// The `(min, max)` that int8 should cover; `(0, 0)` before any sample.
    fn range(&self) -> (f32, f32);
}

/// How ranges are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The smallest and largest value seen.
    MinMax,
    /// All but the outermost 0.01 % at each end.
    Percentile,
    /// The range with the least mean squared quantization error.
    #[default]
    Mse,
}

impl Method {
    /// All of them, with the names used in recipes and on the command line.
    pub const ALL: [(&'static str, Self); 3] =
        [("min-max", Self::MinMax), ("percentile", Self::Percentile), ("mse", Self::Mse)];

    /// A new observer of this kind.
    pub fn observer(self) -> Box<dyn Observer> {
        match self {
            Self::MinMax => Box::new(MinMax::default()),
            Self::Percentile => Box::new(Percentile::new(0.9999)),
            Self::Mse => Box::new(Mse::default()),
        }
    }
}
