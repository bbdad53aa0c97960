//! Weight-only quantization: a matrix of weights as small integers in groups, each with a scale.
//!
//! A row is cut into groups of `size` neighbours, of which the last may be shorter; `w = scale · q`,
//! symmetric, with `q` in two's complement. This is how GGML's Q4_0 and Q8_0 and ONNX Runtime's
//! `MatMulNBits` with its own zero point group; GPTQ and AWQ write groups of 32, 64 and 128 too.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::dtype::DType;

/// What an int4 is stored with added, so that it is a nibble.
pub(crate) const OFFSET: i8 = 8;

/// How the weights of a matrix are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// Bits of a weight: 4 or 8.
    pub bits: u8,
    /// Neighbours along a row with one scale: 32, 64 or 128.
    pub size: usize,
}

impl Groups {
    /// The sizes that there are.
    pub const SIZES: [usize; 3] = [32, 64, 128];

    /// Why there are no such groups, if so.
    pub fn check(self) -> Result<(), String> {
        if ![4, 8].contains(&self.bits) || !Self::SIZES.contains(&self.size) {
            let Self { bits, size } = self;
            return Err(format!(
                "{bits} bits in groups of {size}: weights have 4 or 8, in groups of 32, 64 or 128"
            ));
        }
        Ok(())
    }

    /// `w4` or `w8`, as formats and kernels are called.
    pub const fn name(self) -> &'static str {
        if self.bits == 4 { "w4" } else { "w8" }
    }

    /// Element type of the stored weights: int4 lie in pairs in bytes.
    pub const fn dtype(self) -> DType {
        if self.bits == 4 { DType::U8 } else { DType::I8 }
    }

    /// Smallest and largest integer.
    pub const fn range(self) -> (i8, i8) {
        if self.bits == 4 { (-OFFSET, OFFSET - 1) } else { (i8::MIN, i8::MAX) }
    }

    /// Bytes of a row of `k` weights; none for an odd number of int4.
    pub fn row_bytes(self, k: usize) -> Option<usize> {
        match self.bits {
            4 => k.is_multiple_of(2).then_some(k / 2),
            _ => Some(k),
        }
    }

    /// Weights in a row of so many bytes; saturates.
    pub fn row_len(self, bytes: usize) -> usize {
        if self.bits == 4 { bytes.saturating_mul(2) } else { bytes }
    }

    /// Groups of a row of `k` weights.
    pub fn count(self, k: usize) -> usize {
        k.div_ceil(self.size.max(1))
    }

    /// Stores integers of [`range`](Self::range): int8 as they are, int4 as `q + 8`, the first of a
    /// pair in the lower half of its byte.
    pub fn pack(self, q: &[i8]) -> Vec<u8> {
        match self.bits {
            4 => {
                let nibble = |q: i8| q.wrapping_add(OFFSET).cast_unsigned() & 15;
                q.chunks(2)
                    .map(|pair| {
                        let second = pair.get(1).copied().unwrap_or(0);
                        nibble(pair[0]) | nibble(second) << 4
                    })
                    .collect()
            }
            _ => q.iter().map(|q| q.cast_unsigned()).collect(),
        }
    }

    /// The integers of stored bytes.
    pub fn unpack(self, bytes: &[u8]) -> Vec<i8> {
        match self.bits {
            4 => bytes.iter().flat_map(|&byte| int4(byte)).collect(),
            _ => bytes.iter().map(|byte| byte.cast_signed()).collect(),
        }
    }
}

/// The two integers of a byte.
#[inline(always)]
pub(crate) fn int4(byte: u8) -> [i8; 2] {
    [byte & 15, byte >> 4].map(|nibble| nibble.cast_signed() - OFFSET)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_integer_is_stored_and_found_again() {
        for bits in [4, 8] {
            let groups = Groups { bits, size: 32 };
            let (lo, hi) = groups.range();
            let all: Vec<i8> = (lo..=hi).collect();
            let bytes = groups.pack(&all);
            assert_eq!(Some(bytes.len()), groups.row_bytes(all.len()));
            assert_eq!(groups.row_len(bytes.len()), all.len());
            assert_eq!(groups.unpack(&bytes), all);
        }
    }

    /// GGML's Q4_0 offsets by 8; ONNX Runtime's `MatMulNBits` keeps the first of a pair in the lower
    /// half.
    #[test]
    fn a_byte_of_int4_by_hand() {
        let groups = Groups { bits: 4, size: 32 };
        assert_eq!(groups.pack(&[-8, 7, 0, -1]), [0xf0, 0x78]);
        assert_eq!(groups.row_bytes(5), None);
    }

    #[test]
    fn rows_end_in_a_group_that_may_be_short() {
        for (k, count) in [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3)] {
            assert_eq!(Groups { bits: 8, size: 32 }.count(k), count);
        }
    }

    #[test]
    fn other_sizes_are_refused() {
        for (bits, size) in [(0, 32), (3, 32), (16, 32), (4, 0), (4, 16), (8, 33), (8, usize::MAX)]
        {
            let error = Groups { bits, size }.check().unwrap_err();
            assert!(error.contains(&format!("{bits} bits in groups of {size}")), "{error}");
        }
        Groups { bits: 4, size: 128 }.check().unwrap();
    }
}
