//! Memory of a compiled network: the arena and its parts.

use core::ops::Range;

pub use crate::plan::in_place;

/// The values of one inference, `BYTES` of them.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Arena<const BYTES: usize>(pub [u8; BYTES]);

impl<const BYTES: usize> Arena<BYTES> {
    /// Memory for a network that says so many bytes.
    #[expect(clippy::new_without_default, reason = "a constant, so that it can be a static")]
    pub const fn new() -> Self {
        Self([0; BYTES])
    }
}

/// The bytes `output`, writable, beside those of `inputs`, which do not overlap it.
///
/// Panics where they do or lie beyond the arena.
pub fn split<const N: usize>(
    arena: &mut [u8],
    output: Range<usize>,
    inputs: [Range<usize>; N],
) -> (&mut [u8], [&[u8]; N]) {
    let (before, rest) = arena.split_at_mut(output.start);
    let (to, after) = rest.split_at_mut(output.end - output.start);
    let (before, after) = (&*before, &*after);
    let input = |input: Range<usize>| match input.start.checked_sub(output.end) {
        Some(start) => &after[start..input.end - output.end],
        None => &before[input],
    };
    (to, inputs.map(input))
}

/// Bytes as int8.
pub fn i8s(bytes: &[u8]) -> &[i8] {
    bytemuck::cast_slice(bytes)
}

/// Bytes as int8.
pub fn i8s_mut(bytes: &mut [u8]) -> &mut [i8] {
    bytemuck::cast_slice_mut(bytes)
}

/// Bytes as f32; panics where they do not begin at a multiple of four.
pub fn f32s(bytes: &[u8]) -> &[f32] {
    bytemuck::cast_slice(bytes)
}

/// Bytes as f32; panics where they do not begin at a multiple of four.
pub fn f32s_mut(bytes: &mut [u8]) -> &mut [f32] {
    bytemuck::cast_slice_mut(bytes)
}

/// Passes each `part` elements of `x` through `f` to those from `first` on of each `stretch` of `y`:
/// one input's share of values joined along an axis.
pub fn copy_strided<T>(
    (part, first, stretch): (usize, usize, usize),
    x: &[T],
    y: &mut [T],
    f: impl Fn(&[T], &mut [T]),
) {
    for (x, y) in x.chunks_exact(part).zip(y.chunks_exact_mut(stretch)) {
        f(x, &mut y[first..][..part]);
    }
}
