//! A network layer by layer: the lines of a recipe become nodes with running numbers.

use std::collections::BTreeMap;

use hipflask_runtime::graph::{Op, ValueId};

use super::builder::{Builder, Conv, Shift};
use super::mobilenet_v3::squeeze_excite;
use super::syntax::{self, ConvLayer, Layer, PoolKind};
use crate::{Error, ErrorKind, Result};

/// The lines in order; unless the last is a linear layer, one with `classes` units is appended.
///
/// A linear layer flattens an image by itself. Errors name the layer by number and text.
pub(super) fn build(
    builder: &mut Builder,
    image: ValueId,
    lines: &[String],
    classes: usize,
) -> Result<ValueId> {
    let mut parsed = Vec::with_capacity(lines.len());
    for (number, text) in (1..).zip(lines) {
        let layer = syntax::parse(text);
        parsed.push(layer.map_err(|reason| error(ErrorKind::Config, number, text, reason))?);
    }
    let Some(last) = parsed.last() else {
        let message = "is empty: give at least one layer, as [\"conv 8 3x3\", \"relu\"]";
        return Err(Error::new(ErrorKind::Config, "layers", message));
    };
    if let (&Layer::Linear { out, .. }, Some(text)) = (last, lines.last())
        && out != classes
    {
        let reason = format!(
            "ends the network with {out} logits for {classes} classes: write linear {classes}, or \
             leave it out and it is appended"
        );
        return Err(error(ErrorKind::Config, lines.len(), text, reason));
    }
    let append = !matches!(last, Layer::Linear { .. });
    let mut assembly =
        Assembly { builder, x: image, mixed: false, saved: Vec::new(), counts: BTreeMap::new() };
    for (i, (layer, text)) in parsed.iter().zip(lines).enumerate() {
        let norm_follows = parsed.get(i + 1) == Some(&Layer::BatchNorm);
        if let Some(reason) = assembly.refusal(layer) {
            return Err(error(ErrorKind::Config, i + 1, text, reason));
        }
        let added = assembly.layer(layer, i + 1, norm_follows);
        added.map_err(|e| error(e.kind(), i + 1, text, e.to_string()))?;
    }
    if let Some(&(number, _)) = assembly.saved.last() {
        let reason =
            "nothing adds what it saves: write \"add\" or \"mul\" after it, or leave it out";
        return Err(error(ErrorKind::Config, number, "save", reason));
    }
    if append {
        assembly.linear(classes, true)?;
    }
    Ok(assembly.x)
}

fn error(kind: ErrorKind, number: usize, text: &str, reason: impl Into<String>) -> Error {
    Error::new(kind, format!("layer {number} {text:?}"), reason)
}

/// A network that grows at its end.
struct Assembly<'a> {
    builder: &'a mut Builder,
    /// The present value.
    x: ValueId,
    /// Whether `x` is a flattened image, whose elements have another order on the device.
    mixed: bool,
    /// Values to be added, with the numbers of the layers that saved them.
    saved: Vec<(usize, ValueId)>,
    /// Layers so far by the first part of their names.
    counts: BTreeMap<&'static str, usize>,
}

impl Assembly<'_> {
    /// Why `layer` cannot come next, where its shapes do not say so.
    fn refusal(&self, layer: &Layer) -> Option<&'static str> {
        match layer {
            Layer::BatchNorm | Layer::Save | Layer::Add | Layer::Mul if self.mixed => Some(
                "only activations and a linear layer may follow a flattened image: put it before \
                 the flatten, or after the linear layer",
            ),
            Layer::Add if self.saved.is_empty() => {
                Some("there is nothing to add: write \"save\" where the value to be added is")
            }
            Layer::Mul if self.saved.is_empty() => Some(
                "there is nothing to multiply: write \"save\" where the value to be multiplied is",
            ),
            _ => None,
        }
    }

    fn layer(&mut self, layer: &Layer, number: usize, norm_follows: bool) -> Result<()> {
        match *layer {
            Layer::Conv(conv) => self.conv(&conv, norm_follows),
            Layer::Linear { out, bias } => self.linear(out, bias),
            Layer::BatchNorm => {
                let name = self.name("bn");
                self.x = self.builder.batch_norm(name, self.x)?;
                Ok(())
            }
            Layer::Activation(function) => self.op("act", Op::Activation { function }),
            Layer::Pool { kind, kernel, stride, padding } => {
                let padding = padding.around(kernel, [1; 2]);
                match kind {
                    PoolKind::Max => self.op("max-pool", Op::MaxPool2d { kernel, stride, padding }),
                    // PyTorch's default counts the zeros around the image in the mean.
                    PoolKind::Average => {
                        let count_include_pad = true;
                        let pool = Op::AvgPool2d { kernel, stride, padding, count_include_pad };
                        self.op("avg-pool", pool)
                    }
                }
            }
            Layer::GlobalAvgPool => self.op("global-avg-pool", Op::GlobalAvgPool),
            Layer::Flatten => self.flatten(),
            Layer::SqueezeExcite { reduction } => {
                let name = self.name("squeeze-excite");
                let squeezed = self.builder.channels(self.x).div_ceil(reduction);
                let parts = ["reduce", "expand"];
                self.x = squeeze_excite(self.builder, &name, parts, self.x, squeezed)?;
                Ok(())
            }
            Layer::Shuffle { groups } => self.op("shuffle", Op::ChannelShuffle { groups }),
            Layer::Save => {
                self.saved.push((number, self.x));
                Ok(())
            }
            Layer::Add => {
                let saved = self.saved.pop().map(|(_, value)| value);
                let inputs: Vec<ValueId> = [self.x].into_iter().chain(saved).collect();
                let name = self.name("add");
                self.x = self.builder.op(name, Op::Add, &inputs)?;
                Ok(())
            }
            Layer::Mul => {
                let saved = self.saved.pop().map(|(_, value)| value);
                let inputs: Vec<ValueId> = saved.into_iter().chain([self.x]).collect();
                let name = self.name("mul");
                self.x = self.builder.op(name, Op::Mul, &inputs)?;
                Ok(())
            }
        }
    }

    fn conv(&mut self, layer: &ConvLayer, norm_follows: bool) -> Result<()> {
        let &ConvLayer { kind, out, kernel, stride, padding, dilation, groups, bias } = layer;
        let channels = self.builder.channels(self.x);
        let (out, groups) = out.map_or((channels, channels), |out| (out, groups));
        let shift = match (norm_follows, bias) {
            (true, _) => Shift::BatchNorm,
            (false, true) => Shift::Bias,
            (false, false) => Shift::Nothing,
        };
        let padding = padding.around(kernel, dilation);
        let conv = Conv { out, kernel, stride, padding, dilation, groups, shift };
        let name = self.name(kind);
        self.x = self.builder.conv(name, self.x, &conv)?;
        Ok(())
    }

    fn linear(&mut self, out: usize, bias: bool) -> Result<()> {
        if self.builder.shape(self.x).len() > 2 {
            self.flatten()?;
        }
        let name = self.name("fc");
        self.x = self.builder.linear(name, self.x, out, bias)?;
        self.mixed = false;
        Ok(())
    }

    fn flatten(&mut self) -> Result<()> {
        if let Some([_, c, h, w]) = self.builder.shape(self.x).dims() {
            self.mixed = c > 1 && h * w > 1;
        }
        self.op("flatten", Op::Flatten)
    }

    fn op(&mut self, kind: &'static str, op: Op) -> Result<()> {
        let name = self.name(kind);
        self.x = self.builder.op(name, op, &[self.x])?;
        Ok(())
    }

    /// `conv1`, `conv2`, …
    fn name(&mut self, kind: &'static str) -> String {
        let count = self.counts.entry(kind).or_insert(0);
        *count += 1;
        format!("{kind}{count}")
    }
}
