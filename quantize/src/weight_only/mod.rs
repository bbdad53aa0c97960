//! Weight-only quantization: large matrices as int4 or int8 in groups, everything else in f16 or
//! f32. It needs no samples.

mod search;

use half::f16;
use hipflask_runtime::Tensor;
use hipflask_runtime::graph::{Graph, Op};
use hipflask_runtime::groups::Groups;

use crate::error::{Error, Result};
use crate::fold::prepare;
use crate::half::halve;
use search::fit;

/// Matrices of fewer weights are kept in f16: they weigh little, and the last layer of a classifier,
/// which is often one of them, loses most.
pub const LEAST_WEIGHTS: usize = 1024;

/// The folded graph with the weights of linear layers and embeddings in `groups`, where they are
/// [many](LEAST_WEIGHTS); those of other layers in f16, biases and norms in f32.
///
/// Each group has the scale of least squared error that a search finds. A row of an odd number of
/// weights, which int4 cannot pair, stays in f16. Fails on a weight that is not finite or too large
/// for an f16 scale.
pub fn to_weight_only(graph: &Graph, groups: Groups) -> Result<Graph> {
    groups.check().map_err(Error::Groups)?;
    let mut graph = prepare(graph)?;
    for index in 0..graph.nodes.len() {
        let node = graph.nodes[index].clone();
        let op = match node.op {
            Op::Linear => Op::LinearGroups { groups },
            Op::Embedding => Op::EmbeddingGroups { groups },
            Op::Conv2d { .. } | Op::AddPosition => {
                halve(&mut graph, &node, groups.name())?;
                continue;
            }
            _ => continue,
        };
        let weight = graph.weight(&node, "weight").map(Tensor::shape);
        let Some([n, k]) = weight.and_then(hipflask_runtime::Shape::dims::<2>) else { continue };
        if n.saturating_mul(k) < LEAST_WEIGHTS || groups.row_bytes(k).is_none() {
            halve(&mut graph, &node, groups.name())?;
            continue;
        }
        let name = node.tensor_name("weight");
        let [weight, scale] = grouped(&name, &graph.f32s(&node, "weight")?, [n, k], groups)?;
        graph.tensors.insert(name, weight);
        graph.tensors.insert(node.tensor_name("scale"), scale);
        graph.nodes[index].op = op;
    }
    Ok(graph)
}

/// The integers of `[n, k]` weights and their scales.
fn grouped(name: &str, weights: &[f32], [n, k]: [usize; 2], groups: Groups) -> Result<[Tensor; 2]> {
    let (mut integers, mut scales) = (Vec::with_capacity(weights.len()), Vec::<f16>::new());
    let refused = |found: f32| Error::Weight { tensor: name.into(), found, format: groups.name() };
    if let Some(&found) = weights.iter().find(|w| !w.is_finite()) {
        return Err(refused(found));
    }
    for group in weights.chunks(k).flat_map(|row| row.chunks(groups.size)) {
        let (scale, q) = fit(group, groups.range());
        if !scale.is_finite() {
            return Err(refused(
                group.iter().copied().fold(0.0, |a, b| if b.abs() > a.abs() { b } else { a }),
            ));
        }
        scales.push(scale);
        integers.extend(q);
    }
    let bytes = groups.pack(&integers);
    let weight = match groups.bits {
        4 => Tensor::from_u8([n, bytes.len() / n], &bytes),
        _ => Tensor::from_i8([n, k], &integers),
    };
    Ok([weight, Tensor::from_f16([n, groups.count(k)], &scales)])
}
