//! An ONNX classifier as a teacher, run by tract.

mod load;
mod ports;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use hipflask_runtime::input::Preprocess;
use tract_onnx::prelude::{DatumType, IntoTValue, TractResult, TypedRunnableModel, tvec};

use self::load::load;
use super::samples::by_samples;
use super::{Placement, Teacher, Wishes};
use crate::caught::caught;
use crate::fingerprint::Fingerprint;
use crate::{Error, ErrorKind, Result};

/// A classifier in an ONNX file.
pub struct OnnxTeacher {
    name: String,
    plan: Arc<TypedRunnableModel>,
    /// Samples of one run: 1 where the file leaves it open, since tract was half as fast with
    /// batches of 32 (ResNet-20, one thread).
    batch: usize,
    /// Its input with the batch, and the type of its numbers.
    input: Vec<usize>,
    dtype: DatumType,
    /// Of a sample that it is given; `[c, h, w]` for images.
    sample: Vec<usize>,
    /// Whether it wants them as `[h, w, c]`.
    channels_last: bool,
    classes: usize,
    preprocess: Option<Preprocess>,
    fingerprint: String,
}

impl OnnxTeacher {
    /// Loads the file at `path` for samples of shape `sample`: `[c, h, w]` for images.
    ///
    /// Its one input is `[n, c, h, w]`, `[n, h, w, c]` where the wishes say so, or flat, with any
    /// numbers; n may be fixed. The output with the logits holds one number a class. A softmax at
    /// its end is left out, so that the answers are logits.
    ///
    /// Fails with [`ErrorKind::Teacher`] when the file cannot be read or fits no such network.
    pub fn open(path: &Path, sample: &[usize], wishes: &Wishes) -> Result<Self> {
        let at = path.display().to_string();
        let bytes = hipflask_runtime::file::open(path)?;
        let bytes: &[u8] = (*bytes).as_ref();
        let fail = |message| Error::new(ErrorKind::Teacher, &at, message);
        let loaded = caught(|| load(bytes, sample, wishes)).map_err(|panic| {
            fail(format!("cannot be read (tract gave up: {panic}): it is damaged, or no ONNX"))
        })?;
        let loaded = loaded.map_err(fail)?;
        let channels_last = wishes.layout == Some(Placement::Nhwc);
        let mut fingerprint = Fingerprint::new();
        fingerprint.bytes(bytes);
        let said = (&wishes.preprocess, &wishes.output, channels_last);
        fingerprint.bytes(&serde_json::to_vec(&said).expect("plain data always serializes"));
        Ok(Self {
            name: super::open::file_name(path),
            batch: loaded.input[0],
            input: loaded.input,
            dtype: loaded.dtype,
            plan: loaded.plan,
            sample: sample.to_vec(),
            channels_last,
            classes: loaded.classes,
            preprocess: wishes.preprocess.clone(),
            fingerprint: fingerprint.finish(),
        })
    }

    /// Fills the rows `logits` for `samples`, of which there may be fewer than a
    /// run takes.
    fn answer(&self, samples: &[f32], logits: &mut [f32]) -> TractResult<()> {
        let mut values = vec![0.0; self.input.iter().product()];
        if let [channels, h, w] = self.sample[..]
            && self.channels_last
        {
            let size = channels * h * w;
            for (to, image) in values.chunks_exact_mut(size).zip(samples.chunks_exact(size)) {
                for (i, value) in to.iter_mut().enumerate() {
                    *value = image[i % channels * h * w + i / channels];
                }
            }
        } else {
            values[..samples.len()].copy_from_slice(samples);
        }
        if self.dtype.is_integer() {
            // Bytes that went through a range are whole numbers but for rounding.
            for value in &mut values {
                *value = value.round();
            }
        }
        let input = tract_onnx::prelude::Tensor::from_shape(&self.input, &values)?;
        let input = input.cast_to_dt(self.dtype)?.into_owned();
        let outputs = self.plan.run(tvec!(input.into_tvalue()))?;
        let output = outputs[0].cast_to::<f32>()?;
        let output = output.to_plain_array_view::<f32>()?;
        for (logit, &value) in logits.iter_mut().zip(output.iter()) {
            *logit = value;
        }
        Ok(())
    }
}

impl Teacher for OnnxTeacher {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        by_samples(&self.name, images, &self.sample, self.classes, self.batch, |samples, logits| {
            let failed = |message| Error::new(ErrorKind::Teacher, &self.name, message);
            let answered = caught(|| self.answer(samples, logits));
            answered.map_err(failed)?.map_err(|e| failed(format!("{e:#}")))
        })
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        self.preprocess.as_ref()
    }
}
