//! The smallest and largest value.

/// Keeps two numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct MinMax {
    seen: Option<(f32, f32)>,
}

impl MinMax {
    /// Takes in finite values.
    pub fn observe(&mut self, values: &[f32]) {
        for &v in values {
            let (min, max) = self.seen.unwrap_or((v, v));
            self.seen = Some((min.min(v), max.max(v)));
        }
    }

    /// The smallest and largest value; `(0, 0)` before any.
    pub fn range(&self) -> (f32, f32) {
        self.seen.unwrap_or_default()
    }
}
