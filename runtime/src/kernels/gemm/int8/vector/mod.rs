//! int8 linear layers: one pixel by all channels.

mod vectors256;
mod vectors512;

use super::{GROUP, Int8};
use crate::kernels::Isa;
use crate::kernels::gemm::vector::{Kernel, Operands};
use crate::kernels::isa::has_vex_vnni;

/// Channels of a panel, and what the last one's are padded to.
const NR: usize = 64;
const LANES: usize = 16;
/// Channels of a panel where they are few, each by two groups at a time.
const FEW: usize = 8;
const PAIR: usize = 2 * GROUP;

/// What [`Kernel::run`] is.
type Run = unsafe fn(&mut Operands<'_, Int8>);

/// The kernel for `n` channels with an instruction set that this CPU has.
pub(super) fn kernel(isa: Isa, n: usize) -> Kernel<Int8> {
    let [few, many]: [Run; 2] = match isa {
        Isa::Avx2 => [vectors256::avx2::few, vectors256::avx2::many],
        Isa::AvxVnni if has_vex_vnni() => [vectors256::vex::few, vectors256::vex::many],
        Isa::AvxVnni => [vectors256::evex::few, vectors256::evex::many],
        _ => [vectors512::few, vectors512::many],
    };
    if n <= FEW {
        Kernel { nr: FEW, lanes: FEW, k_group: PAIR, run: few }
    } else {
        Kernel { nr: NR, lanes: LANES, k_group: GROUP, run: many }
    }
}

/// Neighbours along k, the last of them padded with zeros, whose weights are zero.
fn padded<const N: usize>(x: &[i8]) -> [i8; N] {
    let mut padded = [0; N];
    padded[..x.len()].copy_from_slice(x);
    padded
}
