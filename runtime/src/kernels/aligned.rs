//! Vectors that begin at a cache line, so that packed weights load without crossing one.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::Deref;

use bytemuck::{Pod, Zeroable};

/// One cache line, which is also the widest vector of any supported instruction set.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

#[expect(unsafe_code, reason = "bytemuck's marker traits; its derive would be a dependency more")]
// SAFETY: sixty-four bytes, of which any value is valid, also zeros.
unsafe impl Zeroable for Line {}
#[expect(unsafe_code, reason = "bytemuck's marker traits; its derive would be a dependency more")]
// SAFETY: `repr(C)` over 64 bytes with alignment 64: no padding, any bits are valid, `Copy`.
unsafe impl Pod for Line {}

/// Plain values at an address that is a multiple of 64.
#[derive(Clone)]
pub(crate) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Aligned<T> {
    /// `len` values, all zero bits.
    pub(crate) fn zeroed(len: usize) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        Self { lines: alloc::vec![Line([0; 64]); lines], len, element: PhantomData }
    }

    /// The values, to fill in.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl<T: Pod> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_at_a_cache_line_and_keep_their_number() {
        for len in [0, 1, 15, 16, 17, 100] {
            let mut values = Aligned::<i32>::zeroed(len);
            values.as_mut_slice().fill(7);
            assert_eq!(values.len(), len);
            assert_eq!(values.as_ptr() as usize % 64, 0);
            assert!(values.iter().all(|&v| v == 7));
        }
    }
}
