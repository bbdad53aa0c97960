//! All but a small share of values at each end (McKinstry et al. 2018).

use super::{Histogram, Observer};

/// Cuts a share of `1 - quantile` off each end.
#[derive(Clone, Debug)]
pub struct Percentile {
    quantile: f64,
    histogram: Histogram,
}

impl Percentile {
    /// `quantile` in (0.5, 1].
    pub fn new(quantile: f64) -> Self {
        assert!(quantile > 0.5 && quantile <= 1.0, "a quantile of {quantile} is not in (0.5, 1]");
        Self { quantile, histogram: Histogram::default() }
    }
}

impl Observer for Percentile {
    fn observe(&mut self, values: &[f32]) {
        self.histogram.observe(values);
    }

    fn range(&self) -> (f32, f32) {
        let (min, max) = self.histogram.extremes();
        let cut = ((1.0 - self.quantile) * self.histogram.total() as f64) as u64;
        let half = self.histogram.width() / 2.0;
        let edge = |mut bins: Box<dyn Iterator<Item = (f64, u64)> + '_>| {
            let mut passed = 0;
            bins.find_map(|(centre, count)| {
                passed += count;
                (passed > cut).then_some(centre)
            })
        };
        let low = edge(Box::new(self.histogram.occupied()));
        let bins: Vec<_> = self.histogram.occupied().collect();
        let high = edge(Box::new(bins.into_iter().rev()));
        match (low, high) {
            (Some(low), Some(high)) => {
                (min.max((low - half) as f32), max.min((high + half) as f32))
            }
            _ => (min, max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outlier_in_a_hundred_thousand_is_cut_off() {
        let mut observer = Percentile::new(0.9999);
        let mut values: Vec<f32> = (0..100_000).map(|i| i as f32 / 100_000.0).collect();
        values.push(50.0);
        observer.observe(&values);
        let (min, max) = observer.range();
        assert!(min.abs() < f32::EPSILON, "{min}");
        // The histogram reaches to 64, so its bins are 64 / 4096 wide.
        assert!((max - 1.0).abs() < 64.0 / 4096.0, "{max}");
    }

    #[test]
    fn few_values_keep_their_extremes() {
        let mut observer = Percentile::new(0.9999);
        observer.observe(&[-3.0, 0.5, 7.0]);
        let (min, max) = observer.range();
        assert!((min + 3.0).abs() < 0.01 && (max - 7.0).abs() < 0.01, "{min} {max}");
    }
}
