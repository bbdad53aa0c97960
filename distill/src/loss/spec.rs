//! Losses as a recipe writes them: `{ kind = "kd", temperature = 4.0, weight = 0.9 }`.

use serde::{Deserialize, Serialize};

use super::{
    AttentionTransfer, Crd, CrdNumbers, CrossEntropy, Dist, DistillationLoss, Dkd, Hint, Kd, L1,
    Mse, Mutual, NodePair, Rkd, Similarity, Temperature, TemperatureSchedule,
};
use crate::{Error, ErrorKind, Result};

/// One term of the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LossSpec {
    /// [`Kd`].
    Kd {
        /// Softness of both probability vectors.
        #[serde(default)]
        temperature: TemperatureSchedule,
        /// Factor in the sum.
        #[serde(default = "defaults::one")]
        weight: f64,
    },
    /// [`Kd`] on standardised logits.
    LogitStandardisation {
        /// Softness of both probability vectors, 2 in the paper.
        #[serde(default = "defaults::two_degrees")]
        temperature: TemperatureSchedule,
        /// Factor in the sum, 9 in the paper beside a tenth of cross-entropy.
        #[serde(default = "defaults::nine")]
        weight: f64,
    },
    /// [`Mse`].
    Mse {
        /// Factor in the sum.
        #[serde(default = "defaults::one")]
        weight: f64,
    },
    /// [`L1`].
    L1 {
        /// Factor in the sum.
        #[serde(default = "defaults::one")]
        weight: f64,
    },
    /// [`Dkd`].
    Dkd {
        /// Factor of the label's class against the others.
        #[serde(default = "defaults::one")]
        alpha: f64,
        /// Factor of the classes that are not the label's.
        #[serde(default = "defaults::eight")]
        beta: f64,
        /// Softness of both probability vectors.
        #[serde(default)]
        temperature: TemperatureSchedule,
        /// Epochs to full weight; the paper's 20 of 240, in shorter runs a twelfth, without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        warmup: Option<f64>,
        /// Factor in the sum.
        #[serde(default = "defaults::one")]
        weight: f64,
    },
    /// [`Dist`].
    Dist {
        /// Factor of the relations between the classes of a sample.
        #[serde(default = "defaults::one")]
        beta: f64,
        /// Factor of the relations between the samples of a class.
        #[serde(default = "defaults::one")]
        gamma: f64,
        /// Softness of both probability vectors.
        #[serde(default = "defaults::one_degree")]
        temperature: TemperatureSchedule,
        /// Factor in the sum.
        #[serde(default = "defaults::one")]
        weight: f64,
    },
    /// [`Hint`].
    Hint {
        /// The student's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        student: Option<String>,
        /// The teacher's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teacher: Option<String>,
        /// Factor in the sum, 100 in the comparison of Tian et al. 2020.
        #[serde(default = "defaults::hundred")]
        weight: f64,
    },
    /// [`AttentionTransfer`].
    AttentionTransfer {
        /// The student's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        student: Option<String>,
        /// The teacher's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teacher: Option<String>,
        /// Factor in the sum, 1000 in the paper.
        #[serde(default = "defaults::thousand")]
        weight: f64,
    },
    /// [`Rkd`].
    Rkd {
        /// The student's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        student: Option<String>,
        /// The teacher's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teacher: Option<String>,
        /// Factor of the distances, 25 in the paper beside cross-entropy.
        #[serde(default = "defaults::twenty_five")]
        distance: f64,
        /// Factor of the angles, 50 in the paper beside cross-entropy.
        #[serde(default = "defaults::fifty")]
        angle: f64,
        /// Factor in the sum.
        #[serde(default = "defaults::one")]
        weight: f64,
    },
    /// [`Similarity`].
    Similarity {
        /// The student's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        student: Option<String>,
        /// The teacher's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teacher: Option<String>,
        /// Factor in the sum, 3000 in the paper.
        #[serde(default = "defaults::three_thousand")]
        weight: f64,
    },
    /// [`Crd`].
    Crd {
        /// The student's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        student: Option<String>,
        /// The teacher's node; what its last linear layer reads without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teacher: Option<String>,
        /// Length of the compared rows, 128 in the paper.
        #[serde(default = "defaults::dimensions")]
        dimensions: usize,
        /// Rows of other samples that a batch is compared with, 16384 in the paper.
        #[serde(default = "defaults::negatives")]
        negatives: usize,
        /// Divides the products of two rows, 0.07 in the paper.
        #[serde(default = "defaults::contrast")]
        temperature: Temperature,
        /// Share of the old row when a new one is remembered, 0.5 in the paper.
        #[serde(default = "defaults::half")]
        momentum: f64,
        /// Factor in the sum, 0.8 in the paper.
        #[serde(default = "defaults::four_fifths")]
        weight: f64,
    },
    /// [`Mutual`].
    Mutual {
        /// Softness of all probability vectors, 1 in the paper.
        #[serde(default = "defaults::one_degree")]
        temperature: TemperatureSchedule,
        /// Factor in the sum.
        #[serde(default = "defaults::one")]
        weight: f64,
    },
    /// [`CrossEntropy`].
    CrossEntropy {
        /// Factor in the sum.
        #[serde(default = "defaults::one")]
        weight: f64,
        /// Share of the target spread over all classes, in `[0, 1)`.
        #[serde(default)]
        label_smoothing: f64,
    },
}

impl LossSpec {
    /// Factor in the sum.
    pub fn weight(&self) -> f64 {
        match *self {
            Self::Kd { weight, .. }
            | Self::LogitStandardisation { weight, .. }
            | Self::Mse { weight }
            | Self::L1 { weight }
            | Self::Dkd { weight, .. }
            | Self::Dist { weight, .. }
            | Self::Hint { weight, .. }
            | Self::AttentionTransfer { weight, .. }
            | Self::Rkd { weight, .. }
            | Self::Similarity { weight, .. }
            | Self::Crd { weight, .. }
            | Self::Mutual { weight, .. }
            | Self::CrossEntropy { weight, .. } => weight,
        }
    }

    /// The loss, after checking the numbers.
    pub fn build(&self) -> Result<Box<dyn DistillationLoss>> {
        let nodes = |student: &Option<String>, teacher: &Option<String>| NodePair {
            student: student.clone(),
            teacher: teacher.clone(),
        };
        let loss: Box<dyn DistillationLoss> = match *self {
            Self::Kd { temperature, .. } => Box::new(Kd { temperature, standardise: false }),
            Self::LogitStandardisation { temperature, .. } => {
                Box::new(Kd { temperature, standardise: true })
            }
            Self::Mse { .. } => Box::new(Mse),
            Self::L1 { .. } => Box::new(L1),
            Self::Dkd { alpha, beta, temperature, warmup, .. } => {
                factors(&[("alpha", alpha), ("beta", beta), ("warmup", warmup.unwrap_or(0.0))])?;
                Box::new(Dkd { alpha, beta, temperature, warmup })
            }
            Self::Dist { beta, gamma, temperature, .. } => {
                factors(&[("beta", beta), ("gamma", gamma)])?;
                Box::new(Dist { beta, gamma, temperature })
            }
            Self::Hint { ref student, ref teacher, .. } => {
                Box::new(Hint::new(nodes(student, teacher)))
            }
            Self::AttentionTransfer { ref student, ref teacher, .. } => {
                Box::new(AttentionTransfer::new(nodes(student, teacher)))
            }
            Self::Rkd { ref student, ref teacher, distance, angle, .. } => {
                factors(&[("distance", distance), ("angle", angle)])?;
                Box::new(Rkd::new(nodes(student, teacher), distance, angle))
            }
            Self::Similarity { ref student, ref teacher, .. } => {
                Box::new(Similarity::new(nodes(student, teacher)))
            }
            Self::Crd {
                ref student,
                ref teacher,
                dimensions,
                negatives,
                temperature,
                momentum,
                ..
            } => {
                for (at, count) in [("dimensions", dimensions), ("negatives", negatives)] {
                    if count == 0 {
                        return Err(Error::new(ErrorKind::Config, at, "must be at least 1"));
                    }
                }
                if !(0.0..=1.0).contains(&momentum) {
                    let message = format!("{momentum} must be from 0 to 1");
                    return Err(Error::new(ErrorKind::Config, "momentum", message));
                }
                let temperature = temperature.get();
                let numbers = CrdNumbers { dimensions, negatives, temperature, momentum };
                Box::new(Crd::new(nodes(student, teacher), numbers))
            }
            Self::Mutual { temperature, .. } => Box::new(Mutual { temperature }),
            Self::CrossEntropy { label_smoothing, .. } => {
                if !(0.0..1.0).contains(&label_smoothing) {
                    let message = format!("{label_smoothing} must be at least 0 and below 1");
                    return Err(Error::new(ErrorKind::Config, "label_smoothing", message));
                }
                Box::new(CrossEntropy { label_smoothing })
            }
        };
        factors(&[(&format!("weight of {}", loss.name()), self.weight())])?;
        Ok(loss)
    }
}

/// Fails unless every number is finite and not negative.
fn factors(named: &[(&str, f64)]) -> Result<()> {
    match named.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
        None => Ok(()),
        Some((name, value)) => {
            let message = format!("{value} must be finite and not negative");
            Err(Error::new(ErrorKind::Config, *name, message))
        }
    }
}

mod defaults {
    use super::{Temperature, TemperatureSchedule};

    pub(super) fn one() -> f64 {
        1.0
    }
    pub(super) fn eight() -> f64 {
        8.0
    }
    pub(super) fn nine() -> f64 {
        9.0
    }
    pub(super) fn half() -> f64 {
        0.5
    }

    pub(super) fn four_fifths() -> f64 {
        0.8
    }

    pub(super) fn twenty_five() -> f64 {
        25.0
    }

    pub(super) fn fifty() -> f64 {
        50.0
    }

    pub(super) fn hundred() -> f64 {
        100.0
    }

    pub(super) fn thousand() -> f64 {
        1000.0
    }

    pub(super) fn three_thousand() -> f64 {
        3000.0
    }

    pub(super) fn dimensions() -> usize {
        128
    }

    pub(super) fn negatives() -> usize {
        16_384
    }

    pub(super) fn contrast() -> Temperature {
        Temperature::new(0.07).unwrap_or_default()
    }

    pub(super) fn one_degree() -> TemperatureSchedule {
        Temperature::one().into()
    }
    pub(super) fn two_degrees() -> TemperatureSchedule {
        Temperature::new(2.0).unwrap_or_default().into()
    }
}
