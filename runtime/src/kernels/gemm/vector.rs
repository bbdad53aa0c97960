//! One pixel by all channels, as in linear layers: each weight is read once, so that how they
//! stream from memory is all that counts.

use super::{Arithmetic, pack};
use crate::kernels::aligned::Aligned;

/// A kernel for one pixel by all channels.
pub(crate) struct Kernel<T: Arithmetic> {
    /// Channels in a panel of weights, a multiple of `lanes`.
    pub(crate) nr: usize,
    /// A last panel of fewer channels than `nr` is padded to a multiple of these.
    pub(crate) lanes: usize,
    /// Neighbours along k that lie together; sums are padded to a multiple.
    pub(crate) k_group: usize,
    /// Unsafe to call where the CPU lacks the instruction set of the kernel.
    pub(crate) run: unsafe fn(&mut Operands<'_, T>),
}

/// What a kernel reads and writes.
pub(crate) struct Operands<'a, T: Arithmetic> {
    /// `[k]`
    pub(crate) x: &'a [T::Value],
    /// `[panels, k / k_group, channels, k_group]` with zeros where padded.
    pub(crate) weights: &'a [T::Value],
    /// Constants of all channels, padded to a multiple of the kernel's `lanes`.
    pub(crate) epilogue: &'a T::Epilogue,
    /// `[n]`
    pub(crate) y: &'a mut [T::Value],
}

/// A weight packed for one kernel.
pub(crate) struct VectorProduct<T: Arithmetic> {
    kernel: Kernel<T>,
    k: usize,
    n: usize,
    weights: Aligned<T::Value>,
    epilogue: T::Epilogue,
}

impl<T: Arithmetic> VectorProduct<T> {
    /// Packs `weight` `[n, k]`; the kernel is one that this CPU can run.
    ///
    /// `epilogue` holds `n.next_multiple_of(lanes)` channels.
    pub(crate) fn new(
        kernel: Kernel<T>,
        k: usize,
        weight: &[T::Value],
        epilogue: T::Epilogue,
    ) -> Self {
        let (n, Kernel { nr, lanes, k_group, .. }) = (weight.len() / k, &kernel);
        let depth = super::Depth { segments: 1, segment: k };
        Self { weights: pack([*nr, *lanes, *k_group], n, depth, weight), kernel, k, n, epilogue }
    }

    /// `y` begins with `n` sums of `k` products each with `x`; panics when one is too short.
    pub(crate) fn run(&self, x: &[T::Value], y: &mut [T::Value]) {
        let (weights, epilogue) = (&*self.weights, &self.epilogue);
        let mut operands = Operands { x: &x[..self.k], weights, epilogue, y: &mut y[..self.n] };
        #[expect(unsafe_code, reason = "the one call through the table of kernels")]
        // SAFETY: `int8::vector` and `float::vector` hand out a kernel only after
        // `Isa::assert_available` has seen its instruction set on this CPU.
        unsafe {
            (self.kernel.run)(&mut operands);
        }
    }
}
