//! Kernels: slices and shapes in, slices out; nothing here knows graphs or files.
//!
//! A convolution is an object packed for one [`Isa`]; the light kernels are functions that take
//! it. int8 results are the same bits on every instruction set. None allocates while running.
#![expect(clippy::missing_panics_doc, reason = "assertions state contracts between our own parts")]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod activation;
mod aligned;
#[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
mod armv7;
mod attention;
mod channels;
mod conv;
mod depthwise;
mod elementwise;
mod gemm;
mod image;
mod isa;
mod lanes;
mod layer_norm;
pub mod math;
#[cfg(feature = "std")]
mod peak;
mod pool;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(test)]
mod tests;
mod tokens;
mod weight_only;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use activation::{activation_f32, evaluate, softmax_f32};
pub use attention::Attention;
pub use channels::{pad_channels, shuffle, slice};
pub use conv::{ConvF32, ConvI8, ConvShape, PlacedConv, margin};
pub use elementwise::{
    AddI8, MulI8, RescaleI8, add_f32, batch_norm_f32, dequantize, lut_i8, mul_f32, pad, quantize,
};
pub use image::{Image, Margin};
pub use isa::{Body, Isa};
pub use layer_norm::layer_norm_f32;
#[cfg(feature = "std")]
pub use peak::Peak;
pub use pool::{AvgPoolI8, PoolShape, avg_pool_f32, max_pool_f32, max_pool_i8};
pub use tokens::{embed, mean_tokens_f32};
pub use weight_only::{WeightOnlyLinear, embed_groups};
