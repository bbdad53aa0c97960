//! Mixtures of two training samples: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Samples, describe_shape};
use crate::random::Stream;
use crate::{Error, ErrorKind, Result};

/// Largest `alpha`: above it shares are drawn too slowly, and all mixtures are nearly halves.
const MOST_ALPHA: f64 = 4.0;

/// How training samples are mixed, as a recipe writes it: `{ kind = "mixup", alpha = 0.2 }`.
///
/// Every sample is mixed with one of all training samples, each equally likely. Its own share is
/// `max(λ, 1 - λ)` with `λ` from Beta(`alpha`, `alpha`): as the partner is drawn from the same
/// samples, that is the papers' distribution of mixtures, and every sample stays mostly itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Mix {
    /// Every number of the network's input is the weighted mean of both samples'.
    Mixup {
        /// Of the Beta distribution; 0.2 as in the paper's ImageNet runs. 1 is uniform.
        #[serde(default = "defaults::fifth")]
        alpha: f64,
        /// Share of the samples that are mixed at all.
        #[serde(default = "defaults::one")]
        probability: f64,
    },
    /// A box of the image is the other's.
    CutMix {
        /// Of the Beta distribution; 1, the paper's.
        #[serde(default = "defaults::one")]
        alpha: f64,
        /// Share of the samples that are mixed at all.
        #[serde(default = "defaults::one")]
        probability: f64,
    },
}

/// What happens to one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Blend {
    /// Where the sample that it is mixed with stands in the split.
    pub partner: usize,
    /// Share of the sample itself, from ½ to 1.
    pub share: f32,
    /// Rows and columns that are the partner's; without them all numbers are weighted means.
    area: Option<[Range<usize>; 2]>,
}

impl Mix {
    /// Fails when a number is out of range.
    pub fn check(&self) -> Result<()> {
        let wrong = |message| Err(Error::new(ErrorKind::Config, "mix", message));
        let (alpha, probability) = self.numbers();
        if !(alpha > 0.0 && alpha <= MOST_ALPHA) {
            return wrong(format!("alpha is {alpha}: it must be above 0, at most {MOST_ALPHA}"));
        }
        if !(0.0..=1.0).contains(&probability) {
            return wrong(format!("probability is {probability}: it must be from 0 to 1"));
        }
        Ok(())
    }

    /// Fails when `samples`, which a network reads in this `shape`, cannot be mixed so.
    pub fn check_samples(&self, samples: &Samples, shape: &[usize]) -> Result<()> {
        let message = match (self, samples, shape) {
            (_, Samples::Texts(_), _) => {
                "the data are texts, and there is nothing between two tokens: leave mix out".into()
            }
            (Self::Mixup { .. }, ..) | (Self::CutMix { .. }, _, [_, _, _]) => return Ok(()),
            (Self::CutMix { .. }, ..) => format!(
                "cutmix puts a box of one image into another, the data gives {}: use mixup",
                describe_shape("values", shape)
            ),
        };
        Err(Error::new(ErrorKind::Config, "mix", message))
    }

    fn numbers(&self) -> (f64, f64) {
        match *self {
            Self::Mixup { alpha, probability } | Self::CutMix { alpha, probability } => {
                (alpha, probability)
            }
        }
    }

    /// Draws what happens to one of `samples` samples of this `shape`.
    pub fn draw(&self, shape: &[usize], samples: usize, stream: &mut Stream) -> Blend {
        let (alpha, probability) = self.numbers();
        let partner = stream.below(samples);
        if f64::from(stream.unit()) >= probability {
            return Blend { partner, share: 1.0, area: None };
        }
        let share = beta(alpha, stream);
        let share = share.max(1.0 - share);
        match (self, shape) {
            (Self::CutMix { .. }, &[_, h, w]) => {
                let side = (1.0 - share).sqrt();
                let mut cut = |size: usize| {
                    let half = (size as f64 * side) as usize / 2;
                    let middle = stream.below(size);
                    middle.saturating_sub(half)..(middle + half).min(size)
                };
                let area = [cut(h), cut(w)];
                let covered = area[0].len() * area[1].len();
                let share = 1.0 - covered as f32 / (h * w).max(1) as f32;
                Blend { partner, share, area: Some(area) }
            }
            _ => Blend { partner, share: share as f32, area: None },
        }
    }
}

impl Blend {
    /// Mixes `other` into `own`, both a sample of this `shape` as the network reads it.
    pub fn apply(&self, own: &mut [f32], other: &[f32], shape: &[usize]) {
        match (&self.area, shape) {
            (Some([rows, columns]), &[_, h, w]) => {
                let planes = own.chunks_exact_mut((h * w).max(1));
                for (plane, other) in planes.zip(other.chunks_exact((h * w).max(1))) {
                    for row in rows.clone() {
                        let place = row * w + columns.start..row * w + columns.end;
                        plane[place.clone()].copy_from_slice(&other[place]);
                    }
                }
            }
            _ if self.share < 1.0 => {
                for (x, y) in own.iter_mut().zip(other) {
                    *x = self.share * *x + (1.0 - self.share) * y;
                }
            }
            _ => {}
        }
    }
}

/// A number from Beta(`alpha`, `alpha`) (Jöhnk 1964: accepted once in 70 at the largest `alpha`).
fn beta(alpha: f64, stream: &mut Stream) -> f64 {
    loop {
        let x = f64::from(stream.unit()).powf(1.0 / alpha);
        let y = f64::from(stream.unit()).powf(1.0 / alpha);
        if x + y > 0.0 && x + y <= 1.0 {
            return x / (x + y);
        }
    }
}

mod defaults {
    pub(super) fn fifth() -> f64 {
        0.2
    }

    pub(super) fn one() -> f64 {
        1.0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn of(text: &str) -> Mix {
        serde_json::from_str(text).unwrap()
    }

    fn draws(mix: &Mix, count: u64) -> Vec<Blend> {
        let draw = |i| mix.draw(&[1, 6, 6], 10, &mut Stream::new(1, "mix", &[i]));
        (0..count).map(draw).collect()
    }

    #[test]
    fn shares_have_the_beta_distributions_mean_and_deviation() {
        // Var Beta(a, a) = 1 / (4 (2a + 1)), so E(λ - ½)² is that.
        for alpha in [0.2, 1.0, 4.0] {
            let shares = (0..20_000).map(|i| beta(alpha, &mut Stream::new(3, "beta", &[i])));
            let (mut sum, mut squares) = (0.0, 0.0);
            for share in shares {
                assert!((0.0..=1.0).contains(&share));
                sum += share;
                squares += (share - 0.5_f64).powi(2);
            }
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((sum / 20_000.0 - 0.5).abs() < 0.015, "{alpha}");
            assert!((squares / 20_000.0 / expected - 1.0).abs() < 0.05, "{alpha}");
        }
        // At least half of a mixture is the sample itself; partners are all samples.
        let blends = draws(&of(r#"{"kind": "mixup", "alpha": 1}"#), 500);
        assert!(blends.iter().all(|blend| (0.5..=1.0).contains(&blend.share)));
        assert!((0..10).all(|partner| blends.iter().any(|blend| blend.partner == partner)));
    }

    #[test]
    fn a_box_of_cutmix_is_the_partners_and_the_rest_the_samples() {
        let mix = of(r#"{"kind": "cutmix"}"#);
        for blend in draws(&mix, 200) {
            let (mut own, other) = (vec![0.0; 72], vec![1.0; 72]);
            blend.apply(&mut own, &other, &[2, 6, 6]);
            assert_eq!(own[..36], own[36..], "both channels alike");
            let cut: f32 = own[..36].iter().sum();
            assert!((1.0 - cut / 36.0 - blend.share).abs() < 1e-6, "{blend:?}");
            assert!(blend.share >= 0.5);
        }
        assert!(draws(&mix, 200).iter().any(|blend| blend.share < 0.7));
    }

    #[test]
    fn mixup_is_the_weighted_mean_and_probability_leaves_samples_alone() {
        let blend = Blend { partner: 0, share: 0.75, area: None };
        let mut own = vec![1.0, -2.0];
        blend.apply(&mut own, &[5.0, 2.0], &[2]);
        assert_eq!(own, [2.0, -1.0]);
        let rare = of(r#"{"kind": "mixup", "alpha": 1, "probability": 0.25}"#);
        let mixed = draws(&rare, 1000).iter().filter(|blend| blend.share < 1.0).count();
        // Binomial: standard deviation 14.
        assert!((180..320).contains(&mixed), "{mixed}");
    }

    #[test]
    fn numbers_out_of_range_and_boxes_in_rows_are_refused() {
        for bad in [
            r#"{"kind": "mixup", "alpha": 0}"#,
            r#"{"kind": "mixup", "alpha": 5}"#,
            r#"{"kind": "cutmix", "probability": 1.5}"#,
        ] {
            assert_eq!(of(bad).check().unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
        let mix = of(r#"{"kind": "cutmix"}"#);
        let rows = Samples::Values { shape: vec![8], values: vec![0.0; 8] };
        mix.check_samples(&rows, &[3, 4, 4]).unwrap();
        let error = mix.check_samples(&rows, &[8]).unwrap_err().to_string();
        assert!(error.contains("use mixup"), "{error}");
        assert!(serde_json::from_str::<Mix>(r#"{"kind": "cutmix", "beta": 1}"#).is_err());
    }
}
