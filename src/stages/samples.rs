//! Samples of a data set as the runtime takes them: `[h, w, c]`, preprocessed.

use anyhow::{Result, bail};
use hipflask_distill::data::Split;
use hipflask_runtime::Model;
use hipflask_runtime::graph::Layout;
use hipflask_runtime::input::Preprocess;

/// The samples of one split, converted one by one.
pub struct Samples<'a> {
    split: &'a Split,
    /// The value of each byte, for each channel.
    tables: Vec<[f32; 256]>,
}

impl<'a> Samples<'a> {
    /// Samples of `split`, preprocessed as `preprocess` says.
    pub fn new(split: &'a Split, preprocess: &Preprocess) -> Self {
        let tables = (0..split.shape[0]).map(|c| preprocess.table(c)).collect();
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

    /// The indices of `count` samples, or of all if there are fewer, spread evenly.
    pub fn spread(&self, count: usize) -> Vec<usize> {
        let count = count.min(self.len());
        (0..count).map(|i| i * self.len() / count).collect()
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
        let graph = model.graph();
        let input = graph.inputs.first().map(|&id| &graph.value(id).shape);
        self.fits(input.and_then(|shape| Layout::Nhwc.image(shape)), file)
    }

    /// An error unless these samples have the size `[h, w, c]` that the model in `file` takes.
    pub fn fits(&self, wanted: Option<[usize; 3]>, file: &str) -> Result<()> {
        let [c, h, w] = self.split.shape;
        if wanted == Some([h, w, c]) {
            return Ok(());
        }
        let takes = match wanted {
            Some([h, w, c]) => format!("images of {w}×{h} with {c} channels"),
            None => "no images".into(),
        };
        bail!(
            "{file}: the model takes {takes}, the data's are {w}×{h} with {c} channels: give the data \
             it was trained for with --data, or resize it there with `resize = [h, w]`"
        );
    }
}
