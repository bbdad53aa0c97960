//! What is computed: nodes in execution order over numbered values, and the weights by name.

mod build;
mod check;
mod cost;
mod fuse;
mod layout;
mod op;
mod shape;

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::dtype::{DType, Shape};
use crate::quant::QuantParams;
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result};

pub use build::GraphBuilder;
pub use check::LoadLimits;
pub use op::{Activation, Op, Role};

/// Number of a value in [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(pub usize);

/// Order of the dimensions of images and convolution weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// PyTorch's: values `[n, c, h, w]`, weights `[o, i, kh, kw]`. Training and exchange.
    Nchw,
    /// The device's: values `[n, h, w, c]`, weights `[o, kh, kw, i]`.
    Nhwc,
}

impl Layout {
    /// Index of the channel dimension of an image.
    pub const fn channel_axis(self) -> usize {
        match self {
            Self::Nchw => 1,
            Self::Nhwc => 3,
        }
    }

    /// `[h, w, c]` of an image shape.
    pub fn image(self, shape: &[usize]) -> Option<[usize; 3]> {
        match (self, shape) {
            (Self::Nchw, &[_, c, h, w]) | (Self::Nhwc, &[_, h, w, c]) => Some([h, w, c]),
            _ => None,
        }
    }

    /// The image shape of one sample with `[h, w, c]`.
    pub fn shape(self, [h, w, c]: [usize; 3]) -> Shape {
        match self {
            Self::Nchw => [1, c, h, w].into(),
            Self::Nhwc => [1, h, w, c].into(),
        }
    }
}

/// A tensor that flows between nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Unique name, for messages and reports.
    pub name: String,
    /// Shape of one sample; the first dimension is the batch, 1.
    pub shape: Shape,
    /// F32 or I8.
    pub dtype: DType,
    /// Scale and zero point; there exactly when the dtype is I8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant: Option<QuantParams>,
}

/// One operation. Its weights are the tensors `{name}.{role}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Unique name; PyTorch's module path where there is one.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Values read.
    pub inputs: Vec<ValueId>,
    /// Value written.
    pub output: ValueId,
    /// ReLU or ReLU6 fused into this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

impl Node {
    /// The file's name of one of this node's tensors.
    pub fn tensor_name(&self, role: &str) -> String {
        format!("{}.{role}", self.name)
    }
}

/// A network with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Name of the network, as `resnet8`.
    pub name: String,
    /// Order of image dimensions throughout the graph.
    pub layout: Layout,
    /// Everything that flows.
    pub values: Vec<Value>,
    /// Operations in execution order.
    pub nodes: Vec<Node>,
    /// Values given by the caller.
    pub inputs: Vec<ValueId>,
    /// Values handed to the caller.
    pub outputs: Vec<ValueId>,
    /// Weights by name.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Graph {
    /// The value with this number; the graph must have passed [`Graph::check`].
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// A weight of `node`, if it has it.
    pub fn weight(&self, node: &Node, role: &str) -> Option<&Tensor> {
        self.tensors.get(&node.tensor_name(role))
    }

    /// The f32 (or widened f16) elements of a weight; an error names the tensor.
    pub fn f32s(&self, node: &Node, role: &str) -> Result<Cow<'_, [f32]>> {
        let name = node.tensor_name(role);
        self.required(&name)?.f32s().map_err(|e| e.in_file(&name))
    }

    /// The int8 elements of a weight; an error names the tensor.
    pub fn i8s(&self, node: &Node, role: &str) -> Result<&[i8]> {
        let name = node.tensor_name(role);
        self.required(&name)?.i8s().map_err(|e| e.in_file(&name))
    }

    /// The int32 elements of a weight; an error names the tensor.
    pub fn i32s(&self, node: &Node, role: &str) -> Result<Cow<'_, [i32]>> {
        let name = node.tensor_name(role);
        self.required(&name)?.i32s().map_err(|e| e.in_file(&name))
    }

    fn required(&self, name: &str) -> Result<&Tensor> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::new(ErrorKind::Graph, format!("tensor {name:?}"), "is missing"))
    }

    /// Tensor names in graph order: node by node, each in the order of its roles.
    pub fn tensor_order(&self) -> impl Iterator<Item = String> + '_ {
        self.nodes
            .iter()
            .flat_map(|node| {
                let dtype = node.inputs.first().map_or(DType::F32, |&x| self.value(x).dtype);
                node.op.roles(dtype).iter().map(|role| node.tensor_name(role.name))
            })
            .filter(|name| self.tensors.contains_key(name))
    }

    /// How many nodes read each value; being an output of the graph counts as one more.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = alloc::vec![0; self.values.len()];
        for id in self.nodes.iter().flat_map(|n| &n.inputs).chain(&self.outputs) {
            counts[id.0] += 1;
        }
        counts
    }

    /// Number of trained parameters: weights and biases, without running statistics and tables.
    pub fn parameters(&self) -> usize {
        let trained = |name: &str| matches!(name.rsplit('.').next(), Some("weight" | "bias"));
        let tensors = self.tensors.iter().filter(|(name, _)| trained(name));
        // Of a pair in a byte, the other one.
        let pairs = self.nodes.iter().filter_map(|node| self.weight(node, "weight"));
        let pairs = pairs.filter(|weight| weight.dtype() == DType::U8);
        let others: usize = pairs.map(|weight| weight.shape().elements()).sum();
        tensors.map(|(_, t)| t.shape().elements()).sum::<usize>() + others
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> usize {
        self.tensors.values().map(|t| t.bytes().len()).sum()
    }
}
