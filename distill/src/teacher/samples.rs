//! A batch answered a few samples at a time on all threads.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::{Error, ErrorKind, Result};

/// Logits `[n, classes]` of samples `[n, …]` of shape `sample`, on their device and without gradient.
///
/// `answer` gets up to `at_once` samples, one after another, and the rows to fill.
pub(super) fn by_samples(
    name: &str,
    samples: &Tensor,
    sample: &[usize],
    classes: usize,
    at_once: usize,
    answer: impl Fn(&[f32], &mut [f32]) -> Result<()> + Sync,
) -> Result<Tensor> {
    if samples.dims().get(1..) != Some(sample) {
        let message = format!("takes samples {sample:?}, got a batch {:?}", samples.dims());
        return Err(Error::new(ErrorKind::Shape, name, message));
    }
    let n = samples.dim(0)?;
    let flat = samples.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?;
    let flat = flat.to_vec1::<f32>()?;
    let mut logits = vec![0.0; n * classes];
    let size = sample.iter().product::<usize>();
    let rows = logits.par_chunks_mut((classes * at_once).max(1));
    flat.par_chunks((size * at_once).max(1)).zip(rows).try_for_each(|(x, y)| answer(x, y))?;
    Ok(Tensor::from_vec(logits, (n, classes), samples.device())?)
}
