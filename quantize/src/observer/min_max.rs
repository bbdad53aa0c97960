//! The smallest and largest value.

use super::Observer;

/// Keeps two numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct MinMax {
    seen: Option<(f32, f32)>,
}

impl Observer for MinMax {
    fn observe(&mut self, values: &[f32]) {
        for &v in values {
            let (min, max) = self.seen.unwrap_or((v, v));
            self.seen = Some((min.min(v), max.max(v)));
        }
    }

    fn range(&self) -> (f32, f32) {
        self.seen.unwrap_or_default()
    }
}
