//! Small models built in code: what they compute, by hand; what is refused, and how.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod build;
mod export;
mod files;
mod layers;
mod patterns;
mod qdq;
mod refused;
mod shapes;

use hipflask_runtime::graph::{Graph, Layout};
use hipflask_runtime::{Model, Options, Session};

use build::Net;

/// The graph of a model that must be understood.
fn imported(net: &Net) -> Graph {
    super::from_bytes(&net.bytes(), "net").unwrap_or_else(|e| panic!("{e}"))
}

/// What the imported model computes of `input`, both in ONNX's order `[c, h, w]`.
fn run(net: &Net, input: &[f32]) -> Vec<f32> {
    let model = Model::from_graph(imported(net)).unwrap();
    let mut session = Session::new(&model, &Options::default()).unwrap();
    let [h, w, c] = Layout::Nhwc.image(&session.inputs()[0].shape).unwrap_or([1, 1, input.len()]);
    let pixels: Vec<f32> =
        (0..h * w).flat_map(|i| (0..c).map(move |channel| input[channel * h * w + i])).collect();
    let output = session.predict(&pixels).unwrap().to_vec();
    let [h, w, c] = Layout::Nhwc.image(&session.outputs()[0].shape).unwrap_or([1, 1, output.len()]);
    (0..c).flat_map(|channel| (0..h * w).map(move |i| i * c + channel)).map(|i| output[i]).collect()
}

/// `1, 2, …, n`
fn counting(n: usize) -> Vec<f32> {
    (1..=n).map(|i| i as f32).collect()
}

fn assert_close(found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for (f, w) in found.iter().zip(wanted) {
        // A few roundings of f32.
        assert!((f - w).abs() <= 1e-5 * w.abs().max(1.0), "{found:?} is not {wanted:?}");
    }
}
