//! An observer gathers what the range of one activation is chosen by, over all calibration samples,
//! in constant memory.

mod entropy;
mod histogram;
mod min_max;
mod moving_average;
mod mse;
mod percentile;
mod search;

pub use histogram::Histogram;
pub use min_max::MinMax;
pub use moving_average::MovingAverage;

/// How ranges are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The smallest and largest value seen.
    MinMax,
    /// The mean of the samples' smallest and largest values, moving after the first hundred.
    MovingAverage,
    /// All but the outermost 0.01 % at each end.
    Percentile,
    /// The range that changes the distribution least, by its Kullback–Leibler divergence.
    Entropy,
    /// The range with the least mean squared quantization error.
    #[default]
    Mse,
    /// For each value the one of the others with the least squared error on held samples.
    Auto,
}

/// Share of values within the range of [`Method::Percentile`] at each end (McKinstry et al. 2018).
const QUANTILE: f64 = 0.9999;

impl Method {
    /// All of them, with the names used in recipes and on the command line.
    pub const ALL: [(&'static str, Self); 6] = [
        ("min-max", Self::MinMax),
        ("moving-average", Self::MovingAverage),
        ("percentile", Self::Percentile),
        ("entropy", Self::Entropy),
        ("mse", Self::Mse),
        ("auto", Self::Auto),
    ];

    /// Those among which it chooses by held samples: itself alone, but for [`Method::Auto`].
    pub fn candidates(self) -> Vec<Self> {
        let fixed = Self::ALL.map(|(_, method)| method).into_iter();
        match self {
            Self::Auto => fixed.filter(|&method| method != Self::Auto).collect(),
            fixed => vec![fixed],
        }
    }

    /// The name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }

    const fn needs_histogram(self) -> bool {
        !matches!(self, Self::MinMax | Self::MovingAverage)
    }
}

/// Gathers one value's range.
#[derive(Clone, Debug)]
pub struct Observer {
    min_max: MinMax,
    moving_average: MovingAverage,
    /// Only where the method looks at it: it is the large part.
    histogram: Option<Histogram>,
}

impl Observer {
    /// One that can answer for `method`.
    pub fn new(method: Method) -> Self {
        Self {
            min_max: MinMax::default(),
            moving_average: MovingAverage::default(),
            histogram: method.needs_histogram().then(Histogram::default),
        }
    }

    /// Takes in one sample's values; all finite.
    pub fn observe(&mut self, values: &[f32]) {
        self.min_max.observe(values);
        self.moving_average.observe(values);
        if let Some(histogram) = &mut self.histogram {
            histogram.observe(values);
        }
    }

    /// The `(min, max)` that int8 should cover by `method`; `(0, 0)` before any sample.
    ///
    /// [`Method::Auto`] has no held samples here and answers as [`Method::Mse`]. Panics when the
    /// observer was made for a method that needs less.
    pub fn range(&self, method: Method) -> (f32, f32) {
        let histogram = || self.histogram.as_ref().expect("made for a method with a histogram");
        match method {
            Method::MinMax => self.min_max.range(),
            Method::MovingAverage => self.moving_average.range(),
            Method::Percentile => percentile::range(histogram(), QUANTILE),
            Method::Entropy => entropy::range(histogram()),
            Method::Mse | Method::Auto => mse::range(histogram()),
        }
    }
}
