//! A batch answered sample by sample on all threads.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::{Error, ErrorKind, Result};

/// Logits `[n, classes]` of `images [n, c, h, w]`, on their device and without gradient.
///
/// `answer` gets one sample `[c, h, w]` and the row to fill.
pub(super) fn by_sample(
    name: &str,
    images: &Tensor,
    image: [usize; 3],
    classes: usize,
    answer: impl Fn(&[f32], &mut [f32]) -> Result<()> + Sync,
) -> Result<Tensor> {
    if images.rank() != 4 || images.dims().get(1..) != Some(&image[..]) {
        let message = format!("takes images {image:?}, got a batch {:?}", images.dims());
        return Err(Error::new(ErrorKind::Shape, name, message));
    }
    let n = images.dim(0)?;
    let flat = images.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?;
    let flat = flat.to_vec1::<f32>()?;
    let mut logits = vec![0.0; n * classes];
    let samples = flat.par_chunks_exact(image.iter().product::<usize>().max(1));
    let rows = logits.par_chunks_exact_mut(classes.max(1));
    samples.zip(rows).try_for_each(|(sample, row)| answer(sample, row))?;
    Ok(Tensor::from_vec(logits, (n, classes), images.device())?)
}
