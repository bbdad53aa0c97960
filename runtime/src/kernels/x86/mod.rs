//! Loads, stores and requantizing epilogues that the x86-64 kernels share.

pub(crate) mod avx2;
pub(crate) mod avx512;
