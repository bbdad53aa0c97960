//! Networks as programs: what the source text that `hipflask export --out student.rs` writes calls.
//!
//! A microcontroller has one network. So the desk loads, checks and plans it and writes a program
//! with the weights as constants; only the kernels that it calls are linked, and nothing is allocated.
//! Bits are those of a [`Session`](crate::Session).

mod conv;
mod golden;
mod memory;

pub use crate::graph::Activation;
pub use crate::kernels::{
    AddI8, AvgPoolI8, ConvShape, Isa, MulI8, PoolShape, RescaleI8, dequantize, lut_i8, max_pool_i8,
    pad, pad_channels, quantize, shuffle, slice, softmax_f32,
};
pub use crate::plan::{conv_shape, dense_places as places, int8_output, pool_shape};
pub use crate::quant::{Output, QuantParams};
pub use conv::Conv;
pub use golden::{Golden, Verdict};
pub use memory::{Arena, copy_strided, f32s, f32s_mut, i8s, i8s_mut, in_place, split};
