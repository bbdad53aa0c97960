//! Kernels that move elements to other channels: parts of values, channels of zeros, shuffles.

use core::ops::Range;

/// Copies `range` of each stretch of `stretch` elements; panics when a length does not fit.
pub fn slice<T: Copy>(stretch: usize, range: Range<usize>, x: &[T], y: &mut [T]) {
    assert!(range.end <= stretch && !range.is_empty(), "slice: {range:?} of {stretch}");
    assert_eq!(x.len() * range.len(), y.len() * stretch, "slice: input and output length");
    for (y, x) in y.chunks_exact_mut(range.len()).zip(x.chunks_exact(stretch)) {
        y.copy_from_slice(&x[range.clone()]);
    }
}

/// Puts so many elements `fill` before and after those of each pixel.
///
/// `fill` is 0.0, or the zero point. Panics when a length does not fit.
pub fn pad_channels<T: Copy>([before, channels, after]: [usize; 3], fill: T, x: &[T], y: &mut [T]) {
    let wide = before + channels + after;
    assert_eq!(x.len() * wide, y.len() * channels, "pad channels: input and output length");
    for (y, x) in y.chunks_exact_mut(wide).zip(x.chunks_exact(channels)) {
        y[..before].fill(fill);
        y[before..][..channels].copy_from_slice(x);
        y[before + channels..].fill(fill);
    }
}

/// Each pixel's channels by turns from each of `groups` groups; panics when a length does not fit.
pub fn shuffle<T: Copy>(channels: usize, groups: usize, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "shuffle: input and output differ in length");
    assert!(channels.is_multiple_of(groups), "shuffle: {groups} groups of {channels} channels");
    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        for (group, x) in x.chunks_exact(channels / groups).enumerate() {
            for (y, &x) in y[group..].iter_mut().step_by(groups).zip(x) {
                *y = x;
            }
        }
    }
}
