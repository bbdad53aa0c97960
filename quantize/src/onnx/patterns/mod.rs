//! What exporters write in many nodes and hipflask knows as one: found before the import, by the
//! last of the nodes.

mod attention;
mod function;
mod net;
mod norm;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use hipflask_runtime::graph::Activation;

use super::proto::GraphProto;
use super::tensors::Tensors;
use net::Net;

/// One operation, made of several nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pattern<'a> {
    /// An elementwise function.
    Function { x: &'a str, function: Activation },
    /// Layer normalization over the last dimension.
    LayerNorm { x: &'a str, weight: Option<&'a str>, bias: Option<&'a str>, eps: f32 },
    /// Channels by turns: `x` reshaped to `split`, transposed, reshaped to `joined`.
    Shuffle { x: &'a str, split: &'a str, joined: &'a str },
    /// Self-attention over `x`, which is reshaped to `[n, t, 3, heads, d]` by `split`; `scale` is what
    /// scores are multiplied with.
    Attention { x: &'a str, split: &'a str, scale: f64, ids: Option<&'a str> },
    /// Rows of the constant `weight` by ids in floats.
    Embedding { ids: &'a str, weight: &'a str },
    /// The mean of the tokens whose ids are not 0.
    MeanTokens { x: &'a str, ids: &'a str },
}

/// The patterns of a graph.
#[derive(Default)]
pub(super) struct Patterns<'a> {
    /// By the index of their last node.
    found: BTreeMap<usize, Pattern<'a>>,
    /// Indices of their other nodes.
    inner: BTreeSet<usize>,
}

impl<'a> Patterns<'a> {
    /// Finds those of `graph`; larger ones before what they are made of.
    pub(super) fn of(graph: &'a GraphProto, opset: i64, tensors: &Tensors) -> Self {
        let net = Net::new(graph, opset, tensors);
        let mut all = Self::default();
        for last in (0..graph.node.len()).rev() {
            if all.inner.contains(&last) {
                continue;
            }
            let Some(node) = net.node(last) else { continue };
            let found = match node.op() {
                "Reshape" => attention::plain(&net, node).or_else(|| tokens::shuffle(&net, node)),
                "Mul" | "Div" | "Add" | "Min" | "Max" => attention::masked(&net, node)
                    .or_else(|| tokens::mean(&net, node))
                    .or_else(|| norm::layer_norm(&net, node))
                    .or_else(|| function::function(&net, node)),
                "Gather" => tokens::embedding(&net, node),
                _ => None,
            };
            let Some((pattern, mut inner)) = found else { continue };
            inner.remove(&last);
            if inner.is_disjoint(&all.inner) && net.closed(&inner, last) {
                all.found.insert(last, pattern);
                all.inner.extend(inner);
            }
        }
        all
    }

    /// The pattern that ends with node `index`.
    pub(super) fn ending(&self, index: usize) -> Option<&Pattern<'a>> {
        self.found.get(&index)
    }

    /// Whether node `index` belongs to a pattern that ends later.
    pub(super) fn inside(&self, index: usize) -> bool {
        self.inner.contains(&index)
    }
}

/// A pattern and the indices of its nodes.
type Found<'a> = Option<(Pattern<'a>, BTreeSet<usize>)>;
