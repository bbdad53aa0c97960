//! Reproducible random numbers: one ChaCha8 stream (Bernstein 2008) for each purpose, whose numbers
//! depend only on what it is for, never on the order of calls, threads or library versions.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// A stream of random numbers.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `purpose` (as `"shuffle"`, or a tensor's name) under `seed`, told apart from its
    /// siblings by `numbers` (as epoch and sample). The key is the SHA-256 of all three.
    pub fn new(seed: u64, purpose: &str, numbers: &[u64]) -> Self {
        let mut key = Sha256::new();
        key.update(seed.to_le_bytes());
        key.update((purpose.len() as u64).to_le_bytes());
        key.update(purpose);
        for number in numbers {
            key.update(number.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key.finalize().into()))
    }

    /// A whole number in `0..bound`, each equally likely (rejection from 64 bits); 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        if bound == 0 {
            return 0;
        }
        // The largest multiple of `bound` that fits: values from there on would favour small remainders.
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let value = self.0.next_u64();
            if value < limit {
                return (value % bound) as usize;
            }
        }
    }

    /// A number in [0, 1): 24 random bits, so every value is exact in f32.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// True or false, equally likely.
    pub fn coin(&mut self) -> bool {
        self.0.next_u32() >> 31 == 1
    }
}

/// A permutation of `0..n` (Fisher and Yates, from the end; Knuth vol. 2, 3.4.2 P).
pub fn permutation(n: usize, stream: &mut Stream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, stream.below(i + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_apart_by_seed_purpose_and_numbers() {
        let draw =
            |seed, purpose, numbers: &[u64]| Stream::new(seed, purpose, numbers).below(1 << 30);
        let first = draw(1, "a", &[2, 3]);
        assert_eq!(first, draw(1, "a", &[2, 3]));
        for other in [draw(2, "a", &[2, 3]), draw(1, "b", &[2, 3]), draw(1, "a", &[3, 2])] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn below_is_bounded_and_fair() {
        let mut stream = Stream::new(7, "fair", &[]);
        let mut counts = [0_i32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6)] += 1;
        }
        // Binomial with p = 1/6: standard deviation 91, so 500 is beyond five of them.
        assert!(counts.iter().all(|c| (c - 10_000).abs() < 500), "{counts:?}");
        assert_eq!(stream.below(0), 0);
        assert_eq!(stream.below(1), 0);
    }

    #[test]
    fn unit_stays_below_one_with_mean_one_half() {
        let mut stream = Stream::new(7, "unit", &[]);
        let values: Vec<f32> = (0..10_000).map(|_| stream.unit()).collect();
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.015, "{mean}");
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut order = permutation(1000, &mut Stream::new(3, "shuffle", &[0]));
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
