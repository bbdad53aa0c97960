//! A network whose weights are integers in groups: linear layers of a vector and of tokens, and an
//! embedding, in int4 and int8, with groups of every size that end where they may.

use half::f16;
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op, ValueId};
use hipflask_runtime::groups::Groups;
use hipflask_runtime::{Shape, Tensor};

/// Reproducible numbers in [-1, 1), the same on a 32-bit target.
fn numbers(count: usize, seed: u64) -> impl Iterator<Item = f32> {
    let mix = move |i: u64| (i * 7919 + seed * 104_729) * 2_654_435_761 % 1_000_003;
    (0..count as u64).map(move |i| mix(i) as f32 / 500_001.5 - 1.0)
}

fn real(shape: &[usize], seed: u64) -> Tensor {
    let values: Vec<f32> = numbers(shape.iter().product(), seed).collect();
    Tensor::from_f32(Shape::from(shape), &values)
}

/// A weight `[n, k]` in groups, and its scales.
fn grouped(groups: Groups, [n, k]: [usize; 2], seed: u64) -> [(&'static str, Tensor); 2] {
    let (lo, hi) = groups.range();
    let q: Vec<i8> = numbers(n * k, seed)
        .map(|v| (v * 1.2 * f32::from(hi)).round().clamp(lo.into(), hi.into()) as i8)
        .collect();
    let bytes = groups.pack(&q);
    let weight = match groups.bits {
        4 => Tensor::from_u8([n, k / 2], &bytes),
        _ => Tensor::from_i8([n, k], &q),
    };
    let usual = 1.5 / (f32::from(hi) * (k as f32).sqrt());
    let count = groups.count(k);
    let scales: Vec<f16> =
        numbers(n * count, seed + 1).map(|v| f16::from_f32(usual * (1.0 + v))).collect();
    [("weight", weight), ("scale", Tensor::from_f16([n, count], &scales))]
}

/// `[1, 90]` to `[1, 5]`.
pub(crate) fn network() -> Graph {
    let mut b = GraphBuilder::new("weight-only", Layout::Nhwc);
    let linear = |b: &mut GraphBuilder, name: &str, groups: Groups, x: ValueId, n: usize| {
        let k = b.shape(x).last().copied().unwrap();
        let seed = name.bytes().map(u64::from).sum();
        let bias = ("bias", real(&[n], seed));
        let weights = grouped(groups, [n, k], seed).into_iter().chain([bias]);
        b.node(name, Op::LinearGroups { groups }, &[x], weights).unwrap()
    };
    let [small, middle, large] = Groups::SIZES;
    let x = b.input("input", [1, 90]);
    let wide = linear(&mut b, "wide", Groups { bits: 4, size: small }, x, 60);
    b.fuse(Some(Activation::Relu6));
    let tokens = b.node("tokens", Op::Reshape { shape: vec![1, 6, 10] }, &[wide], []).unwrap();
    let qkv = linear(&mut b, "qkv", Groups { bits: 8, size: small }, tokens, 30);
    let heeded = b.node("attention", Op::Attention { heads: 2 }, &[qkv], []).unwrap();
    let mean = b.node("mean", Op::MeanTokens, &[heeded], []).unwrap();
    let mut means = vec![mean];
    for groups in [Groups { bits: 4, size: middle }, Groups { bits: 8, size: large }] {
        let name = format!("embedding {}", groups.name());
        let table = grouped(groups, [9, 70 + 2 * groups.bits as usize], 7 + groups.size as u64);
        let op = Op::EmbeddingGroups { groups };
        let rows = b.node(&name, op, &[wide], table).unwrap();
        let rows = linear(&mut b, &format!("inner {}", groups.name()), groups, rows, 17);
        let gelu = Op::Activation { function: Activation::Gelu };
        let rows = b.node(&format!("gelu {}", groups.name()), gelu, &[rows], []).unwrap();
        let name = format!("mean {}", groups.name());
        means.push(b.node(&name, Op::MeanTokens, &[rows, wide], []).unwrap());
    }
    let x = b.node("means", Op::Concat { axis: 1 }, &means, []).unwrap();
    let x = linear(&mut b, "last", Groups { bits: 4, size: large }, x, 5);
    b.finish(&[x]).unwrap()
}
