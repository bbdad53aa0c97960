//! Where int8 rounds the values of a float graph: what quantization-aware training imitates.

use std::collections::BTreeMap;

use hipflask_runtime::graph::{Graph, Node, Op, ValueId};
use hipflask_runtime::quant::QuantParams;

use crate::calibration::{Calibration, Range};
use crate::convert::joined;
use crate::error::Result;
use crate::{lut, to_int8};

/// The roundings of one conversion.
#[derive(Clone, Debug, PartialEq)]
pub struct Sites {
    /// Scales and zero points; some values share one.
    pub grids: Vec<Grid>,
    /// The values that are computed in int8, with their place in `grids`.
    pub written: BTreeMap<ValueId, usize>,
    /// The values that are computed in f32 and rounded for those of their readers that
    /// [work in int8](Self::int8), with their place in `grids`.
    pub read: BTreeMap<ValueId, usize>,
    /// For each node whether it works in int8.
    pub int8: Vec<bool>,
}

/// Int8 numbers of one scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// What the integers stand for.
    pub params: QuantParams,
    /// The value whose range in the calibration decides it; `None` where the operation does.
    pub range: Option<ValueId>,
}

impl Sites {
    /// Those of [`to_int8`] for the same graph and calibration.
    pub fn new(graph: &Graph, calibration: &Calibration) -> Result<Self> {
        let converted = to_int8(graph, calibration)?;
        let params_of = |node: &Node| {
            let same = converted.nodes.iter().find(|other| other.name == node.name)?;
            converted.value(same.output).quant
        };
        let mut sites = Self {
            grids: Vec::new(),
            written: BTreeMap::new(),
            read: BTreeMap::new(),
            int8: Vec::with_capacity(graph.nodes.len()),
        };
        let mut in_int8 = vec![false; graph.values.len()];
        for node in &graph.nodes {
            let params = params_of(node);
            sites.int8.push(params.is_some());
            let Some(params) = params else { continue };
            for &x in node.inputs.iter().filter(|x| !in_int8[x.0]) {
                let params = calibration.ranges[x.0].params();
                let at = sites.grid(Grid { params, range: Some(x) });
                sites.read.insert(x, at);
            }
            in_int8[node.output.0] = true;
            // What only moves values keeps the grid that they are on.
            if node.op.keeps_quant() {
                continue;
            }
            let fixed = match &node.op {
                Op::Activation { function } => lut::fixed_params(*function),
                _ => None,
            };
            // Only what a layer writes is made for the value that it becomes a part of.
            let range = match &node.op {
                _ if fixed.is_some() => None,
                Op::Conv2d { .. } | Op::Linear => Some(joined(graph, node.output)),
                _ => Some(node.output),
            };
            let at = sites.grid(Grid { params, range });
            sites.written.insert(node.output, at);
        }
        Ok(sites)
    }

    /// The place of `grid`, which is new unless another has the same range.
    fn grid(&mut self, grid: Grid) -> usize {
        let same = |other: &Grid| grid.range.is_some() && other.range == grid.range;
        if let Some(at) = self.grids.iter().position(same) {
            return at;
        }
        self.grids.push(grid);
        self.grids.len() - 1
    }
}

impl Calibration {
    /// With the ranges of `learnt` grids instead of those that were observed.
    #[must_use]
    pub fn with_grids(mut self, learnt: &[Grid]) -> Self {
        for Grid { params, range } in learnt {
            if let Some(ValueId(id)) = range {
                self.ranges[*id] = Range::covered_by(*params);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use hipflask_runtime::graph::{Activation, GraphBuilder, Layout};
    use hipflask_runtime::{Shape, Tensor};

    use super::*;
    use crate::observer::Method;

    fn weight(shape: impl Into<Shape>) -> [(&'static str, Tensor); 1] {
        let shape = shape.into();
        let values: Vec<f32> = (0..shape.elements()).map(|i| i as f32 * 0.1 - 0.3).collect();
        [("weight", Tensor::from_f32(shape, &values))]
    }

    /// `x` through two linear layers that are joined, a sigmoid, a linear layer and a softmax.
    fn graph() -> Graph {
        let mut b = GraphBuilder::new("sites", Layout::Nhwc);
        let x = b.input("x", [1, 3]);
        let left = b.node("left", Op::Linear, &[x], weight([2, 3])).unwrap();
        let right = b.node("right", Op::Linear, &[x], weight([2, 3])).unwrap();
        let both = b.node("both", Op::Concat { axis: 1 }, &[left, right], []).unwrap();
        let sigmoid = Op::Activation { function: Activation::Sigmoid };
        let gate = b.node("gate", sigmoid, &[both], []).unwrap();
        let fc = b.node("fc", Op::Linear, &[gate], weight([2, 4])).unwrap();
        let y = b.node("softmax", Op::Softmax, &[fc], []).unwrap();
        b.finish(&[y]).unwrap()
    }

    fn calibration(graph: &Graph) -> Calibration {
        let range = |i| Range { min: -1.0 - i as f32, max: 2.0 + i as f32 };
        let ranges: Vec<Range> = (0..graph.values.len()).map(range).collect();
        Calibration { methods: vec![Method::MinMax; ranges.len()], ranges, samples: 1 }
    }

    #[test]
    fn roundings_are_those_of_the_conversion() {
        let graph = graph();
        let sites = Sites::new(&graph, &calibration(&graph)).unwrap();
        let value =
            |name: &str| ValueId(graph.values.iter().position(|value| value.name == name).unwrap());
        // All but the softmax.
        assert_eq!(sites.int8, [true, true, true, true, true, false]);
        // Only the input comes in f32.
        assert_eq!(sites.read.keys().copied().collect::<Vec<_>>(), [value("x")]);
        // The joined layers and their whole are on one grid; the sigmoid's is its own.
        let grid = |name: &str| sites.grids[sites.written[&value(name)]];
        assert_eq!(grid("left").range, Some(value("both")));
        assert_eq!(grid("left"), grid("both"));
        assert_eq!(grid("gate").range, None);
        assert_eq!(grid("gate").params, QuantParams { scale: 1.0 / 256.0, zero_point: -128 });
        assert_eq!(sites.written.len(), 5);
        assert_eq!(sites.grids.len(), 4);
    }

    #[test]
    fn learnt_grids_reach_the_integers() {
        let graph = graph();
        let before = calibration(&graph);
        let mut grids = Sites::new(&graph, &before).unwrap().grids;
        for (i, grid) in grids.iter_mut().enumerate().filter(|(_, grid)| grid.range.is_some()) {
            let params = QuantParams { scale: 0.013 + i as f32 * 0.37, zero_point: 17 };
            grid.params = params;
        }
        let after = before.with_grids(&grids);
        for (learnt, found) in grids.iter().zip(Sites::new(&graph, &after).unwrap().grids) {
            assert_eq!(found.params.zero_point, learnt.params.zero_point);
            let off = (found.params.scale / learnt.params.scale - 1.0).abs();
            assert!(off < 1e-6, "{} instead of {}", found.params.scale, learnt.params.scale);
        }
    }
}
