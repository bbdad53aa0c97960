//! Convolutions, linear layers, batch norm, activations and pools, computed by hand.

use hipflask_runtime::graph::{Activation, Op};

use super::build::Net;
use super::build::Value::{Float, Int, Ints, Text};
use super::{assert_close, counting, imported, run};

/// A convolution of a 3×3 image `1..9` with a kernel of four ones.
fn sums(attributes: &[(&str, super::build::Value<'_>)]) -> Vec<f32> {
    let net = Net::new(17, &[1, 1, 3, 3]).floats("w", &[1, 1, 2, 2], &[1.0; 4]);
    run(&net.node("Conv", &["x", "w"], "y", attributes), &counting(9))
}

#[test]
fn a_convolution_pads_as_its_attributes_say() {
    let inside = [12.0, 16.0, 24.0, 28.0];
    assert_close(&sums(&[]), &inside);
    assert_close(&sums(&[("auto_pad", Text("VALID"))]), &inside);
    // Zeros above and to the right only.
    let wanted = [3.0, 5.0, 3.0, 12.0, 16.0, 9.0, 24.0, 28.0, 15.0];
    assert_close(&sums(&[("pads", Ints(&[1, 0, 0, 1]))]), &wanted);
    // SAME keeps 3×3: the odd zeros lie below and to the right, or above and to the left.
    let wanted = [12.0, 16.0, 9.0, 24.0, 28.0, 15.0, 15.0, 17.0, 9.0];
    assert_close(&sums(&[("auto_pad", Text("SAME_UPPER"))]), &wanted);
    let wanted = [1.0, 3.0, 5.0, 5.0, 12.0, 16.0, 11.0, 24.0, 28.0];
    assert_close(&sums(&[("auto_pad", Text("SAME_LOWER"))]), &wanted);
    // Stride 2 with SAME: two windows a side; dilation 2: the four corners.
    let strided = [("auto_pad", Text("SAME_UPPER")), ("strides", Ints(&[2, 2]))];
    assert_close(&sums(&strided), &[12.0, 9.0, 15.0, 9.0]);
    assert_close(&sums(&[("dilations", Ints(&[2, 2]))]), &[20.0]);
}

#[test]
fn groups_and_a_bias_that_is_added_later() {
    // Two channels of one pixel, each with its own weight: 2 · 3 + 10 and 5 · 4 + 20.
    for constant in [&[2, 1, 1][..], &[1, 2, 1, 1]] {
        let net = Net::new(17, &[1, 2, 1, 1])
            .floats("w", &[2, 1, 1, 1], &[3.0, 4.0])
            .floats("b", constant, &[10.0, 20.0])
            .node("Conv", &["x", "w"], "c", &[("group", Int(2))])
            .node("Add", &["b", "c"], "y", &[]);
        assert_close(&run(&net, &[2.0, 5.0]), &[16.0, 40.0]);
        assert_eq!(imported(&net).nodes.len(), 1);
    }
}

#[test]
fn padding_before_a_convolution_becomes_its_own() {
    let net = |reader: &str| {
        Net::new(17, &[1, 1, 3, 3])
            .floats("w", &[1, 1, 2, 2], &[1.0; 4])
            .ints("p", &[0, 0, 1, 0, 0, 0, 0, 1])
            .node("Pad", &["x", "p"], "z", &[])
            .node("Conv", &["z", "w"], "y", &[])
            .node("Relu", &[reader], "r", &[])
    };
    let graph = imported(&net("y"));
    assert_eq!(graph.nodes.len(), 2);
    assert!(matches!(graph.nodes[0].op, Op::Conv2d { padding: [1, 0, 0, 1], .. }));
    let wanted = [3.0, 5.0, 3.0, 12.0, 16.0, 9.0, 24.0, 28.0, 15.0];
    assert_close(&run(&net("y"), &counting(9)), &wanted);
    // Read by something else too, it stays a node; the output is the padded image.
    let padded = [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0, 7.0, 8.0, 9.0, 0.0];
    assert_close(&run(&net("z"), &counting(9)), &padded);
}

#[test]
fn the_forms_of_a_linear_layer_are_one_layer() {
    // y = (1·1 + 2·3 + 5, 1·2 + 2·4 + 6), with the weight as [i, o] or [o, i].
    let by_columns = [1.0, 2.0, 3.0, 4.0];
    let start =
        |w: &[f32], b: &[f32]| Net::new(13, &[-1, 2]).floats("w", &[2, 2], w).floats("b", &[2], b);
    let plain = start(&by_columns, &[5.0, 6.0]);
    let nets = [
        plain.clone().node("Gemm", &["x", "w", "b"], "y", &[]),
        start(&[1.0, 3.0, 2.0, 4.0], &[5.0, 6.0]).node(
            "Gemm",
            &["x", "w", "b"],
            "y",
            &[("transB", Int(1))],
        ),
        start(&[2.0, 4.0, 6.0, 8.0], &[10.0, 12.0]).node(
            "Gemm",
            &["x", "w", "b"],
            "y",
            &[("alpha", Float(0.5)), ("beta", Float(0.5))],
        ),
        plain.clone().node("MatMul", &["x", "w"], "m", &[]).node("Add", &["m", "b"], "y", &[]),
        plain.node("Gemm", &["x", "w"], "m", &[]).node("Add", &["b", "m"], "y", &[]),
    ];
    for net in nets {
        assert_close(&run(&net, &[1.0, 2.0]), &[12.0, 16.0]);
        let graph = imported(&net);
        assert_eq!(graph.nodes.len(), 1);
        assert_eq!(graph.nodes[0].op, Op::Linear);
    }
}

#[test]
fn an_output_before_the_bias_is_not_folded_away() {
    let mut net = Net::new(13, &[1, 1])
        .floats("w", &[1, 1], &[3.0])
        .floats("b", &[1], &[1.0])
        .node("MatMul", &["x", "w"], "m", &[])
        .node("Add", &["m", "b"], "y", &[]);
    let before = net.graph().node[0].output[0].clone();
    net.graph().output[0].name = before;
    // 3 · 2 without the 1 that is added behind it.
    assert_eq!(run(&net, &[2.0]), [6.0]);
    assert_eq!(imported(&net).nodes.len(), 2);
}

#[test]
fn batch_norm_uses_its_statistics() {
    // (5 - 1) / sqrt(3.99999 + 1e-5) · 3 + 0.5 = 6.5
    let net = Net::new(15, &[1, 1, 1, 1])
        .floats("gamma", &[1], &[3.0])
        .floats("beta", &[1], &[0.5])
        .floats("mean", &[1], &[1.0])
        .floats("var", &[1], &[3.99999])
        .node("BatchNormalization", &["x", "gamma", "beta", "mean", "var"], "y", &[]);
    assert_close(&run(&net, &[5.0]), &[6.5]);
}

/// The operations that `nodes` become, behind the input `x` of two features.
fn functions(net: &Net) -> Vec<Op> {
    imported(net).nodes.into_iter().map(|node| node.op).collect()
}

#[test]
fn activations_are_recognised() {
    let is = |function| vec![Op::Activation { function }];
    let net = |opset| Net::new(opset, &[1, 2]).floats("0", &[], &[0.0]).floats("6", &[], &[6.0]);
    let sixth = [("alpha", Float(1.0 / 6.0))];
    for (op, function) in [
        ("Relu", Activation::Relu),
        ("HardSwish", Activation::HardSwish),
        ("Sigmoid", Activation::Sigmoid),
        ("Tanh", Activation::Tanh),
    ] {
        assert_eq!(functions(&net(14).node(op, &["x"], "y", &[])), is(function));
    }
    let hard = net(14).node("HardSigmoid", &["x"], "y", &sixth);
    assert_eq!(functions(&hard), is(Activation::HardSigmoid));
    let swish = hard.node("Mul", &["x", "y"], "z", &[]);
    assert_eq!(functions(&swish), is(Activation::HardSwish));
    let silu = net(14).node("Sigmoid", &["x"], "s", &[]).node("Mul", &["s", "x"], "y", &[]);
    assert_eq!(functions(&silu), is(Activation::Silu));
    let bounds = [("min", Float(0.0)), ("max", Float(6.0))];
    assert_eq!(functions(&net(10).node("Clip", &["x"], "y", &bounds)), is(Activation::Relu6));
    assert_eq!(functions(&net(10).node("Clip", &["x"], "y", &bounds[..1])), is(Activation::Relu));
    let clip = |inputs: &[&str]| functions(&net(13).node("Clip", inputs, "y", &[]));
    assert_eq!(clip(&["x", "0", "6"]), is(Activation::Relu6));
    assert_eq!(clip(&["x", "0"]), is(Activation::Relu));
    assert_eq!(clip(&["x", "0", ""]), is(Activation::Relu));
}

#[test]
fn pools_by_hand() {
    let image = counting(16);
    let pool = |op: &str, more: &[(&str, super::build::Value<'_>)]| {
        let window = [("kernel_shape", Ints(&[3, 3])), ("strides", Ints(&[2, 2]))];
        let attributes = [&window[..], more].concat();
        run(&Net::new(17, &[1, 1, 4, 4]).node(op, &["x"], "y", &attributes), &image)
    };
    assert_close(&pool("MaxPool", &[]), &[11.0]);
    let ceil = [("ceil_mode", Int(1))];
    assert_close(&pool("MaxPool", &ceil), &[11.0, 12.0, 15.0, 16.0]);
    // Means of 3×3, 3×2, 2×3 and 2×2 pixels.
    assert_close(&pool("AveragePool", &ceil), &[6.0, 7.5, 12.0, 13.5]);
    let pads = ("pads", Ints(&[1, 1, 0, 0]));
    // Top left: 1, 2, 5, 6, over 4 pixels or over 9 with the zeros.
    assert_close(&pool("AveragePool", std::slice::from_ref(&pads))[..1], &[3.5]);
    let counted = [pads, ("count_include_pad", Int(1))];
    assert_close(&pool("AveragePool", &counted)[..1], &[14.0 / 9.0]);
}

#[test]
fn means_over_the_whole_image() {
    let image = Net::new(13, &[1, 2, 1, 2]).ints("axes", &[-1, 2]);
    let wanted = [1.5, 3.5];
    assert_close(
        &run(&image.clone().node("GlobalAveragePool", &["x"], "y", &[]), &counting(4)),
        &wanted,
    );
    for keep in [0, 1] {
        let attributes = [("axes", Ints(&[2, 3])), ("keepdims", Int(keep))];
        let net = image.clone().node("ReduceMean", &["x"], "y", &attributes);
        assert_close(&run(&net, &counting(4)), &wanted);
        let rank = if keep == 0 { 2 } else { 4 };
        let graph = imported(&net);
        assert_eq!(graph.value(graph.outputs[0]).shape.len(), rank);
    }
    let mut net = image.node("ReduceMean", &["x", "axes"], "y", &[]);
    net.model.opset_import[0].version = 18;
    assert_close(&run(&net, &counting(4)), &wanted);
}

#[test]
fn sums_joins_and_softmax() {
    let net = Net::new(13, &[1, 2])
        .node("Relu", &["x"], "a", &[])
        .node("Add", &["a", "x"], "s", &[])
        .node("Concat", &["s", "x"], "c", &[("axis", Int(-1))]);
    assert_close(&run(&net, &[1.0, -2.0]), &[2.0, -2.0, 1.0, -2.0]);
    let net = net.node("Softmax", &["s"], "y", &[]);
    // exp(2) / (exp(2) + exp(-2)) = 1 / (1 + exp(-4))
    assert_close(&run(&net, &[1.0, -2.0]), &[0.982_013_8, 0.017_986_2]);
}
