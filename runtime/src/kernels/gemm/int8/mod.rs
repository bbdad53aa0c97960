//! int8 by int8 in int32, exact, requantized to int8 (`docs/int8.md`).

#[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
mod armv7;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod dotprod;
#[cfg(target_arch = "aarch64")]
mod i8mm;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(target_arch = "x86_64")]
mod vector;
#[cfg(target_arch = "x86_64")]
mod vectors256;

use alloc::vec::Vec;

use super::vector::Kernel;
use super::{Arithmetic, Tile, spread};
use crate::kernels::Isa;
use crate::kernels::aligned::Aligned;
use crate::quant::Output;

/// The int8 product.
pub struct Int8;

impl Arithmetic for Int8 {
    type Value = i8;
    type Epilogue = Requantize;
}

/// An int8 layer's weights, one row for each bias and multiplier.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) weight: &'a [i8],
    /// `b'`: the bias with the input's zero point folded in.
    pub(crate) bias: &'a [i32],
    /// `s_x · s_w / s_y`.
    pub(crate) multiplier: &'a [f32],
}

impl Rows<'_> {
    /// What sums begin with: for kernels that multiply `x + 128`, `b' - 128 · Σ w`.
    ///
    /// It may wrap, and so may the sum on its way: two's complement is exact when its end fits.
    fn start(&self, isa: Isa) -> Vec<i32> {
        let offset = match isa {
            Isa::AvxVnni | Isa::Avx512Vnni => 128,
            _ => 0,
        };
        let sums = self.each().map(|row| row.iter().map(|&w| i32::from(w)).sum::<i32>());
        self.bias.iter().zip(sums).map(|(b, sum)| b.wrapping_sub(offset * sum)).collect()
    }

    /// The instruction set to compute these with on a CPU that has `isa`.
    ///
    /// Kernels of AVX-512 convert to i32 before they clamp, so that sums times multipliers have to
    /// stay far within it. Where they might not, most outputs saturate and speed is no concern.
    pub(crate) fn isa(&self, isa: Isa) -> Isa {
        if isa == Isa::Avx512Vnni && !self.convert() { Isa::Avx2 } else { isa }
    }

    /// Whether no sum times its multiplier can reach 2³⁰, whatever the input is.
    fn convert(&self) -> bool {
        let magnitude = |row: &[i8]| row.iter().map(|&w| f64::from(w).abs()).sum::<f64>();
        self.each().zip(self.bias).zip(self.multiplier).all(|((row, &bias), &m)| {
            let largest = f64::from(bias).abs() + 128.0 * magnitude(row);
            largest * f64::from(m).abs() < f64::from(1 << 30)
        })
    }

    fn each(&self) -> impl Iterator<Item = &[i8]> {
        self.weight.chunks_exact(self.weight.len() / self.bias.len())
    }
}

/// Adds the bias, multiplies, clamps and rounds: one bias and multiplier a packed channel.
pub struct Requantize {
    /// What sums begin with.
    pub(crate) bias: Aligned<i32>,
    /// `s_x · s_w / s_y`.
    pub(crate) multiplier: Aligned<f32>,
    /// Zero point and clamp of the output.
    pub(crate) output: Output,
}

impl Requantize {
    /// Constants of `[groups, n]` channels for vectors of `lanes`.
    pub(crate) fn new(isa: Isa, rows: Rows<'_>, output: Output, n: usize, lanes: usize) -> Self {
        Self {
            bias: spread(&rows.start(isa), n, lanes),
            multiplier: spread(rows.multiplier, n, lanes),
            output,
        }
    }
}

/// Neighbours along k in a lane of 32 bits, where instructions add products of bytes.
#[cfg(target_arch = "x86_64")]
const GROUP: usize = 4;

/// Four neighbours.
///
/// # Safety
///
/// They lie in `window`. With a check here tiles took 1.5 times as long (benches/kernels.rs).
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "windows are checked once a tile")]
unsafe fn group(window: &[i8], at: usize) -> i32 {
    debug_assert!(at + GROUP <= window.len(), "group: {at} of {}", window.len());
    // SAFETY: the caller's.
    let first = unsafe { window.as_ptr().add(at) };
    // SAFETY: the four bytes lie in the window, and the read needs no alignment.
    unsafe { first.cast::<i32>().read_unaligned() }
}

/// The tile for `n` channels of sums of `k` products; panics when this CPU lacks the instruction
/// set.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "one tile for all"))]
pub(crate) fn tile(isa: Isa, n: usize, k: usize) -> Tile<Int8> {
    isa.assert_available();
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::tile(n, k),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => avxvnni::tile(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512vnni::tile(n, k),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::TILE,
        #[cfg(target_arch = "aarch64")]
        Isa::Dotprod => dotprod::TILE,
        #[cfg(target_arch = "aarch64")]
        Isa::I8mm => i8mm::TILE,
        #[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
        Isa::Armv7Neon => armv7::TILE,
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Isa::Simd128 => simd128::TILE,
        _ => portable::TILE,
    }
}

/// The kernel for one pixel by `n` channels, where there is one; panics when this CPU lacks the
/// instruction set.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "one kernel for all"))]
pub(crate) fn vector(isa: Isa, n: usize) -> Option<Kernel<Int8>> {
    isa.assert_available();
    match isa {
        Isa::Scalar => Some(portable::VECTOR),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => Some(vector::kernel(isa, n)),
        _ => None,
    }
}
