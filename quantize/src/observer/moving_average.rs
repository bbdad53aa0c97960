//! A moving average of the samples' extremes (Jacob et al. 2018, section 3.1).
//!
//! The constant is that of PyTorch's `MovingAverageMinMaxObserver`. Until there are enough samples for
//! it, all count alike: a plain mean does not depend on which sample came first.

use super::MinMax;

/// Weight of a new sample in the long run.
const CONSTANT: f64 = 0.01;

/// Keeps three numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct MovingAverage {
    samples: u64,
    min: f64,
    max: f64,
}

impl MovingAverage {
    /// Takes in the finite values of one sample.
    pub fn observe(&mut self, values: &[f32]) {
        if values.is_empty() {
            return;
        }
        let mut own = MinMax::default();
        own.observe(values);
        let (min, max) = own.range();
        self.samples += 1;
        let weight = (1.0 / self.samples as f64).max(CONSTANT);
        self.min += weight * (f64::from(min) - self.min);
        self.max += weight * (f64::from(max) - self.max);
    }

    /// The averages; `(0, 0)` before any sample.
    pub fn range(&self) -> (f32, f32) {
        (self.min as f32, self.max as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_samples_give_the_mean_of_their_extremes() {
        let mut observer = MovingAverage::default();
        for sample in [[-1.0, 4.0], [-3.0, 2.0], [-2.0, 9.0]] {
            observer.observe(&sample);
        }
        let (min, max) = observer.range();
        assert!((min + 2.0).abs() < 1e-6 && (max - 5.0).abs() < 1e-6, "{min} {max}");
    }

    #[test]
    fn after_a_hundred_samples_the_average_moves() {
        let mut observer = MovingAverage::default();
        for _ in 0..1000 {
            observer.observe(&[0.0, 1.0]);
        }
        // Weight 0.01 for each of 50 new ones: 2 - 0.99^50 = 2 - 0.605006.
        for _ in 0..50 {
            observer.observe(&[0.0, 2.0]);
        }
        let (_, max) = observer.range();
        assert!((max - 1.394_994).abs() < 1e-5, "{max}");
    }
}
