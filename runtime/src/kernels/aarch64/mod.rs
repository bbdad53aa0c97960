//! Loads, stores, products and the requantizing epilogue that the AArch64 kernels share.

pub(crate) mod dotprod;
pub(crate) mod neon;
