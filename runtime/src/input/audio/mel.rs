//! Triangular filters on the mel scale (Stevens, Volkmann, Newman 1937; O'Shaughnessy's formula
//! `2595 · log₁₀(1 + f / 700)`, as in HTK), each of height 1.

use alloc::vec::Vec;

use super::math;

/// The bands' weights, each over the bins that it covers.
#[derive(Clone)]
pub(super) struct MelBank {
    /// First bin and number of bins of each band.
    spans: Vec<(usize, usize)>,
    /// All bands' weights, one after another.
    weights: Vec<f32>,
}

impl MelBank {
    /// `bands` triangles whose corners are evenly spaced in mel from `low` to `high`, over the bins
    /// `k · rate / fft` Hz. The error is a band that covers no bin.
    pub(super) fn new(
        [low, high]: [f64; 2],
        bands: usize,
        rate: u32,
        fft: usize,
    ) -> Result<Self, usize> {
        // 2595 / ln 10 cancels between the formula and its inverse.
        let mel = |hz: f64| math::ln(1.0 + hz / 700.0);
        let (first, last) = (mel(low), mel(high));
        let corner = |i: usize| {
            let mel = first + (last - first) * (i as f64 / (bands + 1) as f64);
            700.0 * (math::exp(mel) - 1.0)
        };
        let mut bank = Self { spans: Vec::with_capacity(bands), weights: Vec::new() };
        for band in 0..bands {
            let [left, centre, right] = [0, 1, 2].map(|i| corner(band + i));
            let before = bank.weights.len();
            let mut start = 0;
            for bin in 0..=fft / 2 {
                let hz = bin as f64 * f64::from(rate) / fft as f64;
                let rising = (hz - left) / (centre - left);
                let falling = (right - hz) / (right - centre);
                let weight = if rising < falling { rising } else { falling };
                if weight > 0.0 {
                    if bank.weights.len() == before {
                        start = bin;
                    }
                    bank.weights.push(weight as f32);
                }
            }
            let bins = bank.weights.len() - before;
            if bins == 0 {
                return Err(band);
            }
            bank.spans.push((start, bins));
        }
        Ok(bank)
    }

    /// The bands' energies: weighted sums of the bins' powers, from low to high.
    pub(super) fn run(&self, power: &[f32], energies: &mut [f32]) {
        let mut rest = &self.weights[..];
        for (&(start, bins), energy) in self.spans.iter().zip(energies) {
            let (weights, after) = rest.split_at(bins);
            rest = after;
            let covered = &power[start..start + bins];
            *energy = covered.iter().zip(weights).fold(0.0, |sum, (p, w)| sum + p * w);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "halves and quarters are exact")]
    use super::*;

    #[test]
    fn triangles_meet_at_their_neighbours_centres() {
        // Between the first and the last centre, the weights of a bin sum to 1.
        let bank = MelBank::new([0.0, 4000.0], 10, 8000, 256).unwrap_or_else(|b| panic!("{b}"));
        let mut sums = [0.0_f32; 129];
        let mut rest = &bank.weights[..];
        for &(start, bins) in &bank.spans {
            let (weights, after) = rest.split_at(bins);
            rest = after;
            sums[start..].iter_mut().zip(weights).for_each(|(sum, w)| *sum += w);
        }
        // HTK: 4000 Hz are 2146.06 mel, so the centres lie at 195.1 … 1950.96 mel, 132 … 3255 Hz.
        for (bin, sum) in sums.iter().enumerate() {
            let hz = bin as f32 * 31.25;
            if (133.0..3250.0).contains(&hz) {
                assert!((sum - 1.0).abs() < 1e-5, "{hz} Hz: {sum}");
            }
        }
        assert_eq!(bank.spans.len(), 10);
    }

    #[test]
    fn a_band_between_two_bins_is_reported() {
        assert_eq!(MelBank::new([20.0, 4000.0], 64, 8000, 64).err(), Some(0));
    }

    #[test]
    fn energies_are_weighted_sums() {
        let bank = MelBank { spans: [(1, 2), (2, 1)].into(), weights: [0.5, 1.0, 0.25].into() };
        let mut energies = [0.0; 2];
        bank.run(&[9.0, 2.0, 4.0, 9.0], &mut energies);
        assert_eq!(energies, [5.0, 1.0]);
    }
}
