//! A network before its weights exist: operations, shapes, and how each weight will begin.
//!
//! Sizes are checked here, so that a network too large is refused before anything is allocated.

use hipflask_runtime::Shape;
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, LoadLimits, Op, ValueId};

use super::init::Init;
use crate::{Error, ErrorKind, Result};

/// Most weights of a network, all tensors together: 4 GB in f32.
const MAX_WEIGHTS: usize = 1_000_000_000;

/// Images of which a side is longer than this are halved by the first convolution; the networks
/// made for ImageNet do without in the versions that are published for CIFAR.
const LARGEST_SMALL: usize = 64;

/// Collects nodes; values are numbered as [`GraphBuilder`] will number them.
pub(super) struct Builder {
    shapes: Vec<Shape>,
    nodes: Vec<Planned>,
    weights: usize,
    /// Added to the variance by batch norm and layer norm; PyTorch's default unless a network has its own.
    pub(super) eps: f32,
}

struct Planned {
    name: String,
    op: Op,
    inputs: Vec<ValueId>,
    weights: Vec<Weight>,
}

/// Role, shape and beginning of a tensor.
type Weight = (&'static str, Shape, Init);

/// A convolution of square or oblong windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    /// Output channels.
    pub(super) out: usize,
    /// Window height and width.
    pub(super) kernel: [usize; 2],
    /// Step in height and width.
    pub(super) stride: [usize; 2],
    /// Zeros at top, left, bottom, right.
    pub(super) padding: [usize; 4],
    /// Distance between taps in height and width.
    pub(super) dilation: [usize; 2],
    /// Channel groups.
    pub(super) groups: usize,
    /// What is added to the sums.
    pub(super) shift: Shift,
}

/// What is added to the sums of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    /// Its own bias.
    Bias,
    /// Nothing.
    Nothing,
    /// The batch norm's that follows, which would cancel a bias.
    BatchNorm,
    /// Its own bias although a batch norm follows: published checkpoints have it.
    Cancelled,
}

impl Conv {
    /// Square windows of odd size `kernel` around every pixel, with a batch norm after it.
    pub(super) fn normed(out: usize, kernel: usize) -> Self {
        Self {
            out,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: [kernel / 2; 4],
            dilation: [1; 2],
            groups: 1,
            shift: Shift::BatchNorm,
        }
    }

    /// The same a channel at a time, of which there are `out`.
    pub(super) fn depthwise(out: usize, kernel: usize) -> Self {
        Self { groups: out, ..Self::normed(out, kernel) }
    }

    /// The same with a stride.
    pub(super) fn by(self, stride: usize) -> Self {
        Self { stride: [stride; 2], ..self }
    }
}

/// `channels · width / base` as MobileNets round it: to a multiple of 8, at least 8, and never below
/// nine tenths.
pub(super) fn scaled(channels: usize, width: usize, base: usize) -> usize {
    // In tenths of `base`: the comparison is exact.
    let wanted = channels.saturating_mul(width);
    let rounded = (wanted.saturating_add(4 * base) / (8 * base) * 8).max(8);
    if rounded * base * 10 < wanted * 9 { rounded + 8 } else { rounded }
}

impl Builder {
    /// A network that reads samples of shape `input`; also gives that value.
    pub(super) fn new(input: &[usize]) -> (Self, ValueId) {
        let shape = [&[1], input].concat().into();
        (Self { shapes: vec![shape], nodes: Vec::new(), weights: 0, eps: 1e-5 }, ValueId(0))
    }

    /// The shape of a value: `[1, c, h, w]`, `[1, n]`, or `[1, t, d]` of tokens.
    pub(super) fn shape(&self, x: ValueId) -> &Shape {
        &self.shapes[x.0]
    }

    /// Channels of an image, or elements of a vector.
    pub(super) fn channels(&self, x: ValueId) -> usize {
        self.shape(x).get(1).copied().unwrap_or(0)
    }

    /// An operation without weights.
    pub(super) fn op(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId> {
        self.push(name.into(), op, inputs, Vec::new())
    }

    /// `max(x, 0)`.
    pub(super) fn relu(&mut self, name: impl Into<String>, x: ValueId) -> Result<ValueId> {
        self.activation(name, Activation::Relu, x)
    }

    /// An elementwise function.
    pub(super) fn activation(
        &mut self,
        name: impl Into<String>,
        function: Activation,
        x: ValueId,
    ) -> Result<ValueId> {
        self.op(name, Op::Activation { function }, &[x])
    }

    /// A convolution `{name}.0`, a batch norm `{name}.1` and perhaps a function `{name}.2`:
    /// torchvision's `Conv2dNormActivation`.
    pub(super) fn conv_norm(
        &mut self,
        name: &str,
        x: ValueId,
        conv: &Conv,
        function: Option<Activation>,
    ) -> Result<ValueId> {
        let x = self.conv(format!("{name}.0"), x, conv)?;
        let x = self.batch_norm(format!("{name}.1"), x)?;
        match function {
            Some(function) => self.activation(format!("{name}.2"), function, x),
            None => Ok(x),
        }
    }

    /// The means of an image's channels, as a vector.
    pub(super) fn means(&mut self, x: ValueId) -> Result<ValueId> {
        let x = self.op("avgpool", Op::GlobalAvgPool, &[x])?;
        self.op("flatten", Op::Flatten, &[x])
    }

    /// Whether an image is large enough for the strides that a network has for ImageNet.
    pub(super) fn is_large(&self, image: ValueId) -> bool {
        self.shape(image)[2..].iter().all(|&size| size > LARGEST_SMALL)
    }

    /// A convolution of an image.
    pub(super) fn conv(
        &mut self,
        name: impl Into<String>,
        x: ValueId,
        conv: &Conv,
    ) -> Result<ValueId> {
        let &Conv { out, kernel: [kh, kw], stride, padding, dilation, groups, shift } = conv;
        let inputs = self.channels(x).checked_div(groups).unwrap_or(0);
        let window = kh.saturating_mul(kw);
        let fan_in = Init::default_of(window.saturating_mul(inputs));
        let weight = match shift {
            // PyTorch counts the fan-out of a grouped convolution as if it had one group.
            Shift::BatchNorm | Shift::Cancelled => Init::he(window.saturating_mul(out)),
            Shift::Bias | Shift::Nothing => fan_in,
        };
        let mut weights = vec![("weight", [out, inputs, kh, kw].into(), weight)];
        if matches!(shift, Shift::Bias | Shift::Cancelled) {
            weights.push(("bias", [out].into(), fan_in));
        }
        self.push(name.into(), Op::Conv2d { stride, padding, dilation, groups }, &[x], weights)
    }

    /// Batch norm of an image's channels or a vector's elements.
    pub(super) fn batch_norm(&mut self, name: impl Into<String>, x: ValueId) -> Result<ValueId> {
        let roles = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)];
        let channels = self.channels(x);
        let weights = roles.map(|(role, value)| (role, [channels].into(), Init::Constant(value)));
        self.push(name.into(), Op::BatchNorm { eps: self.eps }, &[x], weights.into())
    }

    /// Layer norm over the elements of each token.
    pub(super) fn layer_norm(&mut self, name: impl Into<String>, x: ValueId) -> Result<ValueId> {
        let width = self.width(x);
        let weights = [("weight", 1.0), ("bias", 0.0)];
        let weights = weights.map(|(role, value)| (role, [width].into(), Init::Constant(value)));
        self.push(name.into(), Op::LayerNorm { eps: self.eps }, &[x], weights.into())
    }

    /// A row of `width` elements for each id, of which there are `vocabulary`.
    pub(super) fn embedding(
        &mut self,
        name: impl Into<String>,
        ids: ValueId,
        vocabulary: usize,
        width: usize,
    ) -> Result<ValueId> {
        let rows = ("weight", [vocabulary, width].into(), Init::token());
        self.push(name.into(), Op::Embedding, &[ids], vec![rows])
    }

    /// A vector for each position, added to the tokens.
    pub(super) fn position(&mut self, name: impl Into<String>, x: ValueId) -> Result<ValueId> {
        let rows = ("weight", self.shape(x).clone(), Init::token());
        self.push(name.into(), Op::AddPosition, &[x], vec![rows])
    }

    /// Elements of a vector or of each token.
    fn width(&self, x: ValueId) -> usize {
        self.shape(x).last().copied().unwrap_or(0)
    }

    /// A linear layer with `out` outputs over a vector or over each token.
    pub(super) fn linear(
        &mut self,
        name: impl Into<String>,
        x: ValueId,
        out: usize,
        bias: bool,
    ) -> Result<ValueId> {
        let inputs = self.width(x);
        let init = Init::default_of(inputs);
        let mut weights = vec![("weight", [out, inputs].into(), init)];
        if bias {
            weights.push(("bias", [out].into(), init));
        }
        self.push(name.into(), Op::Linear, &[x], weights)
    }

    /// Trained parameters so far: weights and biases without running statistics.
    pub(super) fn parameters(&self) -> usize {
        let weights = self.nodes.iter().flat_map(|node| &node.weights);
        let trained = weights.filter(|(role, ..)| matches!(*role, "weight" | "bias"));
        trained.map(|(_, shape, _)| shape.elements()).sum()
    }

    /// The graph `name` with the output and its initial weights.
    pub(super) fn finish(self, name: &str, output: ValueId, seed: u64) -> Result<Graph> {
        let mut graph = GraphBuilder::new(name, Layout::Nchw);
        let image = self.shapes[0].len() == 4;
        graph.input(if image { "image" } else { "input" }, self.shapes[0].clone());
        for Planned { name, op, inputs, weights } in self.nodes {
            let draw = |(role, shape, init): Weight| {
                (role, init.tensor(&shape, seed, &format!("{name}.{role}")))
            };
            graph.node(&name, op, &inputs, weights.into_iter().map(draw))?;
        }
        Ok(graph.finish(&[output])?)
    }

    fn push(
        &mut self,
        name: String,
        op: Op,
        inputs: &[ValueId],
        weights: Vec<Weight>,
    ) -> Result<ValueId> {
        let shapes: Vec<&Shape> = inputs.iter().map(|&id| self.shape(id)).collect();
        let weight = weights.iter().find(|(role, ..)| *role == "weight").map(|(_, shape, _)| shape);
        let shape = op
            .output_shape(Layout::Nchw, &shapes, weight)
            .map_err(|reason| Error::new(ErrorKind::Shape, &name, reason))?;
        let limit = LoadLimits::default().elements;
        if shape.elements() > limit {
            let message = format!("gives {shape}, more than {limit} elements: reduce it first");
            return Err(Error::new(ErrorKind::Config, name, message));
        }
        for (_, shape, _) in &weights {
            self.weights = self.weights.saturating_add(shape.elements());
        }
        if self.weights > MAX_WEIGHTS {
            let message = format!(
                "brings the network to {} weights, the limit is {MAX_WEIGHTS}: make it narrower",
                self.weights
            );
            return Err(Error::new(ErrorKind::Config, name, message));
        }
        self.nodes.push(Planned { name, op, inputs: inputs.to_vec(), weights });
        self.shapes.push(shape);
        Ok(ValueId(self.shapes.len() - 1))
    }
}
