//! int8 by int8 in int32, exact, requantized to int8 (`docs/int8.md`).

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use super::{Arithmetic, Tile, spread};
use crate::kernels::Isa;
use crate::kernels::aligned::Aligned;
use crate::quant::Output;

/// The int8 product. The left side is widened to i16 when patches are gathered.
pub(crate) struct Int8;

impl Arithmetic for Int8 {
    type Value = i8;
    type Left = i16;
    type Epilogue = Requantize;

    fn direct(_: &[i8]) -> Option<&[i16]> {
        None
    }
}

/// Adds the bias, multiplies, clamps and rounds: one bias and multiplier a packed channel.
pub(crate) struct Requantize {
    /// `b'`: the bias with the input's zero point folded in.
    pub(crate) bias: Aligned<i32>,
    /// `s_x · s_w / s_y`.
    pub(crate) multiplier: Aligned<f32>,
    /// Zero point and clamp of the output.
    pub(crate) output: Output,
}

impl Requantize {
    /// Constants of `[groups, n]` channels for panels of `nr`.
    pub(crate) fn new(
        bias: &[i32],
        multiplier: &[f32],
        output: Output,
        n: usize,
        nr: usize,
    ) -> Self {
        Self { bias: spread(bias, n, nr), multiplier: spread(multiplier, n, nr), output }
    }
}

/// The tile for an instruction set; panics when this CPU lacks it.
pub(crate) fn tile(isa: Isa) -> Tile<Int8> {
    isa.assert_available();
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::TILE,
        _ => portable::TILE,
    }
}
