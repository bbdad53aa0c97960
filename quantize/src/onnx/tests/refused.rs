//! What is refused, with what words; and files that lie.

use hipflask_runtime::ErrorKind;
use proptest::prelude::*;

use super::build::Net;
use super::build::Value::{Float, Int, Ints, Text};
use crate::Error;
use crate::onnx::proto::NodeProto;

fn error(net: &Net) -> hipflask_runtime::Error {
    match crate::onnx::from_bytes(&net.bytes(), "net") {
        Err(Error::Runtime(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn image() -> Net {
    Net::new(17, &[1, 1, 4, 4])
        .floats("w", &[1, 1, 2, 2], &[1.0; 4])
        .floats("v", &[2], &[1.0, 2.0])
        .ints("shape", &[1, 4, 4, 1])
        .ints("part", &[1])
        .ints("end", &[9])
        .ints("five", &[1, 1, 4, 2, 2])
        .floats("one", &[], &[1.0])
        .ints("huge", &[1 << 40, 1 << 40])
}

#[test]
fn an_unsupported_node_is_named_with_its_operator_and_a_remedy() {
    let window = ("kernel_shape", Ints(&[2, 2]));
    for (op, inputs, attributes, words) in [
        ("Elu", &["x"][..], &[][..], "the operator is not supported: train with Relu"),
        ("Frobnicate", &["x"], &[], "docs/onnx.md"),
        ("QuantizeLinear", &["x", "w"], &[], "only weights may have several"),
        ("QuantizeLinear", &["x", "one", "part"], &[], "ONNX's type 7; only int8 and uint8"),
        ("DequantizeLinear", &["x", "one"], &[], "nothing quantized it"),
        ("QLinearConv", &["x"], &[], "QuantFormat.QDQ"),
        ("ConvInteger", &["x"], &[], "give the float model"),
        ("Mul", &["x", "v"], &[], "leave the rest to the preprocessing"),
        ("Sub", &["x", "x"], &[], "subtracts a computed value"),
        ("Div", &["x", "x"], &[], "divides by a computed value"),
        ("Conv", &["x", "x"], &[], "must be a constant: fold constants"),
        ("Conv", &["x", "v"], &[], "only two-dimensional convolutions"),
        ("Conv", &["w", "w"], &[], "is a constant where a computed value"),
        ("Conv", &["x", "w"], &[("pads", Ints(&[1, 1]))], "4 sizes are needed"),
        ("Conv", &["x", "w"], &[("pads", Ints(&[-1, 0, 0, 0]))], "no negative padding"),
        ("Gemm", &["x", "w"], &[("transA", Int(1))], "transA = 1; only 0"),
        ("Clip", &["x", "v", "v"], &[], "only [0, 6] and [0, ∞)"),
        ("HardSigmoid", &["x"], &[("alpha", Float(0.2))], "alpha = 1/6"),
        ("Add", &["x", "v"], &[], "one number for each channel"),
        ("Softmax", &["x"], &[("axis", Int(1))], "only over the classes"),
        ("MaxPool", &["x"], &[window.clone(), ("dilations", Ints(&[2, 2]))], "dilation"),
        ("MaxPool", &["x"], &[], "no kernel_shape"),
        ("ReduceMean", &["x"], &[("axes", Ints(&[1]))], "over height and width"),
        ("Flatten", &["x"], &[("axis", Int(2))], "axis = 1"),
        ("Reshape", &["x", "five"], &[], "of at most 4 dimensions"),
        ("Transpose", &["x"], &[("perm", Ints(&[0, 1, 3, 2]))], "PyTorch's order"),
        ("LayerNormalization", &["x", "v"], &[], "only over the last"),
        ("Cast", &["x"], &[("to", Int(6))], "only between floats"),
        ("Split", &["x", "five"], &[("axis", Int(1))], "splits 1"),
        ("Reshape", &["x", "x"], &[], "must be constant integers"),
        ("Squeeze", &["x"], &[], "that begin with the batch"),
        ("Slice", &["x", "part", "end"], &[], "only ranges behind the batch"),
        ("ConstantOfShape", &["huge"], &[], "is no shape"),
        ("Gather", &["shape", "end"], &[], "dimension 9 of a value with 4 dimensions"),
        ("Pad", &["x", "shape"], &[("mode", Text("reflect"))], "only with zeros"),
    ] {
        let error = error(&image().node(op, inputs, "y", attributes));
        let text = error.to_string();
        assert!(text.starts_with(&format!("node \"y\" ({op}): ")), "{text}");
        assert!(text.contains(words), "{text} has no {words:?}");
    }
}

#[test]
fn operators_of_a_runtime_are_refused() {
    let mut net = image().node("FusedConv", &["x", "w"], "y", &[]);
    net.graph().node[0].domain = "com.microsoft".into();
    assert!(error(&net).to_string().contains("com.microsoft"));
}

#[test]
fn inputs_must_be_floats_of_a_known_size() {
    let with = |dims: &[i64]| error(&Net::new(17, dims).node("Relu", &["x"], "y", &[])).to_string();
    assert!(with(&[8, 3, 4, 4]).contains("batch of 8: export the model with batch 1"));
    assert!(with(&[1, 3, -1, 4]).contains("dimension 2 (N) has no fixed size"));
    assert!(with(&[1, 3, 4]).contains("has 3 dimensions"));
    assert!(with(&[]).contains("has 0 dimensions"));
    assert!(with(&[1, 0]).contains("must begin with 1 and hold something"));
    assert!(with(&[1, i64::MAX, i64::MAX, 2]).contains("is beyond"));
    let mut bytes = Net::new(17, &[1, 4]).node("Relu", &["x"], "y", &[]);
    let tensor = bytes.graph().input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    tensor.elem_type = 2;
    assert!(error(&bytes).to_string().starts_with("input \"x\": has elements of ONNX's type 2"));
}

#[test]
fn opsets_of_other_times_are_refused() {
    for opset in [6, 24, 0, -1] {
        let error = error(&Net::new(opset, &[1, 4]).node("Relu", &["x"], "y", &[]));
        assert_eq!(error.kind(), ErrorKind::Version);
        assert!(error.to_string().contains(&format!("opset {opset}; 7 to 23 are read")));
    }
}

#[test]
fn files_that_are_no_models_are_refused() {
    for bytes in [&b""[..], b"no protocol buffer", &[0x3a, 0x7f], &[0x0a; 100]] {
        let error = crate::onnx::from_bytes(bytes, "net").unwrap_err().to_string();
        assert!(error.contains("is no ONNX model"), "{error}");
    }
}

#[test]
fn graphs_that_contradict_themselves_are_refused() {
    let twice = image().node("Relu", &["x"], "x", &[]);
    assert!(error(&twice).to_string().contains("\"x\" is computed twice"));
    let later = image().node("Relu", &["y"], "z", &[]).node("Relu", &["x"], "y", &[]);
    assert!(error(&later).to_string().contains("computed by no node before"));
    let mut lost = image().node("Relu", &["x"], "y", &[]);
    lost.graph().output[0].name = "nothing".into();
    assert!(error(&lost).to_string().contains("output \"nothing\": no node computes it"));
    let mut none = image().node("Relu", &["x"], "y", &[]);
    none.graph().node[0].output.clear();
    assert!(error(&none).to_string().contains("has no output"));
}

#[test]
fn sizes_that_lie_allocate_nothing() {
    let with = |dims: &[i64]| {
        let net = Net::new(17, &[1, 1, 4, 4]).floats("w", dims, &[1.0; 4]);
        error(&net.node("Conv", &["x", "w"], "y", &[])).to_string()
    };
    assert!(with(&[1 << 40, 1, 1, 1]).contains("the file is cut short or was edited"));
    assert!(with(&[i64::MAX, i64::MAX, 1, 1]).contains("impossible shape"));
    assert!(with(&[-1, 1, 2, 2]).contains("impossible shape"));
    // One large constant, read by so many nodes that their copies would fill the memory.
    let count = 1 << 20;
    let mut net = Net::new(17, &[1, 1024]).floats("w", &[1024, 1024], &vec![0.0; count]);
    let node = |i: usize| NodeProto {
        input: vec![if i == 0 { "x".into() } else { format!("y{}", i - 1) }, "w".into()],
        output: vec![format!("y{i}")],
        op_type: "MatMul".into(),
        ..Default::default()
    };
    net.graph().node = (0..300).map(node).collect();
    assert_eq!(error(&net).kind(), ErrorKind::Limit);
    net.graph().node = vec![NodeProto::default(); 20_000];
    assert!(error(&net).to_string().contains("20000 nodes, the limit is 16384"));
}

/// A model with most of what can be read.
fn everything() -> Vec<u8> {
    image()
        .ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
        .floats("b", &[1], &[0.5])
        .floats("fc", &[9, 2], &[0.1; 18])
        .node("Pad", &["x", "pads"], "p", &[])
        .node("Conv", &["p", "w", "b"], "c", &[("strides", Ints(&[1, 1]))])
        .node("BatchNormalization", &["c", "b", "b", "b", "b"], "n", &[])
        .node("Clip", &["n", "b"], "r", &[])
        .node("MaxPool", &["n"], "m", &[("kernel_shape", Ints(&[2, 2])), ("ceil_mode", Int(1))])
        .node("Flatten", &["m"], "f", &[])
        .bytes()
}

proptest! {
    #[test]
    fn no_change_of_a_few_bytes_makes_the_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = everything();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = crate::onnx::from_bytes(&bytes, "net");
        bytes.truncate(cut.index(bytes.len()));
        let _ = crate::onnx::from_bytes(&bytes, "net");
    }
}
