//! Token ids to vectors and back to one vector: look-up and mean, in f32.

use super::isa::{Body, Isa};

/// Copies for each of `ids` its row of `rows`, which have as many elements as `y` a row.
///
/// An id is rounded down; one below 0 or NaN takes the first row, one too large the last. Panics
/// when `rows` or `y` is no whole number of rows.
pub fn embed(rows: &[f32], ids: &[f32], y: &mut [f32]) {
    let width = y.len().checked_div(ids.len()).unwrap_or(0);
    assert!(width > 0 && y.len().is_multiple_of(width), "embedding: {} ids", ids.len());
    assert!(!rows.is_empty() && rows.len().is_multiple_of(width), "embedding: rows of {width}");
    each_row(rows.len() / width, ids, y, |row, y| {
        y.copy_from_slice(&rows[row * width..][..width]);
    });
}

/// Calls `write` with the row that each of `ids` names among `rows`, and its part of `y`, which
/// holds a row for each id.
pub(super) fn each_row(
    rows: usize,
    ids: &[f32],
    y: &mut [f32],
    mut write: impl FnMut(usize, &mut [f32]),
) {
    let (width, last) = (y.len().checked_div(ids.len()).unwrap_or(0), rows.saturating_sub(1));
    for (y, &id) in y.chunks_exact_mut(width.max(1)).zip(ids) {
        // The conversion saturates, and makes NaN 0.
        write((id as usize).min(last), y);
    }
}

/// The mean of the tokens in `x`, as many elements each as `y` has, added in their order.
///
/// Those whose id is 0 do not count; where none does, the mean is 0. Panics when lengths do not
/// fit.
pub fn mean_tokens_f32(isa: Isa, x: &[f32], ids: Option<&[f32]>, y: &mut [f32]) {
    let width = y.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "mean of tokens of {width}");
    assert!(ids.is_none_or(|ids| ids.len() * width == x.len()), "mean of tokens: ids");
    isa.vectorized(Mean { x, ids, y });
}

struct Mean<'a> {
    x: &'a [f32],
    ids: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Body for Mean<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { x, ids, y } = self;
        let counts = |token: usize| ids.is_none_or(|ids| ids[token] != 0.0);
        let mut count = 0.0_f32;
        y.fill(0.0);
        for (token, x) in x.chunks_exact(y.len()).enumerate() {
            if counts(token) {
                count += 1.0;
                for (y, x) in y.iter_mut().zip(x) {
                    *y += x;
                }
            }
        }
        let divisor = if count > 0.0 { count } else { 1.0 };
        for y in y {
            *y /= divisor;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "the values are exact")]
    use super::*;

    #[test]
    fn ids_outside_the_vocabulary_take_the_nearest_row() {
        let rows = [10.0, 11.0, 20.0, 21.0, 30.0, 31.0];
        let ids = [1.0, -3.0, 1e9, f32::NAN, f32::NEG_INFINITY, 2.0];
        let mut y = [0.0; 12];
        embed(&rows, &ids, &mut y);
        assert_eq!(y, [20.0, 21.0, 10.0, 11.0, 30.0, 31.0, 10.0, 11.0, 10.0, 11.0, 30.0, 31.0]);
    }

    #[test]
    fn the_mean_leaves_padding_out() {
        let x = [1.0, 2.0, 3.0, 6.0, 5.0, 100.0];
        for isa in Isa::available() {
            let mean = |ids: Option<&[f32]>| {
                let mut y = [7.0; 2];
                mean_tokens_f32(isa, &x, ids, &mut y);
                y
            };
            assert_eq!(mean(None), [3.0, 36.0]);
            assert_eq!(mean(Some(&[4.0, 1.0, 0.0])), [2.0, 4.0]);
            assert_eq!(mean(Some(&[0.0; 3])), [0.0, 0.0]);
        }
    }
}
