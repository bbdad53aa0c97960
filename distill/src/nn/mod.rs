//! Training operators: forward and hand-written backward passes over candle tensors.
//!
//! Layout is PyTorch's, `[n, c, h, w]` and `[out, in, kh, kw]`, in f32. On the CPU these are
//! custom operators, several times faster than candle's own and the same bits for any number of
//! threads; on other devices, compositions of candle operations with the same meaning.

mod activation;
mod batch_norm;
pub(crate) mod buffer;
mod composed;
mod conv2d;
#[cfg(feature = "cuda")]
mod cuda;
mod depthwise;
mod gemm;
#[cfg(test)]
pub(crate) mod gradcheck;
mod im2col;
mod linear;
mod pool;
mod softmax;
#[cfg(test)]
mod tests;
mod window;

pub use activation::activate;
pub use batch_norm::{BatchStatistics, batch_norm_eval, batch_norm_train};
pub use conv2d::{Conv2dSpec, conv2d};
pub use linear::linear;
pub use pool::{PoolSpec, avg_pool2d, global_avg_pool, max_pool2d};
pub use softmax::{log_softmax, softmax};
