//! The int8 tiles for AVX2: 16-bit products, exact, of which `vpmaddwd` adds pairs.

mod signed;
mod widened;

use super::Int8;
use crate::kernels::gemm::Tile;

/// Products of a sum from which to widen pixels pays (benches/networks.rs).
const DEEP: usize = 64;

/// The tile for `n` channels of sums of `k` products: pixels are widened where many channels share
/// them.
pub(super) const fn tile(n: usize, k: usize) -> Tile<Int8> {
    match (n, k) {
        (..=signed::NR, _) | (_, ..DEEP) => signed::TILE,
        _ => widened::TILE,
    }
}
