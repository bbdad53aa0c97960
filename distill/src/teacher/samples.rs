//! A batch answered sample by sample on all threads.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::{Error, ErrorKind, Result};

/// Logits `[n, classes]` of `samples [n, …]`, on their device and without gradient.
///
/// `answer` gets one sample of `shape` and the row to fill.
pub(super) fn by_sample(
    name: &str,
    samples: &Tensor,
    shape: &[usize],
    classes: usize,
    answer: impl Fn(&[f32], &mut [f32]) -> Result<()> + Sync,
) -> Result<Tensor> {
    if samples.dims().get(1..) != Some(shape) {
        let message = format!("takes samples {shape:?}, got a batch {:?}", samples.dims());
        return Err(Error::new(ErrorKind::Shape, name, message));
    }
    let n = samples.dim(0)?;
    let device = samples.device();
    let flat = samples.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?;
    let flat = flat.to_vec1::<f32>()?;
    let mut logits = vec![0.0; n * classes];
    let samples = flat.par_chunks_exact(shape.iter().product::<usize>().max(1));
    let rows = logits.par_chunks_exact_mut(classes.max(1));
    samples.zip(rows).try_for_each(|(sample, row)| answer(sample, row))?;
    Ok(Tensor::from_vec(logits, (n, classes), device)?)
}
