//! Values as rows, one a sample, and rows of length 1.

use candle_core::{D, Tensor};

use crate::Result;

/// Each row (the last dimension) divided by its Euclidean length; a row of zeros stays, and gets a
/// finite gradient. Lengths far below 1e-12 count as 1e-12, as in PyTorch's `normalize`.
pub(super) fn unit(x: &Tensor) -> Result<Tensor> {
    let length = (x.sqr()?.sum_keepdim(D::Minus1)? + 1e-24)?.sqrt()?;
    Ok(x.broadcast_div(&length)?)
}

/// One row a sample.
pub(super) fn flat(x: &Tensor) -> Result<Tensor> {
    Ok(x.flatten_from(1)?.contiguous()?)
}
