//! What several tests of this crate need.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use hipflask_runtime::graph::{Graph, Op};
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Options, Session, Tensor};

/// Reproducible numbers in [-1, 1] (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub(crate) fn tensor(&mut self, shape: &[usize], scale: f32) -> Tensor {
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| self.next() * scale).collect();
        Tensor::from_f32(shape, &data)
    }
}

pub(crate) fn conv(stride: usize, padding: usize, groups: usize) -> Op {
    Op::Conv2d { stride: [stride; 2], padding: [padding; 4], dilation: [1, 1], groups }
}

pub(crate) fn inputs(count: usize, len: usize) -> Vec<Vec<f32>> {
    let mut n = Numbers(99);
    (0..count).map(|_| (0..len).map(|_| n.next()).collect()).collect()
}

pub(crate) fn outputs(graph: &Graph, isa: Isa, samples: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let model = Model::from_graph(graph.clone()).unwrap();
    let mut session =
        Session::new(&model, &Options { isa: Some(isa), ..Options::default() }).unwrap();
    samples.iter().map(|s| session.predict(s).unwrap().to_vec()).collect()
}

/// Root mean square difference as a share of the root mean square of `wanted`.
pub(crate) fn relative_error(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> f32 {
    let (found, wanted) = (found.concat(), wanted.concat());
    let squares: f32 = wanted.iter().map(|v| v * v).sum();
    (found.iter().zip(&wanted).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / squares).sqrt()
}
