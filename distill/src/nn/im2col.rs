//! Lowers a convolution to a matrix product and back (Chellapilla et al. 2006).

use super::window::Window;

/// Writes `[channels · taps, out_plane]`: row `(c, ky, kx)` holds the value under that kernel
/// position for every output, 0 in the padding. `x` is `[channels, h, w]`.
pub(super) fn im2col(window: &Window, x: &[f32], columns: &mut [f32]) {
    let [_, width] = window.input;
    let [_, out_w] = window.output;
    let [kh, kw] = window.kernel;
    let taps = columns.chunks_exact_mut(window.out_plane().max(1));
    for (index, row) in taps.enumerate() {
        let (c, ky, kx) = (index / (kh * kw), index / kw % kh, index % kw);
        let plane = &x[c * window.in_plane()..][..window.in_plane()];
        let (rows, first_y) = window.span(0, ky);
        let (cols, first_x) = window.span(1, kx);
        row[..rows.start * out_w].fill(0.0);
        row[rows.end * out_w..].fill(0.0);
        for (i, out) in
            row[rows.start * out_w..rows.end * out_w].chunks_exact_mut(out_w).enumerate()
        {
            let from = &plane[(first_y + i * window.stride[0]) * width..][..width];
            out[..cols.start].fill(0.0);
            out[cols.end..].fill(0.0);
            let out = &mut out[cols.clone()];
            if out.is_empty() {
                continue;
            }
            if window.stride[1] == 1 {
                out.copy_from_slice(&from[first_x..][..out.len()]);
            } else {
                for (out, &v) in
                    out.iter_mut().zip(from[first_x..].iter().step_by(window.stride[1]))
                {
                    *out = v;
                }
            }
        }
    }
}

/// The transpose of [`im2col`]: adds every column value to the input value it came from.
pub(super) fn add_col2im(window: &Window, columns: &[f32], x: &mut [f32]) {
    let [_, width] = window.input;
    let [_, out_w] = window.output;
    let [kh, kw] = window.kernel;
    for (index, row) in columns.chunks_exact(window.out_plane().max(1)).enumerate() {
        let (c, ky, kx) = (index / (kh * kw), index / kw % kh, index % kw);
        let plane = &mut x[c * window.in_plane()..][..window.in_plane()];
        let (rows, first_y) = window.span(0, ky);
        let (cols, first_x) = window.span(1, kx);
        if cols.is_empty() {
            continue;
        }
        for (i, from) in row[rows.start * out_w..rows.end * out_w].chunks_exact(out_w).enumerate() {
            let to = &mut plane[(first_y + i * window.stride[0]) * width..][..width];
            let from = &from[cols.clone()];
            if window.stride[1] == 1 {
                for (to, v) in to[first_x..].iter_mut().zip(from) {
                    *to += v;
                }
            } else {
                for (to, v) in to[first_x..].iter_mut().step_by(window.stride[1]).zip(from) {
                    *to += v;
                }
            }
        }
    }
}
