//! All but a small share of values at each end (McKinstry et al. 2018).

use super::Histogram;

/// Cuts a share of `1 - quantile` off each end; `quantile` is in (0.5, 1].
pub(super) fn range(histogram: &Histogram, quantile: f64) -> (f32, f32) {
    assert!(quantile > 0.5 && quantile <= 1.0, "a quantile of {quantile} is not in (0.5, 1]");
    let (min, max) = histogram.extremes();
    let cut = ((1.0 - quantile) * histogram.total() as f64) as u64;
    let half = histogram.width() / 2.0;
    let bins: Vec<_> = histogram.occupied().collect();
    match (edge(bins.iter(), cut), edge(bins.iter().rev(), cut)) {
        (Some(low), Some(high)) => (min.max((low - half) as f32), max.min((high + half) as f32)),
        _ => (min, max),
    }
}

/// The centre of the first bin by which more than `cut` values are passed.
fn edge<'a>(mut bins: impl Iterator<Item = &'a (f64, u64)>, cut: u64) -> Option<f64> {
    let mut passed = 0;
    bins.find_map(|&(centre, count)| {
        passed += count;
        (passed > cut).then_some(centre)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outlier_in_a_hundred_thousand_is_cut_off() {
        let mut histogram = Histogram::default();
        let mut values: Vec<f32> = (0..100_000).map(|i| i as f32 / 100_000.0).collect();
        values.push(50.0);
        histogram.observe(&values);
        let (min, max) = range(&histogram, 0.9999);
        assert!(min.abs() < f32::EPSILON, "{min}");
        // The histogram reaches to 64, so its bins are 64 / 4096 wide.
        assert!((max - 1.0).abs() < 64.0 / 4096.0, "{max}");
    }

    #[test]
    fn few_values_keep_their_extremes() {
        let mut histogram = Histogram::default();
        histogram.observe(&[-3.0, 0.5, 7.0]);
        let (min, max) = range(&histogram, 0.9999);
        assert!((min + 3.0).abs() < 0.01 && (max - 7.0).abs() < 0.01, "{min} {max}");
    }
}
