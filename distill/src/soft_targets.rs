//! The teacher's logits for training batches: asked live, or once where every epoch is the same.

use std::cell::OnceCell;

use candle_core::{Device, Tensor};

use crate::Result;
use crate::data::{Batch, DataSet};
use crate::evaluate::{Logits, teacher_logits};
use crate::teacher::Teacher;

/// Most values that are kept in memory: 256 MiB.
const MOST_VALUES: usize = 64 << 20;

/// Answers for the batches of one data set.
pub(crate) struct SoftTargets<'a> {
    teacher: &'a dyn Teacher,
    data: &'a DataSet,
    /// Logits of the training samples in their own order, where no augmentation changes them:
    /// asked when the first batch wants them, so never by a resumed run that is at its end.
    fixed: OnceCell<Logits>,
}

impl<'a> SoftTargets<'a> {
    pub(crate) fn new(teacher: &'a dyn Teacher, data: &'a DataSet) -> Self {
        Self { teacher, data, fixed: OnceCell::new() }
    }

    /// Logits `[n, classes]` on `device` for a training batch whose images are `images`.
    pub(crate) fn logits(&self, batch: &Batch, images: &Tensor, device: &Device) -> Result<Tensor> {
        if let Some(fixed) = self.fixed()? {
            let row = |&i: &usize| &fixed.values[i * fixed.classes..][..fixed.classes];
            let rows: Vec<f32> = batch.indices.iter().flat_map(row).copied().collect();
            return Ok(Tensor::from_vec(rows, (batch.indices.len(), fixed.classes), device)?);
        }
        let logits = match self.teacher.preprocess() {
            Some(own) if *own != self.data.preprocess => {
                let (shape, values) = batch.preprocessed(own)?;
                self.teacher.logits(&Tensor::from_vec(values, &shape[..], device)?)?
            }
            _ => self.teacher.logits(images)?,
        };
        Ok(logits.detach().to_device(device)?)
    }

    /// The teacher's answers for all training samples, if they are the same in every epoch.
    ///
    /// The batches of that pass depend on the data alone, so a resumed run gets the same bits.
    fn fixed(&self) -> Result<Option<&Logits>> {
        let Self { teacher, data, fixed } = self;
        let fits = data.train.len().saturating_mul(teacher.classes()) <= MOST_VALUES;
        if !data.augment.is_empty() || !fits {
            return Ok(None);
        }
        if let Some(logits) = fixed.get() {
            return Ok(Some(logits));
        }
        let logits = teacher_logits(*teacher, data, &data.train)?;
        Ok(Some(fixed.get_or_init(|| logits)))
    }
}
