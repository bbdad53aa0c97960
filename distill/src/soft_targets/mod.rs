//! The teacher's logits for training batches: asked live, once where every epoch is the same, or
//! kept on disk for a fixed number of augmented views.

mod cache;
#[cfg(test)]
mod tests;
mod view;
mod views;

use std::cell::OnceCell;
use std::ops::Range;
use std::path::Path;

use candle_core::{Device, Tensor};

use self::cache::{Cache, Key};
use self::view::Rows;
use crate::Result;
use crate::data::{Batch, Batches, DataSet, Mix};
use crate::evaluate::{Logits, teacher_logits};
use crate::teacher::{Answer, Teacher};
use crate::trainer::Monitor;

pub(crate) use views::View;
pub use views::{Precision, Views};

/// Most values that are kept in memory: 256 MiB.
const MOST_VALUES: usize = 64 << 20;

/// Samples of one question to the teacher.
const BATCH: usize = 128;

/// Who is asked about what.
#[derive(Clone, Copy)]
struct Source<'a> {
    teacher: &'a dyn Teacher,
    data: &'a DataSet,
    mix: Option<Mix>,
}

/// Answers for the batches of one data set.
pub(crate) struct SoftTargets<'a> {
    source: Source<'a>,
    /// Logits of the training samples in their own order, where no augmentation changes them:
    /// asked when the first batch wants them, so never by a resumed run that is at its end.
    fixed: OnceCell<Logits>,
    cache: Option<Cache>,
    /// The cached view of this epoch.
    current: Option<(View, Rows)>,
}

impl<'a> SoftTargets<'a> {
    /// Answers are kept below `folder` where there is one and the views are limited.
    pub(crate) fn new(
        teacher: &'a dyn Teacher,
        data: &'a DataSet,
        mix: Option<Mix>,
        views: Option<&Views>,
        folder: Option<&Path>,
    ) -> Self {
        let cache = folder.zip(views).map(|(folder, views)| {
            let preprocess = teacher.preprocess().unwrap_or(&data.preprocess);
            let key = Key::new(&teacher.fingerprint(), data, preprocess, views, teacher.classes());
            let key = key.mixed(mix);
            Cache::new(folder, key, teacher.name())
        });
        let source = Source { teacher, data, mix };
        Self { source, fixed: OnceCell::new(), cache, current: None }
    }

    /// Makes ready for the epoch that shows `view`: asks the teacher for what the cache lacks.
    pub(crate) fn prepare(&mut self, view: View, monitor: &mut dyn Monitor) -> Result<()> {
        let Self { source, cache, current, .. } = self;
        let Some(cache) = cache else { return Ok(()) };
        if current.as_ref().is_some_and(|(ready, _)| *ready == view) {
            return Ok(());
        }
        let ask = |range: Range<usize>, monitor: &mut dyn Monitor| source.ask(view, range, monitor);
        *current = Some((view, cache.view(view.number, ask, monitor)?));
        Ok(())
    }

    /// Logits `[n, classes]` and the outputs of the nodes called `features`, on `device`, for a
    /// training batch whose images are `images`. Inner values are always asked live.
    pub(crate) fn answer(
        &self,
        batch: &Batch,
        images: &Tensor,
        device: &Device,
        features: &[&str],
    ) -> Result<Answer> {
        if features.is_empty()
            && let Some(values) = self.known(batch)?
        {
            let shape = (batch.indices.len(), self.source.teacher.classes());
            let logits = Tensor::from_vec(values, shape, device)?;
            return Ok(Answer { logits, features: Vec::new() });
        }
        let Answer { logits, features } = match self.source.teacher.preprocess() {
            Some(own) if *own != self.source.data.preprocess => {
                let (shape, values) = batch.preprocessed(own)?;
                self.source.teacher.answer(&Tensor::from_vec(values, shape, device)?, features)?
            }
            _ => self.source.teacher.answer(images, features)?,
        };
        let here = |x: Tensor| x.detach().to_device(device);
        let features = features.into_iter().map(here).collect::<Result<_, _>>()?;
        Ok(Answer { logits: here(logits)?, features })
    }

    /// The logits of a batch, row by row, where the teacher need not be asked again.
    fn known(&self, batch: &Batch) -> Result<Option<Vec<f32>>> {
        if let Some((_, rows)) = &self.current {
            return Ok(Some(batch.indices.iter().flat_map(|&i| rows.row(i)).collect()));
        }
        let Some(fixed) = self.fixed()? else { return Ok(None) };
        let row = |&i: &usize| &fixed.values[i * fixed.classes..][..fixed.classes];
        Ok(Some(batch.indices.iter().flat_map(row).copied().collect()))
    }

    /// The teacher's answers for all training samples, if they are the same in every epoch.
    ///
    /// The batches of that pass depend on the data alone, so a resumed run gets the same bits.
    fn fixed(&self) -> Result<Option<&Logits>> {
        let Self { source, fixed, .. } = self;
        let Source { teacher, data, .. } = *source;
        let fits = data.train.len().saturating_mul(teacher.classes()) <= MOST_VALUES;
        if !data.augment.is_empty() || source.mix.is_some() || !fits {
            return Ok(None);
        }
        if let Some(logits) = fixed.get() {
            return Ok(Some(logits));
        }
        let logits = teacher_logits(teacher, data, &data.train)?;
        Ok(Some(fixed.get_or_init(|| logits)))
    }
}

impl Source<'_> {
    /// The teacher's logits for the samples `range` as `view` shows them, row by row.
    fn ask(&self, view: View, range: Range<usize>, monitor: &mut dyn Monitor) -> Result<Vec<f32>> {
        let Self { teacher, data, mix } = *self;
        let preprocess = teacher.preprocess().unwrap_or(&data.preprocess);
        let batches = Batches::new(&data.train, preprocess, BATCH)?
            .in_order(range.clone().collect())
            .augmented(&data.augment, view.seed, view.number)
            .mixed(mix);
        let mut values = Vec::with_capacity(range.len() * teacher.classes());
        let mut done = range.start;
        for batch in batches {
            let images = Tensor::from_vec(batch.values, &batch.shape[..], &Device::Cpu)?;
            values.extend(teacher.logits(&images)?.flatten_all()?.to_vec1::<f32>()?);
            done += batch.indices.len();
            monitor.asked(view.number as usize + 1, done, data.train.len());
        }
        Ok(values)
    }
}
