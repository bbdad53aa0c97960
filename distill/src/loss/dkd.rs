//! Decoupled knowledge distillation (Zhao et al. 2022): the label's class and the others apart.

use candle_core::{D, Tensor};

use super::kd::divergence;
use super::{DistillationLoss, LossInput, TemperatureSchedule};
use crate::{Error, ErrorKind, Result};

/// `warm-up · T² · (α · TCKD + β · NCKD)`, each a mean over the batch.
///
/// TCKD is the divergence of "the label's class or another", NCKD that of the probabilities among
/// the others. Hinton's loss is `TCKD + (1 - p) · NCKD` with `p` the teacher's probability of the
/// label: a sure teacher says nothing there of the other classes, which is what `β` mends.
#[derive(Clone, Copy, Debug)]
pub struct Dkd {
    /// `α`.
    pub alpha: f64,
    /// `β`.
    pub beta: f64,
    /// `T`.
    pub temperature: TemperatureSchedule,
    /// Epochs over which the term grows to its full weight, `(epoch + 1) / warmup`; without it the
    /// paper's 20 of 240 epochs, in shorter runs a twelfth of them.
    pub warmup: Option<f64>,
}

impl Dkd {
    /// The factor of the term at `moment`: it changes from epoch to epoch, as in the paper's code.
    fn growth(&self, moment: super::Moment) -> f64 {
        let warmup = self.warmup.unwrap_or_else(|| (moment.epochs / 12.0).min(20.0));
        if warmup > 0.0 { ((moment.epoch.floor() + 1.0) / warmup).min(1.0) } else { 1.0 }
    }
}

impl DistillationLoss for Dkd {
    fn name(&self) -> &'static str {
        "dkd"
    }

    fn needs_labels(&self) -> bool {
        true
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let t = self.temperature.at(input.moment);
        let (teacher, student) = ((input.teacher(self.name())? / t)?, (input.student_logits / t)?);
        let sum = input.labelled(self.name(), |labels| {
            let (teacher, student) = (split(&teacher, labels)?, split(&student, labels)?);
            let target = divergence(&teacher.binary, &student.binary)?;
            let others = divergence(&teacher.others, &student.others)?;
            Ok(((target * self.alpha)? + (others * self.beta)?)?)
        })?;
        Ok((sum * (t * t * self.growth(input.moment)))?)
    }
}

/// Logits taken apart.
struct Parts {
    /// `[n, 2]`: the label's logit, and the logarithm of the summed exponentials of the others.
    binary: Tensor,
    /// `[n, c - 1]`
    others: Tensor,
}

fn split(logits: &Tensor, labels: &Tensor) -> Result<Parts> {
    let classes = logits.dim(D::Minus1)?;
    if classes < 2 {
        let message = format!("{classes} class: there is nothing to tell apart");
        return Err(Error::new(ErrorKind::Shape, "dkd", message));
    }
    let labels = labels.to_vec1::<u32>()?;
    let of = |label: u32| (0..classes as u32).filter(move |&class| class != label);
    let elsewhere: Vec<u32> = labels.iter().flat_map(|&label| of(label)).collect();
    let device = logits.device();
    let elsewhere = Tensor::from_vec(elsewhere, (labels.len(), classes - 1), device)?;
    let here = Tensor::from_slice(&labels, (labels.len(), 1), device)?;
    let others = logits.contiguous()?.gather(&elsewhere, 1)?;
    // The shift cancels in value and gradient, so no gradient need flow through it.
    let highest = others.max_keepdim(D::Minus1)?.detach();
    let sum = others.broadcast_sub(&highest)?.exp()?.sum_keepdim(D::Minus1)?;
    let rest = (sum.log()? + highest)?;
    let binary = Tensor::cat(&[&logits.contiguous()?.gather(&here, 1)?, &rest], 1)?;
    Ok(Parts { binary, others })
}
