//! Time of each step beside what one core of this CPU can do.

use std::time::Instant;

use alloc::vec::Vec;

use serde::Serialize;

use crate::kernels::Peak;
use crate::{PlannedStep, Result, Session, View};

/// A step and its time over many runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepTime {
    /// What it does.
    #[serde(flatten)]
    pub step: PlannedStep,
    /// Of the fastest run.
    pub fastest_us: f64,
    /// Median.
    pub p50_us: f64,
    /// Of the sum of all steps' medians, from 0 to 1.
    pub share: f64,
    /// Multiply-accumulates a nanosecond in the fastest run; none where it multiplies nothing.
    pub gmacs: Option<f64>,
    /// The same as a share of the peak of the threads that share the step.
    pub of_peak: Option<f64>,
}

/// Where the time of a session goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// Inferences measured.
    pub runs: usize,
    /// What one core can do.
    pub peak: Peak,
    /// Steps in their order.
    pub steps: Vec<StepTime>,
}

impl Session {
    /// Times each step of `runs` inferences; fails where inputs do not fit, as [`Session::run`].
    ///
    /// The time of the clock itself, some ten nanoseconds a step, is part of it.
    pub fn profile(&mut self, inputs: &[View<'_>], runs: usize) -> Result<Profile> {
        let mut times: Vec<Vec<f64>> = self.steps().map(|_| Vec::with_capacity(runs)).collect();
        for _ in 0..runs {
            let mut steps = times.iter_mut();
            let mut last: Option<Instant> = None;
            self.run_steps(inputs, || {
                let now = Instant::now();
                if let Some(last) = last
                    && let Some(times) = steps.next()
                {
                    times.push((now - last).as_secs_f64() * 1e6);
                }
                last = Some(Instant::now());
            })?;
        }
        let peak = Peak::measure(self.isa());
        let mut steps: Vec<StepTime> = self
            .steps()
            .zip(times)
            .map(|(step, times)| StepTime::new(step, times, &peak))
            .collect();
        let total: f64 = steps.iter().map(|step| step.p50_us).sum();
        for step in steps.iter_mut().filter(|_| total > 0.0) {
            step.share = step.p50_us / total;
        }
        Ok(Profile { runs, peak, steps })
    }
}

impl StepTime {
    fn new(step: PlannedStep, mut times: Vec<f64>, peak: &Peak) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |i: usize| times.get(i).copied().unwrap_or_default();
        let (fastest_us, p50_us) = (at(0), at(times.len() / 2));
        let counted = step.macs > 0 && fastest_us > 0.0;
        let gmacs = counted.then(|| step.macs as f64 / fastest_us / 1e3);
        let of_peak = gmacs.map(|gmacs| gmacs / (peak.of(step.dtype) * step.parts as f64));
        Self { step, fastest_us, p50_us, share: 0.0, gmacs, of_peak }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::graph::{GraphBuilder, Layout, Op};
    use crate::{Model, Options, Tensor};

    #[test]
    fn every_step_is_timed_and_only_products_have_a_rate() {
        let mut b = GraphBuilder::new("two", Layout::Nhwc);
        let x = b.input("x", [1, 4]);
        let weights = [
            ("weight", Tensor::from_f32([3, 4], &[1.0; 12])),
            ("bias", Tensor::from_f32([3], &[0.0; 3])),
        ];
        let y = b.node("fc", Op::Linear, &[x], weights).unwrap();
        let y = b.node("softmax", Op::Softmax, &[y], []).unwrap();
        let model = Model::from_graph(b.finish(&[y]).unwrap()).unwrap();
        let mut session = Session::new(&model, &Options::default()).unwrap();
        let profile = session.profile(&[View::F32(&[0.5; 4])], 20).unwrap();
        let [fc, softmax] = &profile.steps[..] else { panic!("{profile:?}") };
        assert_eq!((fc.step.name.as_str(), fc.step.macs), ("fc", 12));
        assert!(fc.fastest_us <= fc.p50_us && fc.share + softmax.share <= 1.0 + 1e-9);
        assert_eq!(fc.of_peak, fc.gmacs.map(|rate| rate / profile.peak.f32_gmacs));
        assert_eq!((softmax.gmacs, softmax.of_peak), (None, None));
        // Four f32 in, three out; 12 weights and 3 biases.
        assert_eq!((fc.step.bytes_read, fc.step.bytes_written), (16 + 60, 12));
        assert!(session.profile(&[], 1).is_err());
    }
}
