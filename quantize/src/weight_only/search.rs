//! The scale of a group: a search over clipping, and least squares for each of its roundings (the
//! search of GGML's quantizers; Nagel et al. 2021, section 3.1, on clipping by squared error).

use half::f16;

/// Levels that the largest weight is tried at, as shares of the lowest level.
const SHARES: (f64, f64) = (0.6, 1.1);
/// Steps between them.
const STEPS: u32 = 40;

/// The scale and the integers from `lo` to `hi` of least squared error that the search finds: never
/// more than that of rounding with the largest weight at an end of the range.
///
/// A scale may be negative, which puts the largest weight where there is a level more. It is infinite
/// where f16 cannot hold it, 0 for a group of zeros.
pub(super) fn fit(weights: &[f32], (lo, hi): (i8, i8)) -> (f16, Vec<i8>) {
    let largest = weights.iter().fold(0.0_f64, |most, &w| most.max(f64::from(w).abs()));
    let mut best = Rounded::new(weights, f16::ZERO, (lo, hi));
    if largest == 0.0 {
        return (f16::ZERO, best.q);
    }
    let levels = -f64::from(lo);
    let width = (SHARES.1 - SHARES.0) / f64::from(STEPS);
    let shares = (0..=STEPS).map(|step| levels * (SHARES.0 + width * f64::from(step)));
    for level in [f64::from(hi), levels].into_iter().chain(shares) {
        for scale in [largest / level, -largest / level] {
            let plain = Rounded::new(weights, f16::from_f64(scale), (lo, hi));
            let refined = Rounded::new(weights, f16::from_f64(plain.best_scale(weights)), (lo, hi));
            for found in [plain, refined] {
                // Comparing with NaN is false: an infinite scale is never better.
                if found.error < best.error {
                    best = found;
                }
            }
        }
    }
    if f16::from_f64(largest / levels).is_infinite() {
        return (f16::INFINITY, best.q);
    }
    (best.scale, best.q)
}

/// A group's integers at a scale, and what they miss.
struct Rounded {
    scale: f16,
    q: Vec<i8>,
    /// Sum of squares.
    error: f64,
}

impl Rounded {
    fn new(weights: &[f32], scale: f16, (lo, hi): (i8, i8)) -> Self {
        let step = scale.to_f64();
        let round = |&w: &f32| match step {
            0.0 => 0,
            step => (f64::from(w) / step).round_ties_even().clamp(lo.into(), hi.into()) as i8,
        };
        let q: Vec<i8> = weights.iter().map(round).collect();
        let missed = |(&w, &q): (&f32, &i8)| (f64::from(w) - step * f64::from(q)).powi(2);
        Self { scale, error: weights.iter().zip(&q).map(missed).sum(), q }
    }

    /// The scale of least squared error for these integers; 0 where all are.
    fn best_scale(&self, weights: &[f32]) -> f64 {
        let products = weights.iter().zip(&self.q).map(|(&w, &q)| f64::from(w) * f64::from(q));
        let squares: f64 = self.q.iter().map(|&q| f64::from(q) * f64::from(q)).sum();
        if squares == 0.0 { 0.0 } else { products.sum::<f64>() / squares }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT4: (i8, i8) = (-8, 7);
    const INT8: (i8, i8) = (i8::MIN, i8::MAX);

    fn error(weights: &[f32], (scale, q): &(f16, Vec<i8>)) -> f64 {
        let missed = |(&w, &q): (&f32, &i8)| (f64::from(w) - scale.to_f64() * f64::from(q)).powi(2);
        weights.iter().zip(q).map(missed).sum()
    }

    /// A bell, as weights have, with an outlier.
    fn bell(seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 16_777_216.0 - 0.5
        };
        let mut weights: Vec<f32> = (0..32).map(|_| (0..6).map(|_| uniform()).sum()).collect();
        weights[5] *= 3.0;
        weights
    }

    #[test]
    fn multiples_of_a_half_are_exact() {
        let weights: Vec<f32> = (-8..8).map(|q| q as f32 * 0.5).collect();
        let (scale, q) = fit(&weights, INT4);
        assert_eq!((scale, q), (f16::from_f32(0.5), (-8..8).collect()));
        // With the opposite sign, by a negative scale.
        let weights: Vec<f32> = weights.iter().map(|w| -w).collect();
        let (scale, q) = fit(&weights, INT4);
        assert_eq!((scale, q), (f16::from_f32(-0.5), (-8..8).collect()));
    }

    #[test]
    fn zeros_and_tiny_weights_become_zeros_and_huge_ones_an_infinite_scale() {
        assert_eq!(fit(&[0.0; 3], INT4), (f16::ZERO, vec![0; 3]));
        assert_eq!(fit(&[1e-30, -1e-30], INT8).1, [0, 0]);
        assert!(fit(&[1e9, 0.0], INT4).0.is_infinite());
        assert!(fit(&[f32::MAX, f32::MIN], INT8).0.is_infinite());
    }

    #[test]
    fn the_search_beats_the_largest_weight_at_the_end_of_the_range_and_is_near_the_best() {
        for (range, near) in [(INT4, 1.01), (INT8, 1.5)] {
            let (mut sum, mut plain_sum) = (0.0, 0.0);
            for seed in 0..50 {
                let weights = bell(seed);
                let largest = weights.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
                let found = error(&weights, &fit(&weights, range));
                let at = |scale: f32| {
                    let rounded = Rounded::new(&weights, f16::from_f32(scale), range);
                    error(&weights, &(rounded.scale, rounded.q))
                };
                let end = largest / f32::from(range.1);
                assert!(found <= at(end), "{seed}");
                (sum, plain_sum) = (sum + found, plain_sum + at(end));
                // All scales on a fine grid, of both signs. Of int8, roundings are so many that none
                // of a few dozen scales is the luckiest.
                let best = (1..2000).map(|i| end * (0.4 + i as f32 / 2000.0));
                let best = best.map(|scale| at(scale).min(at(-scale))).fold(f64::MAX, f64::min);
                assert!(found <= near * best, "{range:?}, {seed}: {found} {best}");
            }
            assert!(sum < 0.85 * plain_sum, "{range:?}: {sum} {plain_sum}");
        }
    }
}
