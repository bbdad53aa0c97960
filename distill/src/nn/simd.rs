//! Loops compiled for this machine's vectors: the build's baseline is what every x86-64 has.

use std::sync::LazyLock;

use hipflask_runtime::kernels::{Body, Isa};

static BEST: LazyLock<Isa> = LazyLock::new(Isa::best);

/// The best instruction set here.
pub(super) fn best() -> Isa {
    *BEST
}

/// Runs `body`, compiled for the best instruction set here; nothing is fused, so the bits are those
/// of the baseline.
///
/// What takes part has to be `#[inline(always)]`; a closure is inlined while it is small.
#[inline]
pub(super) fn vectorized<B: Body>(body: B) -> B::Output {
    BEST.vectorized(body)
}
