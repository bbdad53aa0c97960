//! What a training came to: why it ended, its last and its best epoch.

use hipflask_runtime::graph::Graph;
use serde::{Deserialize, Serialize};

use super::{EarlyStopping, Keep};

/// A finished training.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The network after the last epoch.
    pub last: Graph,
    /// The best epoch's, where there is a validation accuracy and that epoch was not the last.
    pub best: Option<Graph>,
    /// How it went.
    pub summary: Summary,
}

impl Trained {
    /// The network that the options ask to keep.
    pub fn into_kept(self) -> Graph {
        match (self.summary.kept, self.best) {
            (Keep::Best, Some(best)) => best,
            _ => self.last,
        }
    }

    /// The last or the best network, whichever is not kept, if it is another one.
    pub fn other(&self) -> Option<&Graph> {
        let best = self.best.as_ref()?;
        Some(match self.summary.kept {
            Keep::Best => &self.last,
            Keep::Last => best,
        })
    }
}

/// How a training went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Passes over the training samples; not a whole number where time ran out.
    pub epochs: f64,
    /// Why it ended.
    pub stopped: StopReason,
    /// Which epoch's network is kept.
    pub kept: Keep,
    /// The last epoch.
    pub last: EpochScore,
    /// The first epoch with the highest validation accuracy, where there is one.
    pub best: Option<EpochScore>,
    /// Seconds of the whole training, validation included.
    pub seconds: f64,
    /// Training samples a second, the teacher's time included.
    pub images_per_second: f64,
}

impl Summary {
    /// Share of the validation samples that the kept network recognises; `None` without any.
    pub fn validation_accuracy(&self) -> Option<f64> {
        let kept = self.best.filter(|_| self.kept == Keep::Best).unwrap_or(self.last);
        kept.validation_accuracy
    }
}

/// An epoch's validation accuracy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochScore {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Share of the validation samples that are recognised after it; `None` without any.
    pub validation_accuracy: Option<f64>,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// All epochs were done.
    Epochs,
    /// The validation accuracy grew no more.
    EarlyStopping,
    /// The time was over.
    Minutes,
}

/// Validation samples that are recognised after an epoch: whole numbers, so that a resumed run
/// compares what an uninterrupted one compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hits {
    pub(super) epoch: usize,
    pub(super) right: usize,
    pub(super) of: usize,
}

impl Hits {
    fn share(self) -> f64 {
        self.right as f64 / self.of.max(1) as f64
    }

    pub(super) fn score(self) -> EpochScore {
        EpochScore { epoch: self.epoch, validation_accuracy: Some(self.share()) }
    }
}

/// Follows the validation accuracy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Selection {
    /// The first epoch with the most.
    pub(super) best: Option<Hits>,
    /// The last epoch that improved by more than `min_delta`.
    improved: Option<Hits>,
}

impl Selection {
    /// Takes an epoch's; whether it is the best so far.
    pub(super) fn add(&mut self, hits: Hits, rule: Option<EarlyStopping>) -> bool {
        let min_delta = rule.map_or(0.0, |rule| rule.min_delta);
        if self.improved.is_none_or(|old| hits.share() > old.share() + min_delta) {
            self.improved = Some(hits);
        }
        let best = self.best.is_none_or(|old| hits.right > old.right);
        if best {
            self.best = Some(hits);
        }
        best
    }

    /// Whether `epoch` was the last to wait for an improvement.
    pub(super) fn is_over(&self, epoch: usize, rule: Option<EarlyStopping>) -> bool {
        let waited = self.improved.map(|hits| epoch.saturating_sub(hits.epoch));
        rule.zip(waited).is_some_and(|(rule, waited)| waited >= rule.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_waits_for_more_than_min_delta_and_the_best_is_the_first_of_equals() {
        let rule = Some(EarlyStopping { patience: 2, min_delta: 0.02 });
        let mut selection = Selection::default();
        let mut ended = Vec::new();
        // Epoch 3 is the best by a hundredth, which is no improvement; epoch 4 only equals it.
        for (epoch, right) in [(1, 50), (2, 60), (3, 61), (4, 61)] {
            selection.add(Hits { epoch, right, of: 100 }, rule);
            ended.push(selection.is_over(epoch, rule));
        }
        assert_eq!(ended, [false, false, false, true]);
        let best = selection.best.map(Hits::score);
        assert_eq!(best, Some(EpochScore { epoch: 3, validation_accuracy: Some(0.61) }));
        assert!(!selection.is_over(100, None));
    }
}
