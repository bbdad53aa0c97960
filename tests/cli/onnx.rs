//! ONNX files where a student is asked for.

use hipflask_runtime::Model;
use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::{Activation, Graph, LoadLimits, Node, Op, ValueId};

use crate::runs::copy_of_small;
use crate::util::{Workdir, number};

#[test]
fn an_onnx_network_becomes_the_int8_that_its_student_becomes() {
    let workdir = with_onnx();
    let args = ["quantize", "net.onnx", "--data", "small.toml", "--to", "int8", "--out", "q"];
    let text = workdir.ok(&[&args[..], &["-q"]].concat());
    assert!(text.starts_with("q/net-int8.safetensors: "), "{text}");
    let [found, wanted] = ["q/net-int8.safetensors", "out/student-int8.safetensors"]
        .map(|name| Model::open(workdir.path(name)).unwrap());
    assert_eq!(found.graph(), wanted.graph());
    // The preprocessing of the data that it was calibrated on.
    assert_eq!(found.preprocess(), wanted.preprocess());
}

#[test]
fn an_onnx_network_is_measured_and_shown_as_its_student_is() {
    let workdir = with_onnx();
    let accuracy = |file: &str| {
        number(&workdir.json(&["validate", file, "--data", "small.toml"]), "students.f32.accuracy")
    };
    // Both are the same integers of correct answers over the number of samples.
    assert!((accuracy("net.onnx") - accuracy("out/student-f32.safetensors")).abs() < 1e-12);
    let [found, wanted] = ["net.onnx", "out/student-f32.safetensors"]
        .map(|file| workdir.json(&["inspect", file])["layers"].clone());
    assert_eq!(found, wanted);
    assert!(number(&workdir.json(&["bench", "net.onnx", "--runs", "10"]), "latency_us.p50") > 0.0);
    let error = workdir.refused(&["predict", "net.onnx", "image.pgm"]);
    assert!(error.contains("net.onnx: the file says nothing of its preprocessing"), "{error}");
}

#[test]
fn a_broken_or_unsupported_onnx_file_is_refused_by_name() {
    let workdir = Workdir::new();
    workdir.write("broken.onnx", b"no protocol buffer");
    let error = workdir.refused(&["inspect", "broken.onnx"]);
    assert!(error.starts_with("error: broken.onnx: is no ONNX model"), "{error}");
    let nodes = field(1, &node("Elu", "elu", &["image"], "y"));
    workdir.write("elu.onnx", model(&nodes, &[], &[1, 4], &[1, 4], "y"));
    let error = workdir.refused(&["quantize", "elu.onnx"]);
    let wanted = "error: elu.onnx: node \"elu\" (Elu): the operator is not supported: ";
    assert!(error.starts_with(wanted), "{error}");
    let error = workdir.refused(&["inspect", "missing.onnx"]);
    assert!(error.starts_with("error: missing.onnx: cannot be read"), "{error}");
}

/// The folder of a small run, with its student as `net.onnx` too.
fn with_onnx() -> Workdir {
    let workdir = copy_of_small();
    let bytes = workdir.read("out/student-f32.safetensors");
    let student = ModelFile::from_bytes(&bytes, &LoadLimits::default()).unwrap().graph;
    workdir.write("net.onnx", exported(&student));
    workdir
}

/// A network of linear layers as ONNX.
fn exported(graph: &Graph) -> Vec<u8> {
    let name = |id: ValueId| graph.value(id).name.as_str();
    let (mut nodes, mut weights) = (Vec::new(), Vec::new());
    for layer @ Node { op, inputs, output, .. } in &graph.nodes {
        let x = name(inputs[0]);
        let proto = match op {
            Op::Flatten => node("Flatten", &layer.name, &[x], name(*output)),
            Op::Activation { function: Activation::Relu } => {
                node("Relu", &layer.name, &[x], name(*output))
            }
            Op::Linear => {
                let [w, b] = ["weight", "bias"].map(|role| {
                    let name = layer.tensor_name(role);
                    weights.extend(field(5, &tensor(&name, graph)));
                    name
                });
                let transposed = [field(1, b"transB"), integer(3, 1)].concat();
                let gemm = node("Gemm", &layer.name, &[x, &w, &b], name(*output));
                [gemm, field(5, &transposed)].concat()
            }
            other => panic!("{other:?}"),
        };
        nodes.extend(field(1, &proto));
    }
    let (x, y) = (graph.value(graph.inputs[0]), graph.value(graph.outputs[0]));
    let bytes = model(&nodes, &weights, &x.shape, &y.shape, &y.name);
    assert_eq!(x.name, "image", "the name that `model` gives");
    bytes
}

// The fields that follow are those of onnx.proto3.

/// A file with the input `image`, of opset 17.
fn model(nodes: &[u8], weights: &[u8], from: &[usize], to: &[usize], output: &str) -> Vec<u8> {
    let graph = [
        nodes.to_vec(),
        field(2, b"mlp"),
        weights.to_vec(),
        field(11, &value("image", from)),
        field(12, &value(output, to)),
    ];
    [integer(1, 8), field(7, &graph.concat()), field(8, &integer(2, 17))].concat()
}

fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<Vec<u8>> = inputs.iter().map(|input| field(1, input.as_bytes())).collect();
    let rest = [(2, output), (3, name), (4, op)].map(|(n, text)| field(n, text.as_bytes()));
    [inputs.concat(), rest.concat()].concat()
}

fn tensor(name: &str, graph: &Graph) -> Vec<u8> {
    let tensor = &graph.tensors[name];
    let dims: Vec<Vec<u8>> = tensor.shape().iter().map(|&size| integer(1, size)).collect();
    let rest = [integer(2, 1), field(8, name.as_bytes()), field(9, tensor.bytes())];
    [dims.concat(), rest.concat()].concat()
}

fn value(name: &str, shape: &[usize]) -> Vec<u8> {
    let dims: Vec<Vec<u8>> = shape.iter().map(|&size| field(1, &integer(1, size))).collect();
    let tensor = [integer(1, 1), field(2, &dims.concat())].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// A field of bytes.
fn field(number: usize, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len()), bytes.to_vec()].concat()
}

/// A field that holds an integer.
fn integer(number: usize, value: usize) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
