//! f32 by f32 in f32, clamped. Instruction sets differ in rounding only.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(target_arch = "x86_64")]
mod vector;

use super::vector::Kernel;
use super::{Arithmetic, Tile, spread};
use crate::kernels::Isa;
use crate::kernels::aligned::Aligned;

/// The f32 product.
pub struct Float;

impl Arithmetic for Float {
    type Value = f32;
    type Epilogue = BiasClamp;
}

/// Adds the bias and clamps: one bias a packed channel.
pub struct BiasClamp {
    /// Added to the sum.
    pub(crate) bias: Aligned<f32>,
    /// Smallest and largest value stored; infinite without a fused activation.
    pub(crate) range: (f32, f32),
}

impl BiasClamp {
    /// Constants of `[groups, n]` channels for vectors of `lanes`.
    pub(crate) fn new(bias: &[f32], range: (f32, f32), n: usize, lanes: usize) -> Self {
        Self { bias: spread(bias, n, lanes), range }
    }
}

/// Clamps to `[lo, hi]` and lets NaN through, so that a broken model shows.
#[inline(always)]
pub(crate) fn clamp(x: f32, (lo, hi): (f32, f32)) -> f32 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}

/// The tile for an instruction set; panics when this CPU lacks it.
pub(crate) fn tile(isa: Isa) -> Tile<Float> {
    isa.assert_available();
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => avx2::TILE,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512::TILE,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::Dotprod | Isa::I8mm => neon::TILE,
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Isa::Simd128 => simd128::TILE,
        _ => portable::TILE,
    }
}

/// The kernel for one pixel, if the instruction set has one of its own; panics when this CPU lacks
/// the set.
pub(crate) fn vector(isa: Isa) -> Option<Kernel<Float>> {
    isa.assert_available();
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Some(vector::KERNEL),
        _ => None,
    }
}
