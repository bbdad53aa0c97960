//! The range with the least mean squared error of quantized against real values
//! (Nagel et al. 2021, «A White Paper on Neural Network Quantization», section 3.1).

use super::{Histogram, Observer};

/// Steps of the search from the full range down to a fifth of it.
const STEPS: u32 = 80;
const LEAST: f64 = 0.2;

/// Searches the range on a histogram.
#[derive(Clone, Debug, Default)]
pub struct Mse {
    histogram: Histogram,
}

impl Observer for Mse {
    fn observe(&mut self, values: &[f32]) {
        self.histogram.observe(values);
    }

    fn range(&self) -> (f32, f32) {
        let (min, max) = self.histogram.extremes();
        let bins: Vec<(f64, u64)> = self.histogram.occupied().collect();
        let full = (f64::from(min.min(0.0)), f64::from(max.max(0.0)));
        let mut best = full;
        // One end at a time, twice: the ends hardly influence each other.
        for _ in 0..2 {
            best.1 = shrink(full.1, |end| error(&bins, (best.0, end)));
            best.0 = shrink(full.0, |end| error(&bins, (end, best.1)));
        }
        (best.0 as f32, best.1 as f32)
    }
}

/// The multiple of `end` with the least error; the largest of equals.
fn shrink(end: f64, error: impl Fn(f64) -> f64) -> f64 {
    let candidates =
        (0..=STEPS).map(|i| end * (1.0 - (1.0 - LEAST) * f64::from(i) / f64::from(STEPS)));
    let mut best = (end, f64::INFINITY);
    for candidate in candidates {
        let found = error(candidate);
        if found < best.1 {
            best = (candidate, found);
        }
    }
    best.0
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
        let mut observer = Mse::default();
        observer.observe(&uniform);
        assert!(observer.range().1 > 0.95, "{:?}", observer.range());

        // Clipping one value at 4 to 1 costs 9; halving the step over 100 000 values saves more
        // than that only if steps are coarse, so the best range lies between.
        let mut observer = Mse::default();
        for _ in 0..200 {
            observer.observe(&uniform);
        }
        observer.observe(&[4.0]);
        let (_, max) = observer.range();
        assert!(max < 4.0, "{max}");
    }
}
