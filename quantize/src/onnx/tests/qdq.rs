//! Quantized networks: what becomes of scales, zero points and integers, by hand.

use hipflask_runtime::DType;
use hipflask_runtime::graph::{Graph, Layout};
use hipflask_runtime::quant::QuantParams;

use super::build::Net;
use super::build::Value::Int;
use super::{imported, run};
use crate::onnx::tensors::data_type::{INT8, INT32, UINT8};

/// `y = x · wᵀ + b` with x at 0.5 · (q - 130), y at 0.1 · (q - 100), both uint8, and w at 0.25.
///
/// `constants` adds what the layer is made of as `w.real` and `b.real`.
fn layer(constants: impl Fn(Net) -> Net) -> Net {
    let net = Net::new(17, &[1, 2])
        .floats("x.scale", &[], &[0.5])
        .small("x.zero", UINT8, &[], &[130])
        .floats("y.scale", &[], &[0.1])
        .small("y.zero", UINT8, &[], &[100])
        .floats("w.scale", &[], &[0.25]);
    constants(net)
        .node("QuantizeLinear", &["x", "x.scale", "x.zero"], "x.q", &[])
        .node("DequantizeLinear", &["x.q", "x.scale", "x.zero"], "x.dq", &[])
        .node("Gemm", &["x.dq", "w.real", "b.real"], "fc", &[("transB", Int(1))])
        .node("QuantizeLinear", &["fc", "y.scale", "y.zero"], "y.q", &[])
        .node("DequantizeLinear", &["y.q", "y.scale", "y.zero"], "y", &[])
}

fn with_weight(net: Net, data_type: i32, zero: i32, values: [i32; 2]) -> Net {
    net.small("w", data_type, &[1, 2], &values).small("w.zero", data_type, &[], &[zero]).node(
        "DequantizeLinear",
        &["w", "w.scale", "w.zero"],
        "w.real",
        &[],
    )
}

/// A bias of 1 as 8 steps of 0.125.
fn with_bias(net: Net) -> Net {
    net.small("b", INT32, &[1], &[8]).floats("b.scale", &[], &[0.125]).node(
        "DequantizeLinear",
        &["b", "b.scale"],
        "b.real",
        &[],
    )
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|node| node.op.name()).collect()
}

/// The layer's integers: weights 3 and -2, bias 8 - 2 · (3 - 2), and 1 · 0.75 + 0.5 · 0.5 + 1 = 2.
fn is_the_layer(net: &Net) {
    let graph = imported(net);
    assert_eq!(graph.layout, Layout::Nhwc);
    assert_eq!(names(&graph), ["quantize", "linear", "dequantize"]);
    let fc = &graph.nodes[1];
    assert_eq!(fc.name, "fc");
    assert_eq!(graph.i8s(fc, "weight").unwrap(), [3, -2]);
    assert_eq!(graph.i32s(fc, "bias").unwrap()[..], [6]);
    assert_eq!(graph.f32s(fc, "scale").unwrap()[..], [0.25]);
    let quant = |index: usize| graph.value(graph.nodes[index].output).quant.unwrap();
    assert_eq!(quant(0), QuantParams { scale: 0.5, zero_point: 2 });
    assert_eq!(quant(1), QuantParams { scale: 0.1, zero_point: -28 });
    let y = run(net, &[1.0, -0.5]);
    assert!((y[0] - 2.0).abs() < 1e-6, "{y:?}");
}

#[test]
fn unsigned_activations_are_shifted() {
    is_the_layer(&layer(|net| with_bias(with_weight(net, INT8, 0, [3, -2]))));
}

#[test]
fn unsigned_weights_are_shifted() {
    is_the_layer(&layer(|net| with_bias(with_weight(net, UINT8, 128, [131, 126]))));
}

#[test]
fn float_weights_are_quantized_as_their_node_says() {
    is_the_layer(&layer(|net| {
        // 0.74 and -0.49 are 2.96 and -1.96 steps.
        with_bias(net)
            .floats("w", &[1, 2], &[0.74, -0.49])
            .small("w.zero", INT8, &[], &[0])
            .node("QuantizeLinear", &["w", "w.scale", "w.zero"], "w.q", &[])
            .node("DequantizeLinear", &["w.q", "w.scale", "w.zero"], "w.real", &[])
    }));
}

#[test]
fn biases_of_other_scales_are_rounded() {
    // 0.99 and 33 · 0.03 are 7.92 steps of 0.125.
    is_the_layer(&layer(|net| with_weight(net, INT8, 0, [3, -2]).floats("b.real", &[1], &[0.99])));
    is_the_layer(&layer(|net| {
        with_weight(net, INT8, 0, [3, -2])
            .small("b", INT32, &[1], &[33])
            .floats("b.scale", &[], &[0.03])
            .node("DequantizeLinear", &["b", "b.scale"], "b.real", &[])
    }));
}

#[test]
fn what_is_not_quantized_again_stays_in_float() {
    let mut net = layer(|net| with_bias(with_weight(net, INT8, 0, [3, -2])));
    let nodes = &mut net.graph().node;
    nodes.truncate(nodes.len() - 2);
    net.graph().output[0].name = "fc".into();
    let graph = imported(&net);
    assert_eq!(names(&graph), ["quantize", "dequantize", "linear"]);
    assert_eq!(graph.value(graph.nodes[2].output).dtype, DType::F32);
    assert_eq!(graph.f32s(&graph.nodes[2], "weight").unwrap()[..], [0.75, -0.5]);
    // 1.1 and -0.4 are 2.2 and -0.8 steps: rounded, 1 and -0.5.
    assert_eq!(run(&net, &[1.1, -0.4]), [2.0]);
}

/// A value with conversions of two scales, and `op` between them.
fn twice(op: &str) -> Graph {
    imported(
        &Net::new(17, &[1, 1, 2, 2])
            .floats("a", &[], &[0.5])
            .floats("b", &[], &[0.25])
            .small("zero", INT8, &[], &[-3])
            .node("QuantizeLinear", &["x", "a", "zero"], "q", &[])
            .node("DequantizeLinear", &["q", "a", "zero"], "f", &[])
            .node(op, &["f"], "g", &[])
            .node("QuantizeLinear", &["g", "b", "zero"], "r", &[])
            .node("DequantizeLinear", &["r", "b", "zero"], "y", &[]),
    )
}

#[test]
fn another_scale_is_a_conversion_of_its_own() {
    let conversions = ["quantize", "dequantize", "quantize", "dequantize"];
    assert_eq!(names(&twice("Identity")), conversions);
    // What only moves elements does so in int8, before.
    let wanted = ["quantize", "flatten", "dequantize", "quantize", "dequantize"];
    assert_eq!(names(&twice("Flatten")), wanted);
    // A function is a table between both scales.
    let graph = twice("Tanh");
    assert_eq!(names(&graph), ["quantize", "tanh", "dequantize"]);
    let table = graph.i8s(&graph.nodes[1], "table").unwrap();
    // tanh(0.5 · (-1 + 3)) = 0.7616 is 3.05 steps of 0.25 above -3.
    assert_eq!(table[usize::try_from(-1 + 128).unwrap()], 0);
}

#[test]
fn a_function_between_a_layer_and_its_conversion_becomes_part_of_it() {
    let net = Net::new(17, &[1, 1])
        .floats("s", &[], &[0.5])
        .small("zero", INT8, &[], &[0])
        .small("w", INT8, &[1, 1], &[2])
        .node("QuantizeLinear", &["x", "s", "zero"], "q", &[])
        .node("DequantizeLinear", &["q", "s", "zero"], "f", &[])
        .node("DequantizeLinear", &["w", "s", "zero"], "w.real", &[])
        .node("MatMul", &["f", "w.real"], "g", &[])
        .node("Relu", &["g"], "h", &[])
        .node("QuantizeLinear", &["h", "s", "zero"], "r", &[])
        .node("DequantizeLinear", &["r", "s", "zero"], "y", &[]);
    let graph = imported(&net);
    assert_eq!(names(&graph), ["quantize", "linear", "dequantize"]);
    assert!(graph.nodes[1].activation.is_some());
    assert_eq!((run(&net, &[-3.0]), run(&net, &[3.0])), (vec![0.0], vec![3.0]));
}

fn error(net: &Net) -> String {
    crate::onnx::from_bytes(&net.bytes(), "net").unwrap_err().to_string()
}

#[test]
fn what_int8_cannot_hold_is_refused_by_node() {
    let asymmetric = layer(|net| with_bias(with_weight(net, UINT8, 100, [255, 1])));
    let text = error(&asymmetric);
    assert!(text.starts_with("node \"fc\" (Gemm): the weight \"w.real\""), "{text}");
    assert!(text.contains("the integer 155") && text.contains("WeightSymmetric"), "{text}");
    let lowest = layer(|net| with_bias(with_weight(net, INT8, 0, [-128, 1])));
    assert!(error(&lowest).contains("the integer -128"));
    let start = |data_type| {
        Net::new(17, &[1, 2])
            .floats("s", &[], &[0.5])
            .floats("t", &[], &[0.25])
            .small("zero", data_type, &[], &[1])
            .node("QuantizeLinear", &["x", "s", "zero"], "q", &[])
    };
    // 4 is ONNX's uint16.
    assert!(error(&start(4)).contains("type 4; only int8 and uint8"));
    assert!(error(&start(INT8)).contains("output \"q\": has quantized elements"));
    let other = start(INT8).node("DequantizeLinear", &["q", "t", "zero"], "y", &[]);
    assert!(error(&other).contains("only equal scales"));
    let direct = start(INT8).node("Relu", &["q"], "y", &[]);
    assert!(error(&direct).contains("computes with quantized elements"));
    let scale = Net::new(17, &[1, 2]).floats("s", &[], &[0.0]);
    let text = error(&scale.node("QuantizeLinear", &["x", "s"], "q", &[]));
    assert!(text.contains("the scale 0 must be positive"), "{text}");
}
