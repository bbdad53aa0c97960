//! Operations that exporters write in several nodes, and images with channels last.

use hipflask_runtime::graph::{Activation, Graph, Op};

use super::build::Net;
use super::build::Value::{Float, Int, Ints};
use super::{assert_close, counting, imported, run};

fn start() -> Net {
    Net::new(13, &[1, 4])
        .floats("half", &[], &[0.5])
        .floats("one", &[], &[1.0])
        .floats("two", &[], &[2.0])
        .floats("three", &[], &[3.0])
        .floats("six", &[], &[6.0])
        .floats("zero", &[], &[0.0])
        .floats("root2", &[], &[std::f32::consts::SQRT_2])
        .floats("cubic", &[], &[0.044_715])
        .floats("root", &[], &[0.797_884_6])
}

fn functions(net: &Net) -> Vec<Op> {
    imported(net).nodes.into_iter().map(|node| node.op).collect()
}

#[test]
fn functions_are_recognised_however_they_are_written() {
    let erf = || {
        start().node("Div", &["x", "root2"], "a", &[]).node("Erf", &["a"], "b", &[]).node(
            "Add",
            &["b", "one"],
            "c",
            &[],
        )
    };
    let ramp = || {
        start().node("Add", &["x", "three"], "a", &[]).node("Clip", &["a", "zero", "six"], "b", &[])
    };
    let nets = [
        // x · (1 + erf) · 0.5, and (x · 0.5) · (1 + erf).
        (
            erf().node("Mul", &["x", "c"], "d", &[]).node("Mul", &["d", "half"], "y", &[]),
            Activation::GeluErf,
        ),
        (
            erf().node("Mul", &["x", "half"], "d", &[]).node("Mul", &["d", "c"], "y", &[]),
            Activation::GeluErf,
        ),
        // The cube as a product.
        (
            start()
                .node("Mul", &["x", "x"], "a", &[])
                .node("Mul", &["a", "x"], "b", &[])
                .node("Mul", &["cubic", "b"], "c", &[])
                .node("Add", &["x", "c"], "d", &[])
                .node("Mul", &["root", "d"], "e", &[])
                .node("Tanh", &["e"], "f", &[])
                .node("Add", &["one", "f"], "g", &[])
                .node("Mul", &["half", "x"], "h", &[])
                .node("Mul", &["h", "g"], "y", &[]),
            Activation::Gelu,
        ),
        (
            ramp().node("Mul", &["x", "b"], "c", &[]).node("Div", &["c", "six"], "y", &[]),
            Activation::HardSwish,
        ),
        (
            ramp().node("Div", &["b", "six"], "c", &[]).node("Mul", &["c", "x"], "y", &[]),
            Activation::HardSwish,
        ),
        (ramp().node("Div", &["b", "six"], "y", &[]), Activation::HardSigmoid),
        (
            start().node("Sigmoid", &["x"], "a", &[]).node("Mul", &["a", "x"], "y", &[]),
            Activation::Silu,
        ),
        (
            start().node("Max", &["x", "zero"], "a", &[]).node("Min", &["a", "six"], "y", &[]),
            Activation::Relu6,
        ),
    ];
    for (net, function) in nets {
        assert_eq!(functions(&net), [Op::Activation { function }]);
    }
    let own = start().node("Gelu", &["x"], "y", &[]);
    assert_eq!(functions(&own), [Op::Activation { function: Activation::GeluErf }]);
}

#[test]
fn a_function_that_is_read_inside_or_is_another_is_none() {
    // x · sigmoid(2 x) is no SiLU.
    let net = start().node("Mul", &["x", "two"], "a", &[]).node("Sigmoid", &["a"], "b", &[]).node(
        "Mul",
        &["b", "x"],
        "y",
        &[],
    );
    assert_eq!(imported(&net).nodes.len(), 3);
    let mut net = start().node("Sigmoid", &["x"], "a", &[]).node("Mul", &["a", "x"], "y", &[]);
    let second = net.graph().output[0].clone();
    net.graph().output = vec![second.clone(), {
        let mut a = second;
        a.name = "a".into();
        a
    }];
    assert_eq!(imported(&net).nodes.len(), 2);
}

#[test]
fn constants_for_each_channel_become_a_norm() {
    let net = Net::new(13, &[1, 2, 1, 1])
        .floats("mean", &[2, 1, 1], &[1.0, 2.0])
        .floats("std", &[1, 2, 1, 1], &[2.0, 4.0])
        .floats("gain", &[], &[10.0])
        .node("Sub", &["x", "mean"], "a", &[])
        .node("Div", &["a", "std"], "b", &[])
        .node("Mul", &["gain", "b"], "c", &[])
        .node("Add", &["c", "mean"], "y", &[]);
    // ((5 - 1) / 2) · 10 + 1 and ((10 - 2) / 4) · 10 + 2.
    assert_close(&run(&net, &[5.0, 10.0]), &[21.0, 22.0]);
}

#[test]
fn layer_normalization_in_single_steps() {
    let by = |square: &dyn Fn(Net) -> Net| {
        let net = Net::new(13, &[1, 4])
            .floats("two", &[], &[2.0])
            .floats("eps", &[], &[0.75])
            .floats("w", &[4], &[1.0, 1.0, 2.0, 2.0])
            .floats("b", &[4], &[0.0, 0.0, 0.0, 1.0])
            .node("ReduceMean", &["x"], "m", &[("axes", Ints(&[-1]))])
            .node("Sub", &["x", "m"], "d", &[]);
        square(net)
            .node("ReduceMean", &["s"], "v", &[("axes", Ints(&[-1]))])
            .node("Add", &["v", "eps"], "e", &[])
            .node("Sqrt", &["e"], "r", &[])
            .node("Div", &["d", "r"], "n", &[])
            .node("Mul", &["n", "w"], "g", &[])
            .node("Add", &["g", "b"], "y", &[])
    };
    for net in [
        by(&|net| net.node("Pow", &["d", "two"], "s", &[])),
        by(&|net| net.node("Mul", &["d", "d"], "s", &[])),
    ] {
        assert_eq!(functions(&net), [Op::LayerNorm { eps: 0.75 }]);
        // 1, 2, 3, 4: mean 2.5, variance 1.25, plus 0.75 is 2.
        let root = 2.0_f32.sqrt();
        let wanted = [-1.5 / root, -0.5 / root, 1.0 / root, 3.0 / root + 1.0];
        assert_close(&run(&net, &counting(4)), &wanted);
    }
}

/// The nodes between an input with channels last, `[1, 2, 2, 2]`, and `y`.
fn channels_last(rest: impl Fn(Net) -> Net) -> Net {
    rest(
        Net::new(13, &[1, 2, 2, 2])
            .ints("flat", &[-1, 8])
            .ints("tokens", &[1, 4, 2])
            .floats("w", &[8, 1], &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0])
            .node("Transpose", &["x"], "t", &[("perm", Ints(&[0, 3, 1, 2]))])
            .node("Relu", &["t"], "r", &[])
            .node("Transpose", &["r"], "l", &[("perm", Ints(&[0, 2, 3, 1]))]),
    )
}

/// What `graph` computes of 1, 2, … as the file has them, channels last.
fn in_the_files_order(net: &Net) -> (Graph, Vec<f32>) {
    let graph = imported(net);
    let model = hipflask_runtime::Model::from_graph(graph.clone()).unwrap();
    let options = hipflask_runtime::Options::default();
    let mut session = hipflask_runtime::Session::new(&model, &options).unwrap();
    (graph, session.predict(&counting(8)).unwrap().to_vec())
}

#[test]
fn images_with_channels_last_are_imported_without_transpositions() {
    // Features 1 and 6 of [h, w, c] are 2 and 7.
    for flatten in ["Flatten", "Reshape"] {
        let net =
            channels_last(|net| {
                let net = net.node("Relu", &["l"], "a", &[]);
                let inputs = ["a", "flat"];
                net.node(flatten, &inputs[..if flatten == "Reshape" { 2 } else { 1 }], "f", &[])
                    .node("MatMul", &["f", "w"], "y", &[])
            });
        let (graph, y) = in_the_files_order(&net);
        assert_close(&y, &[72.0]);
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["relu", "relu", "flatten", "linear"]);
        assert_eq!(graph.value(graph.inputs[0]).shape[..], [1, 2, 2, 2]);
    }
    let means = channels_last(|net| {
        net.node("ReduceMean", &["l"], "y", &[("axes", Ints(&[1, 2])), ("keepdims", Int(0))])
    });
    assert_close(&in_the_files_order(&means).1, &[4.0, 5.0]);
    let tokens = channels_last(|net| {
        net.node("Reshape", &["l", "tokens"], "k", &[]).node(
            "ReduceMean",
            &["k"],
            "y",
            &[("axes", Ints(&[1])), ("keepdims", Int(0))],
        )
    });
    let (graph, y) = in_the_files_order(&tokens);
    assert_close(&y, &[4.0, 5.0]);
    assert!(graph.nodes.iter().any(|node| node.op == Op::Tokens));
    let refused = channels_last(|net| {
        net.floats("k", &[1, 2, 1, 1], &[1.0; 2]).node("Conv", &["l", "k"], "y", &[])
    });
    let error = crate::onnx::from_bytes(&refused.bytes(), "net").unwrap_err().to_string();
    assert!(error.contains("is an image in the order [n, h, w, c]"), "{error}");
}

#[test]
fn attention_as_timm_writes_it() {
    // Two tokens of one head of width 1: q, k, v side by side.
    let parts = |net: Net, split: bool| {
        if split {
            let mut net = net.node("Split", &["p"], "qs", &[("axis", Int(0))]);
            let last = net.graph().node.last_mut().unwrap();
            last.output = ["qs", "ks", "vs"].map(String::from).to_vec();
            return ["q", "k", "v"].iter().fold(net, |net, &part| {
                net.node("Squeeze", &[&format!("{part}s"), "axis0"], part, &[])
            });
        }
        let net = net.small("0", 6, &[], &[0]).small("1", 6, &[], &[1]).small("2", 6, &[], &[2]);
        [("q", "0"), ("k", "1"), ("v", "2")]
            .iter()
            .fold(net, |net, (part, index)| net.node("Gather", &["p", index], part, &[]))
    };
    for split in [false, true] {
        let net = Net::new(13, &[1, 6])
            .ints("tokens", &[1, 2, 3])
            .ints("split", &[1, 2, 3, 1, 1])
            .ints("joined", &[1, 2, 1])
            .ints("axis0", &[0])
            .floats("scale", &[], &[1.0])
            .node("Reshape", &["x", "tokens"], "t", &[])
            .node("Reshape", &["t", "split"], "s", &[])
            .node("Transpose", &["s"], "p", &[("perm", Ints(&[2, 0, 3, 1, 4]))]);
        let net = parts(net, split)
            .node("Mul", &["q", "scale"], "qs2", &[])
            .node("Transpose", &["k"], "kt", &[("perm", Ints(&[0, 1, 3, 2]))])
            .node("MatMul", &["qs2", "kt"], "m", &[])
            .node("Softmax", &["m"], "w", &[("axis", Int(-1))])
            .node("MatMul", &["w", "v"], "o", &[])
            .node("Transpose", &["o"], "ot", &[("perm", Ints(&[0, 2, 1, 3]))])
            .node("Reshape", &["ot", "joined"], "y", &[]);
        let graph = imported(&net);
        assert_eq!(graph.nodes.last().unwrap().op, Op::Attention { heads: 1 });
        // Scores of token 1: 1 · 1 and 1 · 2, weights 1 / (1 + e) and e / (1 + e), of 10 and 20.
        let e = std::f32::consts::E;
        let first = (10.0 + 20.0 * e) / (1.0 + e);
        // Token 2: 0 and 0.
        assert_close(&run(&net, &[1.0, 1.0, 10.0, 0.0, 2.0, 20.0]), &[first, 15.0]);
    }
}

#[test]
fn splits_and_constant_matrices() {
    let mut net = Net::new(13, &[1, 4])
        .ints("sizes", &[1, 3])
        .floats("wt", &[1, 3], &[1.0, 10.0, 100.0])
        .node("Split", &["x", "sizes"], "a", &[("axis", Int(1))]);
    net.graph().node[0].output.push("b".into());
    let net = net.node("Transpose", &["wt"], "w", &[("perm", Ints(&[1, 0]))]).node(
        "MatMul",
        &["b", "w"],
        "y",
        &[],
    );
    assert_close(&run(&net, &counting(4)), &[432.0]);
    let hard = start().node("HardSigmoid", &["x"], "y", &[("alpha", Float(1.0 / 6.0))]);
    assert_eq!(functions(&hard), [Op::Activation { function: Activation::HardSigmoid }]);
}
