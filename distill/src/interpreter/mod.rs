//! Runs a graph over candle variables: the network while it is trained, and as a teacher.

mod nodes;
mod rounding;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use hipflask_runtime::graph::{Activation, Graph, Layout, Node, Op, ValueId};

use crate::nn::{
    Conv2dSpec, PoolSpec, Precision, activate, add_position, attention, avg_pool2d,
    batch_norm_eval, batch_norm_train, conv2d, embedding, global_avg_pool, layer_norm, linear_in,
    max_pool2d, mean_tokens, softmax,
};
use crate::optim::Parameter;
use crate::{Error, ErrorKind, Result};

use self::rounding::Rounding;

pub use nodes::{Feature, Nodes};

/// Share of a batch's statistics in the running ones, PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// How batch normalisation behaves and whether gradients are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch, which also move the running ones; gradients flow to the weights.
    Train,
    /// Running statistics; the weights are constants, so nothing is kept for a backward pass.
    Evaluate,
}

/// What a network hands out for a batch.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Its output.
    pub output: Tensor,
    /// The outputs of the nodes that were asked for, in that order.
    pub features: Vec<Tensor>,
}

/// A graph whose weights are variables on a device.
pub struct Network {
    graph: Graph,
    nodes: Nodes,
    device: Device,
    /// Trained tensors, in graph order.
    parameters: Vec<Parameter>,
    /// Trained tensors and running statistics by name.
    tensors: BTreeMap<String, Var>,
    /// For each node: whether the ReLU after it is computed with it.
    takes_relu: Vec<bool>,
    /// Of products in training.
    precision: Precision,
    /// How many nodes read each value; being the output counts too.
    uses: Vec<usize>,
    /// Only where it computes as its int8 form will.
    rounding: Option<Rounding>,
}

impl Network {
    /// Copies the weights of `graph` to `device`.
    ///
    /// The graph must be in f32, in PyTorch's layout, with one input and one output.
    pub fn new(graph: &Graph, device: &Device) -> Result<Self> {
        let refuse = |message| Err(Error::new(ErrorKind::Config, &graph.name, message));
        if graph.layout != Layout::Nchw {
            return refuse("only a graph in PyTorch's layout can be trained, this one is NHWC");
        }
        if graph.inputs.len() != 1 || graph.outputs.len() != 1 {
            return refuse("a network to train has one input and one output");
        }
        if graph.values.iter().any(|value| value.quant.is_some()) {
            return refuse("an int8 network cannot be trained: start from its f32 student");
        }
        let mut parameters = Vec::new();
        let mut tensors = BTreeMap::new();
        for name in graph.tensor_order() {
            let tensor = &graph.tensors[&name];
            let values = tensor.f32s()?.into_owned();
            let var = Var::from_vec(values, tensor.shape().to_vec(), device)?;
            if !is_statistic(&name) {
                parameters.push(Parameter { name: name.clone(), var: var.clone() });
            }
            tensors.insert(name, var);
        }
        Ok(Self {
            device: device.clone(),
            parameters,
            tensors,
            takes_relu: fusable_relus(graph),
            precision: Precision::default(),
            uses: graph.use_counts(),
            nodes: Nodes::new(graph),
            graph: graph.clone(),
            rounding: None,
        })
    }

    /// The network with products in `precision` while it is trained on a GPU; it is evaluated in f32.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The trained variables with their tensors' names, in graph order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// All variables, trained ones and running statistics, in the order of their names.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &Var> {
        self.tensors.values()
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Number of values in one row of the output.
    pub fn classes(&self) -> usize {
        self.graph.value(self.graph.outputs[0]).shape.last().copied().unwrap_or(0)
    }

    /// What is inside.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The output for `x [n, …]`, whose other dimensions are those of the graph's input.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        Ok(self.forward_with(x, mode, &[])?.output)
    }

    /// The output for `x [n, …]` as [`forward`](Self::forward) has it, and the outputs of the nodes
    /// called `features`; an error names the nearest node to one that is not there.
    ///
    /// A node's output is what it computes itself, before a ReLU that is a node of its own.
    pub fn forward_with(&self, x: &Tensor, mode: Mode, features: &[&str]) -> Result<Forward> {
        let wanted = &self.graph.value(self.graph.inputs[0]).shape;
        if x.rank() != wanted.len() || x.dims().get(1..) != wanted.get(1..) {
            let message = format!("expects input {wanted} a sample, got a batch {:?}", x.dims());
            return Err(Error::new(ErrorKind::Shape, &self.graph.name, message));
        }
        let mut values: Vec<Option<Tensor>> = vec![None; self.graph.values.len()];
        let mut uses = self.uses.clone();
        let kept: Vec<ValueId> = features
            .iter()
            .map(|name| Ok(self.graph.nodes[self.nodes.index(Some(name))?].output))
            .collect::<Result<_>>()?;
        for id in &kept {
            uses[id.0] += 1;
        }
        values[self.graph.inputs[0].0] = Some(x.clone());
        let mut relu_done = false;
        for (index, (node, &takes_relu)) in
            self.graph.nodes.iter().zip(&self.takes_relu).enumerate()
        {
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for id in &node.inputs {
                let value = values[id.0].clone();
                let value = value.ok_or_else(|| unordered(node))?;
                inputs.push(match &self.rounding {
                    Some(rounding) => rounding.read(index, *id, value)?,
                    None => value,
                });
                uses[id.0] -= 1;
                if uses[id.0] == 0 {
                    values[id.0] = None;
                }
            }
            let takes_relu = takes_relu && !kept.contains(&node.output);
            let output = if std::mem::replace(&mut relu_done, takes_relu) {
                inputs.swap_remove(0)
            } else {
                self.node(index, &inputs, mode, takes_relu).map_err(|error| {
                    let message = error.to_string();
                    Error::new(error.kind(), format!("layer {:?}", node.name), message)
                })?
            };
            let output = match &self.rounding {
                Some(rounding) => rounding.written(node.output, output)?,
                None => output,
            };
            values[node.output.0] = Some(output);
        }
        let value = |id: ValueId| {
            let found = values[id.0].clone();
            found.ok_or_else(|| Error::new(ErrorKind::Shape, &self.graph.name, "writes no output"))
        };
        let features = kept.iter().map(|&id| value(id)).collect::<Result<_>>()?;
        Ok(Forward { output: value(self.graph.outputs[0])?, features })
    }

    /// The graph with the present weights; in int8 where the network is
    /// [rounded](Self::rounded).
    pub fn to_graph(&self) -> Result<Graph> {
        let mut graph = self.graph.clone();
        let own = |(name, _): &(&String, &Var)| self.graph.tensors.contains_key(*name);
        for (name, var) in self.tensors.iter().filter(own) {
            let values = var.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            let tensor = hipflask_runtime::Tensor::from_f32(var.dims(), &values);
            graph.tensors.insert(name.clone(), tensor);
        }
        match &self.rounding {
            Some(rounding) => rounding.to_int8(graph),
            None => Ok(graph),
        }
    }

    /// Copies of all tensors by name: trained ones and running statistics.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let copy = |(name, var): (&String, &Var)| Ok((name.clone(), var.copy()?.detach()));
        self.tensors.iter().map(copy).collect()
    }

    /// Puts a saved [`state`](Self::state) back.
    ///
    /// Fails, changing nothing, when a tensor is missing or of another shape.
    pub fn load_state(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut loaded = Vec::with_capacity(self.tensors.len());
        for (name, var) in &self.tensors {
            let fail = |message| Error::new(ErrorKind::Checkpoint, format!("{name:?}"), message);
            let tensor = tensors.get(name).ok_or_else(|| fail("the tensor is missing".into()))?;
            if tensor.dims() != var.dims() {
                return Err(fail(format!("has shape {:?}, not {:?}", tensor.dims(), var.dims())));
            }
            loaded.push((var, tensor.to_dtype(var.dtype())?.to_device(&self.device)?));
        }
        for (var, tensor) in loaded {
            var.set(&tensor)?;
        }
        Ok(())
    }

    /// A weight of `node`: a variable in training, else a constant.
    fn weight(&self, node: &Node, role: &str, mode: Mode) -> Option<Tensor> {
        let var = self.tensors.get(&node.tensor_name(role))?;
        let tracked = mode == Mode::Train && !is_statistic(role);
        Some(if tracked { var.as_tensor().clone() } else { var.as_detached_tensor() })
    }

    fn node(&self, index: usize, inputs: &[Tensor], mode: Mode, relu: bool) -> Result<Tensor> {
        let node = &self.graph.nodes[index];
        let x = inputs.first().ok_or_else(|| unordered(node))?;
        let required = |role: &str| {
            self.weight(node, role, mode).ok_or_else(|| {
                Error::new(ErrorKind::Shape, node.tensor_name(role), "the tensor is missing")
            })
        };
        let bias = || self.weight(node, "bias", mode);
        let kernel = || match &self.rounding {
            Some(rounding) => rounding.weight(index, &required("weight")?),
            None => required("weight"),
        };
        let precision = match mode {
            Mode::Train => self.precision,
            Mode::Evaluate => Precision::F32,
        };
        let y = match &node.op {
            &Op::Conv2d { stride, padding, dilation, groups } => {
                let spec = Conv2dSpec { stride, padding, dilation, groups, precision };
                conv2d(x, &kernel()?, bias().as_ref(), &spec)?
            }
            Op::Linear => linear_in(x, &kernel()?, bias().as_ref(), precision)?,
            Op::BatchNorm { eps } => {
                let (gamma, beta) = (required("weight")?, required("bias")?);
                self.batch_norm(node, x, (&gamma, &beta), f64::from(*eps), mode, relu)?
            }
            Op::LayerNorm { eps } => {
                layer_norm(x, &required("weight")?, &required("bias")?, f64::from(*eps))?
            }
            Op::Tokens => x.flatten_from(2)?.transpose(1, 2)?.contiguous()?,
            Op::Embedding => embedding(x, &required("weight")?)?,
            Op::AddPosition => add_position(x, &required("weight")?)?,
            &Op::Attention { heads } => attention(x, heads, inputs.get(1))?,
            Op::MeanTokens => mean_tokens(x, inputs.get(1))?,
            Op::Activation { function } => activate(x, *function)?,
            Op::Add => (x + inputs.get(1).ok_or_else(|| unordered(node))?)?,
            Op::Mul => x.broadcast_mul(inputs.get(1).ok_or_else(|| unordered(node))?)?,
            Op::Concat { axis } => Tensor::cat(inputs, *axis)?,
            &Op::Slice { axis, start, end } => x.narrow(axis, start, end - start)?,
            &Op::ChannelShuffle { groups } => {
                let (n, c, h, w) = x.dims4()?;
                let grouped = x.reshape((n, groups, c / groups, h * w))?.transpose(1, 2)?;
                grouped.contiguous()?.reshape((n, c, h, w))?
            }
            &Op::MaxPool2d { kernel, stride, padding } => {
                max_pool2d(x, &PoolSpec { kernel, stride, padding })?
            }
            &Op::AvgPool2d { kernel, stride, padding, count_include_pad } => {
                avg_pool2d(x, &PoolSpec { kernel, stride, padding }, count_include_pad)?
            }
            Op::GlobalAvgPool => global_avg_pool(x)?,
            Op::Flatten => x.flatten_from(1)?,
            Op::Reshape { shape } => {
                let mut shape = shape.clone();
                if let Some(batch) = shape.first_mut() {
                    *batch = x.dim(0)?;
                }
                x.reshape(shape)?
            }
            Op::Softmax => softmax(x)?,
            &Op::Pad { padding: [top, left, bottom, right] } => {
                x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?
            }
            &Op::PadChannels { before, after } => x.pad_with_zeros(1, before, after)?,
            Op::Quantize
            | Op::Dequantize
            | Op::LinearGroups { .. }
            | Op::EmbeddingGroups { .. } => {
                let message = format!("{} cannot be trained", node.op.name());
                return Err(Error::new(ErrorKind::Config, &self.graph.name, message));
            }
        };
        match node.activation {
            Some(function) => activate(&y, function),
            None => Ok(y),
        }
    }

    fn batch_norm(
        &self,
        node: &Node,
        x: &Tensor,
        (gamma, beta): (&Tensor, &Tensor),
        epsilon: f64,
        mode: Mode,
        relu: bool,
    ) -> Result<Tensor> {
        let statistic = |role: &str| {
            let name = node.tensor_name(role);
            let var = self.tensors.get(&name);
            var.ok_or_else(|| Error::new(ErrorKind::Shape, name, "the tensor is missing"))
        };
        let (mean, variance) = (statistic("running_mean")?, statistic("running_var")?);
        if mode == Mode::Evaluate {
            let y = batch_norm_eval(x, gamma, beta, mean, variance, epsilon)?;
            return if relu { activate(&y, Activation::Relu) } else { Ok(y) };
        }
        let (y, batch) = batch_norm_train(x, gamma, beta, epsilon, relu)?;
        for (running, new) in [(mean, &batch.mean), (variance, &batch.unbiased_variance)] {
            let kept = (running.as_detached_tensor() * (1.0 - MOMENTUM))?;
            running.set(&(kept + (new * MOMENTUM)?)?)?;
        }
        Ok(y)
    }
}

/// Whether a tensor is a running statistic, which no gradient trains.
fn is_statistic(name: &str) -> bool {
    matches!(name.rsplit('.').next(), Some("running_mean" | "running_var"))
}

fn unordered(node: &Node) -> Error {
    let at = format!("layer {:?}", node.name);
    Error::new(ErrorKind::Shape, at, "reads a value that nothing wrote: the graph is not checked")
}

/// The batch norms whose only reader is the ReLU right after them.
fn fusable_relus(graph: &Graph) -> Vec<bool> {
    let uses = graph.use_counts();
    let after = graph.nodes.iter().skip(1).map(Some).chain([None]);
    graph
        .nodes
        .iter()
        .zip(after)
        .map(|(node, next)| {
            let relu = Op::Activation { function: Activation::Relu };
            let follows = next.is_some_and(|n| n.op == relu && n.inputs == [node.output]);
            let plain = node.activation.is_none() && next.is_some_and(|n| n.activation.is_none());
            matches!(node.op, Op::BatchNorm { .. }) && follows && plain && uses[node.output.0] == 1
        })
        .collect()
}
