//! Training operators: forward and hand-written backward passes over candle tensors.
//!
//! Layout is PyTorch's, `[n, c, h, w]` and `[out, in, kh, kw]`, in f32. On the CPU these are
//! custom operators, several times faster than candle's own and the same bits for any number of
//! threads; on other devices, compositions of candle operations with the same meaning.

mod activation;
mod attention;
mod batch_norm;
pub(crate) mod buffer;
mod composed;
mod conv2d;
mod conv2d_backward;
#[cfg(feature = "cuda")]
mod cuda;
mod fake_quantize;
#[cfg(test)]
pub(crate) mod gradcheck;
mod layer_norm;
mod linear;
mod planes;
mod pool;
mod precision;
mod product;
mod simd;
mod softmax;
#[cfg(test)]
mod tests;
mod tokens;
#[cfg(test)]
mod transformer_tests;
mod window;

pub use activation::activate;
pub use attention::attention;
pub use batch_norm::{BatchStatistics, batch_norm_eval, batch_norm_train};
pub use conv2d::{Conv2dSpec, conv2d};
pub use fake_quantize::{fake_quantize, fake_quantize_weights};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use pool::{PoolSpec, avg_pool2d, global_avg_pool, max_pool2d};
pub use precision::{Precision, linear_in};
pub use softmax::{log_softmax, softmax};
pub use tokens::{add_position, embedding, mean_tokens};
