//! Samples of a data set as the runtime takes them: `[h, w, c]`, preprocessed.

use anyhow::{Result, bail};
use hipflask_distill::data::{DataSet, Split};
use hipflask_runtime::Model;
use hipflask_runtime::graph::Layout;

/// The samples of one split, converted one by one.
pub struct Samples<'a> {
    split: &'a Split,
    /// The value of each byte, for each channel.
    tables: Vec<[f32; 256]>,
}

impl<'a> Samples<'a> {
    /// Samples of `split`, preprocessed as `data` says.
    pub fn new(data: &DataSet, split: &'a Split) -> Self {
        let tables = (0..split.shape[0]).map(|c| data.preprocess.table(c)).collect();
        Self { split, tables }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.split.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.split.is_empty()
    }

    /// The labels, one a sample, where the data has them.
    pub fn labels(&self) -> Option<&'a [u32]> {
        self.split.labels.as_deref()
    }

    /// Sample `index` as `[h, w, c]`.
    pub fn get(&self, index: usize) -> Vec<f32> {
        let [channels, h, w] = self.split.shape;
        let planes = self.split.image(index);
        (0..h * w)
            .flat_map(|pixel| {
                let byte = move |c: usize| usize::from(planes[c * h * w + pixel]);
                self.tables.iter().take(channels).enumerate().map(move |(c, t)| t[byte(c)])
            })
            .collect()
    }

    /// An error unless `model`, read from `file`, takes these samples.
    pub fn check(&self, model: &Model, file: &str) -> Result<()> {
        let [c, h, w] = self.split.shape;
        let input = &model.graph().value(model.graph().inputs[0]).shape;
        let wanted = Layout::Nhwc.image(input);
        if wanted != Some([h, w, c]) {
            bail!(
                "{file}: the model's input is {input} ([n, h, w, c]), the data's images are {w}×{h} \
                 with {c} channels: give the data it was trained for with --data, or resize it \
                 there with `resize = [h, w]`"
            );
        }
        Ok(())
    }
}
