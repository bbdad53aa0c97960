//! A histogram of values whose range is not known beforehand, in constant memory.
//!
//! The bins cover `[-2^e, 2^e]`. A value beyond doubles the range by merging neighbouring bins;
//! because the limit is always a power of two, the result does not depend on the samples' order.

use super::MinMax;

/// Bins; 16 for each int8 step of a one-sided range that fills the histogram.
const BINS: usize = 8192;

/// Smallest range, 2^-24: what is smaller all falls into the middle bins.
const LEAST_EXPONENT: i32 = -24;

/// Counts of values in equal bins around zero, and the exact extremes.
#[derive(Clone, Debug)]
pub struct Histogram {
    bins: Vec<u64>,
    exponent: i32,
    extremes: MinMax,
    /// How many values are exactly 0.
    zeros: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            bins: vec![0; BINS],
            exponent: LEAST_EXPONENT,
            extremes: MinMax::default(),
            zeros: 0,
        }
    }
}

impl Histogram {
    /// Counts finite values.
    pub fn observe(&mut self, values: &[f32]) {
        self.extremes.observe(values);
        let (min, max) = self.extremes.range();
        let reach = f64::from(min.abs().max(max.abs()));
        while reach > self.limit() {
            self.double();
        }
        let per_unit = (BINS / 2) as f64 / self.limit();
        for &v in values {
            let bin = ((f64::from(v) * per_unit) as i64 + (BINS / 2) as i64 - i64::from(v < 0.0))
                .clamp(0, BINS as i64 - 1);
            self.bins[bin as usize] += 1;
            self.zeros += u64::from(v == 0.0);
        }
    }

    /// The smallest and largest value seen.
    pub fn extremes(&self) -> (f32, f32) {
        self.extremes.range()
    }

    /// Number of values counted.
    pub fn total(&self) -> u64 {
        self.bins.iter().sum()
    }

    /// Centre and count of each bin that is not empty, in ascending order.
    pub fn occupied(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let width = self.width();
        let bins = self.bins.iter().enumerate().filter(|&(_, &count)| count > 0);
        bins.map(move |(i, &count)| ((i as f64 + 0.5) * width - self.limit(), count))
    }

    /// As [`Histogram::occupied`], without the values that are exactly 0.
    pub fn occupied_by_others_than_zero(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        // They lie in the first bin above the middle.
        let zero = self.width() / 2.0;
        let bins = self.occupied().map(move |(centre, count)| {
            let zeros = if centre.total_cmp(&zero).is_eq() { self.zeros } else { 0 };
            (centre, count - zeros)
        });
        bins.filter(|&(_, count)| count > 0)
    }

    /// Width of a bin.
    pub fn width(&self) -> f64 {
        2.0 * self.limit() / BINS as f64
    }

    fn limit(&self) -> f64 {
        f64::from(self.exponent).exp2()
    }

    fn double(&mut self) {
        let mut merged = vec![0; BINS];
        for (i, pair) in self.bins.chunks_exact(2).enumerate() {
            merged[BINS / 4 + i] = pair[0] + pair[1];
        }
        self.bins = merged;
        self.exponent += 1;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_of_samples_does_not_matter(mut values in prop::collection::vec(-1e6_f32..1e6, 1..200)) {
            let mut one = Histogram::default();
            one.observe(&values);
            let mut other = Histogram::default();
            values.reverse();
            for v in &values {
                other.observe(std::slice::from_ref(v));
            }
            prop_assert_eq!(one.exponent, other.exponent);
            prop_assert_eq!(one.extremes(), other.extremes());
            prop_assert_eq!(one.total(), values.len() as u64);
            prop_assert_eq!(other.total(), values.len() as u64);
            // Merging after the fact equals counting into wide bins.
            prop_assert_eq!(one.bins, other.bins);
        }

        #[test]
        fn a_value_lies_in_its_bin(v in -1e30_f32..1e30) {
            let mut histogram = Histogram::default();
            histogram.observe(&[v]);
            let (centre, count) = histogram.occupied().next().unwrap();
            prop_assert_eq!(count, 1);
            prop_assert!((centre - f64::from(v)).abs() <= histogram.width() * 0.500_001);
        }
    }
}
