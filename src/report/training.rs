//! How a network was trained: epochs, why it ended, the last and the best epoch.

use std::fmt;

use hipflask_distill::trainer::{Keep, StopReason, Summary};
use serde::Serialize;

/// A training's summary with the test accuracies of what it could keep.
#[derive(Clone, Debug, Serialize)]
pub struct TrainingReport {
    /// What the trainer says.
    #[serde(flatten)]
    pub summary: Summary,
    /// Test accuracy of the last epoch's network.
    pub last_test_accuracy: Option<f64>,
    /// Test accuracy of the best epoch's network, the best by the *validation* samples.
    pub best_test_accuracy: Option<f64>,
}

impl TrainingReport {
    /// Of a training whose other network, where it has one, has the test accuracy `other`.
    pub fn new(summary: Summary, other: Option<f64>) -> Self {
        let (last, best) = match summary.kept {
            Keep::Last => (None, other),
            Keep::Best => (other, None),
        };
        Self { summary, last_test_accuracy: last, best_test_accuracy: best }
    }

    /// With the test accuracy of the network that was kept.
    #[must_use]
    pub fn kept_at(mut self, accuracy: Option<f64>) -> Self {
        let same = self.summary.best.is_some_and(|best| best.epoch == self.summary.last.epoch);
        if self.summary.kept == Keep::Last || same {
            self.last_test_accuracy = accuracy;
        }
        if self.summary.kept == Keep::Best || same {
            self.best_test_accuracy = accuracy;
        }
        self
    }
}

/// `12 epochs (early stopping), last epoch 12: 96.80 % validation, 96.39 % test, …`
impl fmt::Display for TrainingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { epochs, stopped, kept, last, best, seconds, images_per_second } =
            &self.summary;
        let epochs = (epochs * 10.0).round() / 10.0;
        let reason = match stopped {
            StopReason::Epochs => "",
            StopReason::EarlyStopping => " (stopped early: validation accuracy grew no more)",
            StopReason::Minutes => " (all that fitted into its minutes)",
        };
        write!(f, "{epochs} epochs{reason} in {seconds:.1} s, {images_per_second:.0} images/s")?;
        if let Some(best) = best {
            for (name, epoch, test, keep) in [
                ("last", last, self.last_test_accuracy, Keep::Last),
                ("best", best, self.best_test_accuracy, Keep::Best),
            ] {
                let validation = epoch.validation_accuracy.unwrap_or_default() * 100.0;
                write!(f, "; {name} epoch {}: {validation:.2} % validation", epoch.epoch)?;
                if let Some(test) = test {
                    write!(f, ", {:.2} % test", test * 100.0)?;
                }
                if keep == *kept {
                    write!(f, " (kept)")?;
                }
            }
        }
        Ok(())
    }
}
