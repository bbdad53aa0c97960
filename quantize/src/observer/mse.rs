//! The range with the least mean squared error of quantized against real values
//! (Nagel et al. 2021, «A White Paper on Neural Network Quantization», section 3.1).

use super::{Histogram, search};

/// The range with the least error.
pub(super) fn range(histogram: &Histogram) -> (f32, f32) {
    let bins: Vec<(f64, u64)> = histogram.occupied().collect();
    search::least(histogram.extremes(), |range| error(&bins, range))
}

/// Sum of squared errors when `range` gets 255 steps.
fn error(bins: &[(f64, u64)], (low, high): (f64, f64)) -> f64 {
    let scale = (high - low) / 255.0;
    if scale <= 0.0 {
        return bins.iter().map(|&(x, count)| x * x * count as f64).sum();
    }
    let of = |x: f64| {
        let q = ((x - low) / scale).round().clamp(0.0, 255.0) * scale + low;
        (x - q) * (x - q)
    };
    bins.iter().map(|&(x, count)| of(x) * count as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_outlier_is_clipped_and_a_uniform_range_is_kept() {
        let uniform: Vec<f32> = (0..10_000).map(|i| i as f32 / 10_000.0).collect();
        let mut histogram = Histogram::default();
        histogram.observe(&uniform);
        assert!(range(&histogram).1 > 0.95, "{:?}", range(&histogram));

        // Clipping one value at 4 to 1 costs 9; halving the step over 100 000 values saves more
        // than that only if steps are coarse, so the best range lies between.
        let mut histogram = Histogram::default();
        for _ in 0..200 {
            histogram.observe(&uniform);
        }
        histogram.observe(&[4.0]);
        let (_, max) = range(&histogram);
        assert!(max < 4.0, "{max}");
    }
}
