//! Shows a training on stderr.

use hipflask_distill::trainer::{EpochMetrics, Monitor};

use crate::progress::{Bar, Progress};

/// A bar for each epoch, and a line for what it brought.
pub struct TrainingMonitor {
    role: String,
    epochs: usize,
    bar: Bar,
}

impl TrainingMonitor {
    /// For the training of `role`, as `student`.
    pub fn new(role: &str, progress: &Progress) -> Self {
        Self { role: role.into(), epochs: 0, bar: progress.bar(role, 0) }
    }
}

impl Monitor for TrainingMonitor {
    fn epoch_started(&mut self, epoch: usize, epochs: usize, steps: usize, done: usize) {
        self.epochs = epochs;
        self.bar.restart(steps as u64);
        self.bar.label(&format!("{} epoch {epoch}/{epochs}", self.role));
        for _ in 0..done {
            self.bar.inc();
        }
    }

    fn step(&mut self, loss: f64) {
        self.bar.inc();
        self.bar.message(&format!("loss {loss:.4}"));
    }

    fn asked(&mut self, view: usize, done: usize, samples: usize) {
        self.bar.label(&format!("teacher, view {view}"));
        self.bar.reached(done as u64, samples as u64);
        if done == samples {
            self.bar.line(&format!("teacher: view {view} of {samples} samples is kept"));
        }
    }

    fn note(&mut self, text: &str) {
        self.bar.line(text);
    }

    fn epoch_ended(&mut self, role: &str, metrics: &EpochMetrics) {
        let EpochMetrics { epoch, loss, images_per_second, .. } = metrics;
        let mut line = format!("{role} epoch {epoch}/{}: loss {loss:.4}", self.epochs);
        for (name, accuracy) in
            [("train", metrics.train_accuracy), ("validation", metrics.validation_accuracy)]
        {
            if let Some(accuracy) = accuracy {
                line += &format!(", {name} {:.2} %", accuracy * 100.0);
            }
        }
        self.bar.line(&format!("{line}, {images_per_second:.0} images/s"));
    }
}
