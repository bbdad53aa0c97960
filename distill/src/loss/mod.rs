//! Distillation losses: what a student is asked to imitate.
//!
//! Each is a function of the student's logits and, as it needs them, the teacher's logits, the
//! labels and inner values of both networks; [`WeightedSum`] adds them up as a recipe says.

mod adapter;
mod attention;
mod crd;
mod cross_entropy;
mod dist;
mod dkd;
mod features;
mod hint;
mod kd;
mod l1;
mod mse;
mod mutual;
mod rkd;
mod rows;
mod similarity;
mod spec;
mod temperature;
#[cfg(test)]
mod tests;
mod weighted;

use candle_core::Tensor;

use crate::optim::Parameter;
use crate::{Error, ErrorKind, Result};

pub use attention::AttentionTransfer;
pub use crd::{Crd, CrdNumbers};
pub use cross_entropy::CrossEntropy;
pub use dist::Dist;
pub use dkd::Dkd;
pub use features::{NodePair, Surroundings, Wanted};
pub use hint::Hint;
pub use kd::Kd;
pub use l1::L1;
pub use mse::Mse;
pub use mutual::Mutual;
pub use rkd::Rkd;
pub use similarity::Similarity;
pub use spec::LossSpec;
pub use temperature::{Curve, Ramp, Temperature, TemperatureSchedule};
pub use weighted::{LossValue, WeightedSum};

/// What a loss is computed from, for one batch of `n` samples and `c` classes.
#[derive(Clone, Copy, Debug)]
pub struct LossInput<'a> {
    /// The student's logits `[n, c]`; gradients flow to them.
    pub student_logits: &'a Tensor,
    /// The teacher's logits `[n, c]`; no gradient flows to them.
    pub teacher_logits: Option<&'a Tensor>,
    /// The logits `[n, c]` of each network that is trained together with it; no gradient flows to them.
    pub peer_logits: &'a [Tensor],
    /// Class indices `[n]`, `u32`.
    pub labels: Option<&'a Tensor>,
    /// What else is in the samples, where they are mixtures.
    pub others: Option<&'a OtherLabels>,
    /// When in the run.
    pub moment: Moment,
    /// The student's inner values that [`DistillationLoss::bind`] asked for, each `[n, …]`; gradients
    /// flow to them.
    pub student_features: &'a [Tensor],
    /// The teacher's; no gradient flows to them.
    pub teacher_features: &'a [Tensor],
    /// Which of the training samples they are.
    pub indices: &'a [usize],
}

/// The second classes of mixed samples (mixup, CutMix).
#[derive(Clone, Debug)]
pub struct OtherLabels {
    /// Class indices `[n]`, `u32`.
    pub labels: Tensor,
    /// Share `[n]` of the first sample, and so of its class, in `[0, 1]`.
    pub shares: Tensor,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Epochs behind it, with the share of the one that is under way.
    pub epoch: f64,
    /// Epochs of the whole run.
    pub epochs: f64,
}

impl Moment {
    /// The share of the run that is behind it, from 0 to 1.
    pub fn share(self) -> f64 {
        (self.epoch / self.epochs.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

impl Default for Moment {
    /// The beginning of a run of one epoch.
    fn default() -> Self {
        Self { epoch: 0.0, epochs: 1.0 }
    }
}

/// A training objective.
pub trait DistillationLoss: Send + Sync {
    /// Short name for metrics and messages.
    fn name(&self) -> &'static str;

    /// Whether [`LossInput::teacher_logits`] must be there.
    fn needs_teacher(&self) -> bool {
        true
    }

    /// Whether [`LossInput::peer_logits`] must have some.
    fn needs_peers(&self) -> bool {
        false
    }

    /// Whether [`field@LossInput::labels`] must be there.
    fn needs_labels(&self) -> bool {
        false
    }

    /// Whether it compares inner values: it is then [bound](Self::bind) before its first batch.
    fn needs_features(&self) -> bool {
        false
    }

    /// Chooses the nodes whose values it compares, and makes what it needs for their shapes.
    fn bind(&mut self, _around: &mut Surroundings<'_>) -> Result<()> {
        Ok(())
    }

    /// Variables that are trained with the student's.
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    /// All that it keeps from batch to batch, parameters first: what a checkpoint must hold.
    fn state(&self) -> Vec<Parameter> {
        self.parameters()
    }

    /// The loss of a batch, a scalar.
    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor>;
}

impl<'a> LossInput<'a> {
    /// The student's logits `[n, c]` alone, at the beginning of a run.
    pub fn new(student_logits: &'a Tensor) -> Self {
        Self {
            student_logits,
            teacher_logits: None,
            peer_logits: &[],
            labels: None,
            others: None,
            moment: Moment::default(),
            student_features: &[],
            teacher_features: &[],
            indices: &[],
        }
    }

    /// The teacher's logits without gradient, checked against the student's.
    fn teacher(&self, loss: &str) -> Result<Tensor> {
        let Some(teacher) = self.teacher_logits else {
            let message = "needs the teacher's logits, but the run has no teacher";
            return Err(Error::new(ErrorKind::Config, loss, message));
        };
        self.other("teacher", teacher, loss)
    }

    /// The logits of another network, the `role`, without gradient, checked against the student's.
    fn other(&self, role: &str, logits: &Tensor, loss: &str) -> Result<Tensor> {
        if logits.dims() != self.student_logits.dims() {
            let message = format!(
                "the {role} gives {:?} and the student {:?}: they must have the same classes",
                logits.dims(),
                self.student_logits.dims()
            );
            return Err(Error::new(ErrorKind::Shape, loss, message));
        }
        Ok(logits.detach())
    }

    /// The mean over the batch of `each`, which gives a number `[n]` a sample for labels; of a
    /// mixture by its shares for both of its classes.
    fn labelled(&self, loss: &str, each: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let Some(labels) = self.labels else {
            let message = "needs labels, but the data has none";
            return Err(Error::new(ErrorKind::Config, loss, message));
        };
        let values = each(self.checked(labels, loss)?)?;
        let Some(OtherLabels { labels, shares }) = self.others else {
            return Ok(values.mean_all()?);
        };
        let others = (each(self.checked(labels, loss)?)? * (1.0 - shares)?)?;
        Ok(((values * shares)? + others)?.mean_all()?)
    }

    /// `labels`, checked against the student's logits.
    fn checked<'b>(&self, labels: &'b Tensor, loss: &str) -> Result<&'b Tensor> {
        let &[n, classes] = self.student_logits.dims() else {
            let message = format!("logits must be [n, c], got {:?}", self.student_logits.dims());
            return Err(Error::new(ErrorKind::Shape, loss, message));
        };
        if labels.dims() != [n] {
            let message = format!("{n} samples but labels {:?}", labels.dims());
            return Err(Error::new(ErrorKind::Shape, loss, message));
        }
        match labels.to_vec1::<u32>()?.iter().find(|&&label| label as usize >= classes) {
            Some(label) => {
                let message = format!("label {label} does not fit a network of {classes} classes");
                Err(Error::new(ErrorKind::Data, loss, message))
            }
            None => Ok(labels),
        }
    }
}
