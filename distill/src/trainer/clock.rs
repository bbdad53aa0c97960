//! The time of a run, over all its tries, and its budget.

use std::time::Instant;

/// Counts the seconds of a training.
pub(super) struct Clock {
    started: Instant,
    /// Of earlier tries.
    before: f64,
    budget: Option<f64>,
}

impl Clock {
    /// Starts to count, with a budget in minutes or without one.
    pub(super) fn start(minutes: Option<f64>) -> Self {
        let budget = minutes.map(|minutes| minutes * 60.0);
        Self { started: Instant::now(), before: 0.0, budget }
    }

    /// Goes on after the `seconds` of earlier tries.
    pub(super) fn resume(&mut self, seconds: f64) {
        self.before = seconds;
    }

    /// Seconds so far.
    pub(super) fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    /// Share of the budget that is used; 0 without one.
    pub(super) fn fraction(&self) -> f64 {
        self.budget.map_or(0.0, |budget| self.seconds() / budget)
    }
}
