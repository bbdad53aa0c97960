//! Samples of a data set as the runtime takes them: preprocessed, images as `[h, w, c]`.

use std::borrow::Cow;

use anyhow::{Result, bail};
use hipflask_distill::data::{Conversion, Split, describe_shape};
use hipflask_quantize::Inputs;
use hipflask_runtime::Model;
use hipflask_runtime::graph::Graph;
use hipflask_runtime::input::Preprocess;

/// The samples of one split, converted one by one.
pub struct Samples<'a> {
    split: &'a Split,
    conversion: Conversion,
}

impl<'a> Samples<'a> {
    /// Samples of `split`, preprocessed as `preprocess` says; an error where that is for samples of
    /// another kind.
    pub fn new(split: &'a Split, preprocess: &Preprocess) -> Result<Self> {
        Ok(Self { split, conversion: Conversion::new(&split.samples, preprocess)? })
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
        spread(self.len(), count)
    }

    /// Sample `index`, an image as `[c, h, w]`.
    pub fn planar(&self, index: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.conversion.shape().iter().product());
        self.conversion.append(&self.split.samples, index, &mut values);
        values
    }

    /// Sample `index`, an image as `[h, w, c]`.
    pub fn get(&self, index: usize) -> Vec<f32> {
        let values = self.planar(index);
        let &[channels, h, w] = self.conversion.shape() else { return values };
        let plane = h * w;
        let pixels = (0..plane).flat_map(|p| (0..channels).map(move |c| c * plane + p));
        pixels.map(|i| values[i]).collect()
    }

    /// The shape of a sample: `[c, h, w]` for images.
    pub fn shape(&self) -> &[usize] {
        self.conversion.shape()
    }

    /// An error unless `model`, read from `file`, takes these samples.
    pub fn check(&self, model: &Model, file: &str) -> Result<()> {
        self.fits(model.graph(), file)
    }

    /// An error unless the network in `file` takes samples of this shape.
    pub fn fits(&self, graph: &Graph, file: &str) -> Result<()> {
        let input = graph.inputs.first().map(|&id| graph.value(id).shape.to_vec());
        let input = input.unwrap_or_default();
        let image = graph.layout.image(&input).map(|[h, w, c]| vec![c, h, w]);
        let wanted = image.unwrap_or_else(|| input.get(1..).unwrap_or_default().to_vec());
        self.fits_shape(&wanted, file)
    }

    /// An error unless the network in `file`, which takes samples of shape `wanted`, takes these.
    pub fn fits_shape(&self, wanted: &[usize], file: &str) -> Result<()> {
        if wanted == self.conversion.shape() {
            return Ok(());
        }
        let [takes, given] = [wanted, self.conversion.shape()]
            .map(|shape| describe_shape(if shape.len() == 3 { "images" } else { "values" }, shape));
        bail!(
            "{file}: the model takes {takes}, the data's are {given}: give the data it was trained for \
             with --data, or resize images there with `resize = [h, w]`"
        );
    }
}

impl Inputs for Samples<'_> {
    fn len(&self) -> usize {
        self.split.len()
    }

    fn get(&self, index: usize) -> Cow<'_, [f32]> {
        Samples::get(self, index).into()
    }
}

/// `count` of `0..len`, or all if there are fewer, spread evenly.
pub fn spread(len: usize, count: usize) -> Vec<usize> {
    let count = count.min(len);
    (0..count).map(|i| i * len / count).collect()
}
