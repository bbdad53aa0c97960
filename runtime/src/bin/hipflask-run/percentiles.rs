//! Latency of single inferences.

use std::time::Instant;

use hipflask_runtime::Result;
use serde::Serialize;

/// Percentiles, each the time of one of the inferences, in microseconds.
#[derive(Clone, Copy, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names in the document")]
pub(crate) struct Percentiles {
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
}

impl Percentiles {
    /// Of `runs` calls, after a tenth as many to warm up.
    pub(crate) fn of(runs: usize, mut call: impl FnMut(usize) -> Result<()>) -> Result<Self> {
        (0..runs.div_ceil(10)).try_for_each(&mut call)?;
        let mut times = Vec::with_capacity(runs);
        for run in 0..runs {
            let start = Instant::now();
            call(run)?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let place = (share * runs as f64).ceil() as usize;
            times.get(place.clamp(1, runs) - 1).copied().unwrap_or_default()
        };
        Ok(Self { p50_us: rank(0.50), p90_us: rank(0.90), p99_us: rank(0.99) })
    }

    /// `p50 1.0 µs, p90 1.1 µs, p99 1.3 µs`
    pub(crate) fn text(&self) -> String {
        let Self { p50_us, p90_us, p99_us } = self;
        format!("p50 {p50_us:.1} µs, p90 {p90_us:.1} µs, p99 {p99_us:.1} µs")
    }
}
