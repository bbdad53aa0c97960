//! The range whose 256 levels change the distribution least (Migacz 2017, «8-bit Inference with
//! TensorRT»): the divergence of the clipped histogram from what its levels can tell apart.

use super::{Histogram, search};

/// Levels of an int8 range, less one.
const STEPS: f64 = 255.0;

/// The range with the least divergence.
///
/// Exact zeros are left out, as in the source: int8 has them exactly, and after a ReLU they would
/// outweigh all other values.
pub(super) fn range(histogram: &Histogram) -> (f32, f32) {
    let (min, max) = histogram.extremes();
    // The centre of an outermost bin may lie beyond all values.
    let centre = |x: f64| x.clamp(f64::from(min), f64::from(max));
    let bins = histogram.occupied_by_others_than_zero().map(|(x, count)| (centre(x), count));
    let bins: Vec<(f64, u64)> = bins.collect();
    search::least(histogram.extremes(), |range| divergence(&bins, range))
}

/// KL(P ‖ Q) in nats. P is the histogram within the range, its outermost bins taking what lies beyond;
/// Q spreads what is within evenly over the bins of each level.
fn divergence(bins: &[(f64, u64)], (low, high): (f64, f64)) -> f64 {
    let scale = (high - low) / STEPS;
    if scale <= 0.0 {
        return 0.0;
    }
    let within = |&&(x, _): &&(f64, u64)| x >= low && x <= high;
    let inside: Vec<(f64, u64)> = bins.iter().filter(within).copied().collect();
    let (Some(&first), Some(&last)) = (inside.first(), inside.last()) else {
        // Nothing but what is cut off, or nothing at all.
        return if bins.is_empty() { 0.0 } else { f64::INFINITY };
    };
    let total = |bins: &mut dyn Iterator<Item = &(f64, u64)>| bins.map(|&(_, n)| n).sum::<u64>();
    let below = total(&mut bins.iter().filter(|bin| bin.0 < first.0));
    let above = total(&mut bins.iter().filter(|bin| bin.0 > last.0));
    let level = |x: f64| ((x - low) / scale).round() as usize;
    let mut levels = [(0_u64, 0_u64); STEPS as usize + 1];
    for &(x, count) in &inside {
        let (sum, occupied) = &mut levels[level(x)];
        (*sum, *occupied) = (*sum + count, *occupied + 1);
    }
    let q_total = total(&mut inside.iter()) as f64;
    let p_total = q_total + (below + above) as f64;
    let terms = inside.iter().enumerate().map(|(i, &(x, count))| {
        let outside =
            if i == 0 { below } else { 0 } + if i + 1 == inside.len() { above } else { 0 };
        let p = (count + outside) as f64 / p_total;
        let (sum, occupied) = levels[level(x)];
        p * (p / (sum as f64 / occupied as f64 / q_total)).ln()
    });
    terms.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_divergence_by_hand() {
        // One level for both bins: P = (2/3, 1/3), Q = (1/2, 1/2);
        // KL = 2/3 · ln(4/3) + 1/3 · ln(2/3) = 0.0566330.
        let found = divergence(&[(10.1, 4), (10.2, 2)], (0.0, 255.0));
        assert!((found - 0.056_633_0).abs() < 1e-6, "{found}");
        // A third bin is cut off and counts in P's last one: P = (4/9, 5/9), Q as the levels 10 and 20
        // hold it, (4/6, 2/6); KL = 4/9 · ln(2/3) + 5/9 · ln(5/3) = 0.103585.
        let found = divergence(&[(10.0, 4), (20.0, 2), (300.0, 3)], (0.0, 255.0));
        assert!((found - 0.103_585).abs() < 1e-5, "{found}");
    }

    #[test]
    fn an_outlier_is_cut_off_and_a_uniform_range_is_kept() {
        let mut histogram = Histogram::default();
        // Zeros, as a ReLU gives them, decide nothing.
        histogram.observe(&vec![0.0; 50_000]);
        // Half a bell: the quantiles of |N(0, 1)| by its approximation (Bowling et al. 2009).
        let half_bell: Vec<f32> = (0..20_000)
            .map(|i| (i as f32 + 0.5) / 40_000.0 + 0.5)
            .map(|p| (p / (1.0 - p)).ln() / 1.702)
            .collect();
        histogram.observe(&half_bell);
        histogram.observe(&[30.0]);
        let (min, max) = range(&histogram);
        assert!(min.abs() < f32::EPSILON && (4.0..15.0).contains(&max), "{min} {max}");

        let uniform: Vec<f32> = (0..40_960).map(|i| (i as f32 + 0.5) / 40_960.0).collect();
        let mut histogram = Histogram::default();
        histogram.observe(&uniform);
        let (_, max) = range(&histogram);
        assert!(max > 0.95, "{max}");
    }
}
