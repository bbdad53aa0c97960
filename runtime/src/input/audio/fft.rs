//! The power spectrum of real samples: a radix-2 Fourier transform (Cooley and Tukey 1965) of half
//! the length, whose even and odd parts are then told apart (Press et al., Numerical Recipes, 12.3).

use alloc::vec;
use alloc::vec::Vec;

use super::math;

/// Tables and buffers for frames of one length.
#[derive(Clone)]
pub(super) struct PowerSpectrum {
    /// Where element `i` of the half-length transform lies before the first stage.
    reversed: Vec<u32>,
    /// `cos` and `sin` of `2πj/size` for the stage of that size, at `size / 2 + j`.
    stages: [Vec<f32>; 2],
    /// `cos` and `sin` of `2πk/n` for the last step.
    last: [Vec<f32>; 2],
    re: Vec<f32>,
    im: Vec<f32>,
}

impl PowerSpectrum {
    /// For frames of `n` samples, a power of two of at least 4.
    pub(super) fn new(n: usize) -> Self {
        let half = n / 2;
        let bits = half.trailing_zeros();
        let narrow = |(cos, sin): (f64, f64)| (cos as f32, sin as f32);
        // Element 0 belongs to no stage.
        let stages = (0..half).map(|at| {
            let size = 2 << at.max(1).ilog2();
            narrow(math::turn(at.max(1) - size / 2, size))
        });
        let stages: (Vec<f32>, Vec<f32>) = stages.unzip();
        let last: (Vec<f32>, Vec<f32>) = (0..half).map(|k| narrow(math::turn(k, n))).unzip();
        Self {
            reversed: (0..half as u32).map(|i| i.reverse_bits() >> (32 - bits)).collect(),
            stages: stages.into(),
            last: last.into(),
            re: vec![0.0; half],
            im: vec![0.0; half],
        }
    }

    /// `|Σⱼ frame[j] · e^(-2πijk/n)|²` for `k` from 0 to `n / 2`, which `power` has room for.
    pub(super) fn run(&mut self, frame: &[f32], power: &mut [f32]) {
        let half = self.re.len();
        assert_eq!((frame.len(), power.len()), (2 * half, half + 1), "frame and spectrum fit");
        for ((&to, re), im) in self.reversed.iter().zip(&mut self.re).zip(&mut self.im) {
            let from = 2 * to as usize;
            (*re, *im) = (frame[from], frame[from + 1]);
        }
        let mut h = 1;
        while h < half {
            let [cos, sin] = [0, 1].map(|i| &self.stages[i][h..2 * h]);
            let blocks = self.re.chunks_exact_mut(2 * h).zip(self.im.chunks_exact_mut(2 * h));
            for (re, im) in blocks {
                butterflies(re.split_at_mut(h), im.split_at_mut(h), cos, sin);
            }
            h *= 2;
        }
        self.real(power);
    }

    /// From the transform of the samples in pairs to the powers of the real frame.
    fn real(&self, power: &mut [f32]) {
        let Self { re, im, last: [cos, sin], .. } = self;
        let half = re.len();
        let square = |x: f32| x * x;
        power[0] = square(re[0] + im[0]);
        power[half] = square(re[0] - im[0]);
        for k in 1..half {
            let (a, b) = ((re[k], im[k]), (re[half - k], im[half - k]));
            let (even_re, even_im) = ((a.0 + b.0) * 0.5, (a.1 - b.1) * 0.5);
            let (odd_re, odd_im) = ((a.1 + b.1) * 0.5, (b.0 - a.0) * 0.5);
            let x = even_re + (cos[k] * odd_re + sin[k] * odd_im);
            let y = even_im + (cos[k] * odd_im - sin[k] * odd_re);
            power[k] = x * x + y * y;
        }
    }
}

/// `(a, b)` becomes `(a + wb, a - wb)` with `w = cos - i·sin`, element by element.
fn butterflies(
    (re_a, re_b): (&mut [f32], &mut [f32]),
    (im_a, im_b): (&mut [f32], &mut [f32]),
    cos: &[f32],
    sin: &[f32],
) {
    let a = re_a.iter_mut().zip(im_a);
    let b = re_b.iter_mut().zip(im_b);
    for (((ar, ai), (br, bi)), (&c, &s)) in a.zip(b).zip(cos.iter().zip(sin)) {
        let (x, y) = (c * *br + s * *bi, c * *bi - s * *br);
        (*br, *bi) = (*ar - x, *ai - y);
        (*ar, *ai) = (*ar + x, *ai + y);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "small whole numbers are exact")]
    use super::*;
    use proptest::prelude::*;

    /// The definition, in f64 with the platform's functions.
    fn naive(frame: &[f32]) -> Vec<f64> {
        let n = frame.len();
        let bin = |k: usize| {
            let angle = |j: usize| core::f64::consts::TAU * (j * k % n) as f64 / n as f64;
            let sum = |f: fn(f64) -> f64| -> f64 {
                frame.iter().enumerate().map(|(j, &x)| f64::from(x) * f(angle(j))).sum()
            };
            sum(f64::cos).powi(2) + sum(f64::sin).powi(2)
        };
        (0..=n / 2).map(bin).collect()
    }

    #[test]
    fn four_samples_by_hand() {
        // X₀ = 1+2+3+5, X₁ = (1-3) - i(2-5), X₂ = 1-2+3-5.
        let mut power = [0.0; 3];
        PowerSpectrum::new(4).run(&[1.0, 2.0, 3.0, 5.0], &mut power);
        assert_eq!(power, [121.0, 13.0, 9.0]);
    }

    proptest! {
        #[test]
        fn powers_are_those_of_the_definition(
            log2 in 2_u32..10, samples in prop::collection::vec(-1.0_f32..1.0, 512),
        ) {
            let frame = &samples[..1 << log2];
            let mut power = vec![0.0; frame.len() / 2 + 1];
            PowerSpectrum::new(frame.len()).run(frame, &mut power);
            let truth = naive(frame);
            let highest = truth.iter().copied().fold(1.0, f64::max);
            for (k, (found, truth)) in power.iter().zip(truth).enumerate() {
                // Nine stages of f32, relative to the loudest bin.
                prop_assert!((f64::from(*found) - truth).abs() < 2e-6 * highest, "bin {k}");
            }
        }
    }
}
