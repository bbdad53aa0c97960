//! What peers say of a batch, learnt by each other (Zhang et al. 2018, "Deep Mutual Learning").

use candle_core::Tensor;

use super::kd::divergence;
use super::{DistillationLoss, LossInput, Temperature, TemperatureSchedule};
use crate::{Error, ErrorKind, Result};

/// `T² · mean over the peers of KL(softmax(peer / T) ‖ softmax(student / T))`, summed over classes, mean
/// over the batch; no gradient flows to the peers.
#[derive(Clone, Copy, Debug)]
pub struct Mutual {
    /// `T`, 1 in the paper.
    pub temperature: TemperatureSchedule,
}

impl Default for Mutual {
    fn default() -> Self {
        Self { temperature: Temperature::one().into() }
    }
}

impl DistillationLoss for Mutual {
    fn name(&self) -> &'static str {
        "mutual"
    }

    fn needs_teacher(&self) -> bool {
        false
    }

    fn needs_peers(&self) -> bool {
        true
    }

    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let t = self.temperature.at(input.moment);
        let student = (input.student_logits / t)?;
        let mut sum: Option<Tensor> = None;
        for peer in input.peer_logits {
            let peer = input.other("peer", peer, self.name())?;
            let value = divergence(&(peer / t)?, &student)?.mean_all()?;
            sum = Some(match sum {
                Some(sum) => (sum + value)?,
                None => value,
            });
        }
        let Some(sum) = sum else {
            let message = "needs what peers say, but the run has none";
            return Err(Error::new(ErrorKind::Config, self.name(), message));
        };
        Ok((sum * (t * t / input.peer_logits.len() as f64))?)
    }
}
