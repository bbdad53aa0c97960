//! The training operators on CUDA, in f32, where candle's are slow, wrong or absent.
//!
//! Convolution is im2col and one product by cuBLAS; depthwise convolution, batch norm and pooling
//! have kernels of their own, `kernels.cu`. They are compiled by NVRTC when the first one is used,
//! and checked against PyTorch without a GPU by `tests/pytorch/cuda_kernels.py`.

mod batch_norm;
mod conv2d;
mod depthwise;
mod launch;
mod pool;
#[cfg(test)]
mod tests;

pub(super) use batch_norm::{batch_norm, moments_to_statistics};
pub(super) use conv2d::conv2d;
pub(super) use depthwise::depthwise;
pub(super) use pool::{avg_pool2d, max_pool2d};

use candle_core::{DType, Tensor};

/// Whether the operators of this module apply.
pub(super) fn applies(x: &Tensor) -> bool {
    x.device().is_cuda() && x.dtype() == DType::F32
}
