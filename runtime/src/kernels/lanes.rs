//! Sums and maxima in a fixed order that vectors of any width can follow: element `i` belongs to
//! lane `i % 16`; lanes are then folded in halves (0 and 8, …; 0 and 4, …; 0 and 1).

/// Lanes of a fold.
pub(super) const LANES: usize = 16;

/// The sum of `f` over all elements.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    fold(x, 0.0, |sum, x| sum + f(x), |a, b| a + b)
}

/// The largest element; NaN never is, and of none it is -∞.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    let larger = |max: f32, x| if x > max { x } else { max };
    fold(x, f32::NEG_INFINITY, larger, larger)
}

#[inline(always)]
fn fold(
    x: &[f32],
    start: f32,
    take: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for values in whole {
        // Arrays made anew stay in registers.
        lanes = core::array::from_fn(|i| take(lanes[i], values[i]));
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = take(*lane, value);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = lanes.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low = join(*low, *high);
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "the values are exact")]
    use super::*;

    #[test]
    fn every_element_counts_once() {
        for len in [0, 1, 15, 16, 17, 33] {
            let x: alloc::vec::Vec<f32> = (1..=len).map(|i| i as f32).collect();
            assert_eq!(sum(&x, |x| 2.0 * x), (len * (len + 1)) as f32);
            assert_eq!(largest(&x), if len == 0 { f32::NEG_INFINITY } else { len as f32 });
        }
        assert_eq!(largest(&[1.0, f32::NAN, -3.0]), 1.0);
    }
}
