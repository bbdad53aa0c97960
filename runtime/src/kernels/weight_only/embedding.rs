//! Rows of a grouped table by ids.

use crate::groups::{Groups, int4};
use crate::kernels::tokens::each_row;

/// As [`embed`](crate::kernels::embed), of rows whose weights are stored as `groups` say: `scales`
/// are `[rows, groups]`, and each element is one product `scale · q`.
///
/// Panics when `weights`, `scales` or `y` is no whole number of rows.
pub fn embed_groups(groups: Groups, weights: &[u8], scales: &[f32], ids: &[f32], y: &mut [f32]) {
    let width = y.len().checked_div(ids.len()).unwrap_or(0);
    let (row, count) = (groups.row_bytes(width).unwrap_or(0), groups.count(width));
    assert!(row > 0 && weights.len().is_multiple_of(row), "embedding: rows of {row} bytes");
    let rows = weights.len() / row;
    assert_eq!(scales.len(), rows * count, "embedding: scales of {rows} rows");
    each_row(rows, ids, y, |index, y| {
        let weights = &weights[index * row..][..row];
        let scales = &scales[index * count..][..count];
        let group_bytes = groups.row_bytes(groups.size).unwrap_or(row);
        let parts = weights.chunks(group_bytes).zip(scales).zip(y.chunks_mut(groups.size));
        for ((weights, &scale), y) in parts {
            match groups.bits {
                4 => {
                    for (y, &byte) in y.as_chunks_mut::<2>().0.iter_mut().zip(weights) {
                        *y = int4(byte).map(|q| f32::from(q) * scale);
                    }
                }
                _ => {
                    for (y, &byte) in y.iter_mut().zip(weights) {
                        *y = f32::from(byte.cast_signed()) * scale;
                    }
                }
            }
        }
    });
}
