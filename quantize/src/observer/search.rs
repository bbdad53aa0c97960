//! The search for a range: from the full one down to a fifth of it, one end at a time.

/// Steps of the search.
const STEPS: u32 = 80;
/// Share of the full range to which an end may shrink.
const LEAST: f64 = 0.2;

/// The range within `[min, max]`, widened to contain 0, with the least `cost`; the widest of equals.
pub(super) fn least((min, max): (f32, f32), cost: impl Fn((f64, f64)) -> f64) -> (f32, f32) {
    let full = (f64::from(min.min(0.0)), f64::from(max.max(0.0)));
    let mut best = full;
    // Twice: the ends hardly influence each other.
    for _ in 0..2 {
        best.1 = shrink(full.1, |end| cost((best.0, end)));
        best.0 = shrink(full.0, |end| cost((end, best.1)));
    }
    (best.0 as f32, best.1 as f32)
}

/// The multiple of `end` with the least cost; the largest of equals.
fn shrink(end: f64, cost: impl Fn(f64) -> f64) -> f64 {
    let candidates =
        (0..=STEPS).map(|i| end * (1.0 - (1.0 - LEAST) * f64::from(i) / f64::from(STEPS)));
    let mut best = (end, f64::INFINITY);
    for candidate in candidates {
        let found = cost(candidate);
        if found < best.1 {
            best = (candidate, found);
        }
    }
    best.0
}
