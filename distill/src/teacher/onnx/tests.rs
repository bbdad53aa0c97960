//! ONNX teachers: small files written here by hand, and real ones with published scores.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use candle_core::Device;
use hipflask_runtime::input::ImagePreprocess;

use super::*;
use crate::nn::gradcheck::values;
use crate::teacher::tests::{
    data, error_of, file, gunzip, opened, preprocess, ranged, recognised, wanted,
};
use crate::teacher::{Wanted, open};

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A protocol buffer field that holds bytes.
fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A protocol buffer field that holds an integer.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// An ONNX value `name` of `shape` (onnx.proto: ValueInfoProto); 0 is the symbol N.
fn value_info(name: &str, dtype: u64, shape: &[u64]) -> Vec<u8> {
    let dim = |&size: &u64| if size == 0 { field(2, b"N") } else { number(1, size) };
    let dims: Vec<Vec<u8>> = shape.iter().map(|size| field(1, &dim(size))).collect();
    let tensor = [number(1, dtype), field(2, &dims.concat())].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// A node with attributes that are integers (AttributeProto: i is 3, its type 2).
fn node(inputs: &[&str], output: &str, op: &str, attributes: &[(&str, u64)]) -> Vec<u8> {
    let inputs: Vec<Vec<u8>> = inputs.iter().map(|i| field(1, i.as_bytes())).collect();
    let attribute = |&(name, value): &(&str, u64)| {
        field(5, &[field(1, name.as_bytes()), number(3, value), number(20, 2)].concat())
    };
    let attributes: Vec<Vec<u8>> = attributes.iter().map(attribute).collect();
    let rest = [field(2, output.as_bytes()), field(4, op.as_bytes()), attributes.concat()].concat();
    field(1, &[inputs.concat(), rest].concat())
}

/// The weights `w` of `dims`: 1, 2, 3, …
fn weights(dims: &[u64]) -> Vec<u8> {
    let count = dims.iter().product::<u64>();
    let numbers: Vec<u8> = (1..=count).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let dims: Vec<Vec<u8>> = dims.iter().map(|&dim| number(1, dim)).collect();
    field(5, &[dims.concat(), number(2, 1), field(8, b"w"), field(9, &numbers)].concat())
}

const F32: u64 = 1;

/// A file of `nodes`, with the input `x` and some outputs.
fn model(opset: u64, nodes: &[Vec<u8>], w: Vec<u8>, x: &[u8], outputs: &[Vec<u8>]) -> Vec<u8> {
    let outputs: Vec<Vec<u8>> = outputs.iter().map(|output| field(12, output)).collect();
    let graph = [nodes.concat(), field(2, b"g"), w, field(11, x), outputs.concat()];
    [number(1, 8), field(7, &graph.concat()), field(8, &number(2, opset))].concat()
}

/// Flatten, MatMul by [[1, 2, 3], [4, 5, 6]], and Softmax if asked for.
fn rows(opset: u64, batch: u64, softmax: bool) -> Vec<u8> {
    let mut nodes =
        vec![node(&["x"], "flat", "Flatten", &[]), node(&["flat", "w"], "y", "MatMul", &[])];
    if softmax {
        nodes.push(node(&["y"], "p", "Softmax", &[]));
    }
    let output = value_info(if softmax { "p" } else { "y" }, F32, &[batch, 3]);
    let input = value_info("x", F32, &[batch, 2, 1, 1]);
    model(opset, &nodes, weights(&[2, 3]), &input, &[output])
}

fn small() -> Wanted<'static> {
    Wanted { shape: &[2, 1, 1], ..wanted() }
}

fn images() -> Tensor {
    let x = Tensor::new(&[1.0_f32, 0.0, 0.0, 1.0, 2.0, -1.0], &Device::Cpu).unwrap();
    x.reshape((3, 2, 1, 1)).unwrap()
}

/// What `rows` answers for `images`: its rows, then 2·(1, 2, 3) - (4, 5, 6), by hand.
const ANSWERS: [f32; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -2.0, -1.0, 0.0];

fn answers(bytes: &[u8], wanted: &Wanted<'_>) -> Vec<f32> {
    let teacher = opened("t.onnx", bytes, wanted).unwrap();
    assert_eq!((teacher.classes(), teacher.preprocess()), (3, None));
    values(&teacher.logits(&images()).unwrap())
}

#[test]
fn logits_come_with_any_batch_and_with_a_softmax() {
    // 0: dynamic. With 2 and 4 the last run of three samples is filled up.
    for batch in [0, 1, 2, 3, 4] {
        // Softmax flattened to two dimensions until opset 12.
        for (opset, softmax) in [(13, false), (13, true), (11, true)] {
            let found = answers(&rows(opset, batch, softmax), &small());
            assert_eq!(found, ANSWERS, "batch {batch}, opset {opset}, softmax {softmax}");
        }
    }
}

#[test]
fn logits_with_singleton_axes_are_taken_as_they_are() {
    for batch in [0, 2] {
        let conv = || node(&["x", "w"], "y", "Conv", &[]);
        let softmax = || node(&["y"], "p", "Softmax", &[("axis", 1)]);
        let flatten = || node(&["p"], "f", "Flatten", &[]);
        let input = || value_info("x", F32, &[batch, 2, 1, 1]);
        // A convolution's weights are [out, in, 1, 1]: rows (1, 2), (3, 4), (5, 6).
        let expected = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0, 0.0, 2.0, 4.0];
        for (nodes, output, shape) in [
            (vec![conv()], "y", &[batch, 3, 1, 1][..]),
            (vec![conv(), softmax()], "p", &[batch, 3, 1, 1]),
            (vec![conv(), softmax(), flatten()], "f", &[batch, 3]),
        ] {
            let output = value_info(output, F32, shape);
            let file = model(13, &nodes, weights(&[3, 2, 1, 1]), &input(), &[output]);
            assert_eq!(answers(&file, &small()), expected, "batch {batch}");
        }
    }
}

#[test]
fn one_of_several_outputs_is_chosen_by_name() {
    let nodes = [
        node(&["x"], "flat", "Flatten", &[]),
        node(&["flat", "w"], "inner", "MatMul", &[]),
        node(&["inner"], "double", "Neg", &[]),
        node(&["double"], "again", "Neg", &[]),
    ];
    let outputs = [value_info("double", F32, &[0, 3]), value_info("again", F32, &[0, 3])];
    let input = value_info("x", F32, &[0, 2, 1, 1]);
    let file = model(13, &nodes, weights(&[2, 3]), &input, &outputs);
    let of = |name: &str| Wanted {
        wishes: Wishes { output: Some(name.into()), ..Wishes::default() },
        ..small()
    };
    assert_eq!(answers(&file, &of("again")), ANSWERS);
    assert_eq!(answers(&file, &of("double")), ANSWERS.map(|v| -v));
    // A value within the network.
    assert_eq!(answers(&file, &of("inner")), ANSWERS);
    let error = error_of("t.onnx", &file, &small()).to_string();
    assert!(error.contains("has 2 outputs (double, again): say which"), "{error}");
    let error = error_of("t.onnx", &file, &of("logits")).to_string();
    assert!(error.contains("has no output \"logits\""), "{error}");
    assert!(error.contains("it has double, again"), "{error}");
    let fingerprint = |name| opened("t.onnx", &file, &of(name)).unwrap().fingerprint();
    assert_ne!(fingerprint("again"), fingerprint("double"));
}

/// Images of two channels, one row and two columns, channels last: [n, 1, 2, 2], flattened, by
/// [[1, 2, 3], …, [10, 11, 12]].
fn channels_last() -> Vec<u8> {
    let nodes = [node(&["x"], "flat", "Flatten", &[]), node(&["flat", "w"], "y", "MatMul", &[])];
    let input = value_info("x", F32, &[0, 1, 3, 2]);
    model(13, &nodes, weights(&[6, 3]), &input, &[value_info("y", F32, &[0, 3])])
}

#[test]
fn channels_last_are_named_and_transposed_when_asked_for() {
    let file = channels_last();
    let image = [2, 1, 3];
    let error = error_of("t.onnx", &file, &Wanted { shape: &image, ..wanted() }).to_string();
    assert!(error.contains("takes [?, 1, 3, 2], the channels last: write layout = "), "{error}");
    let layout = Some(Placement::Nhwc);
    let wishes = Wishes { layout, ..Wishes::default() };
    let teacher = opened("t.onnx", &file, &Wanted { shape: &image, wishes, ..wanted() }).unwrap();
    // Channel 0 of the third pixel stands fifth with the channels last: the fifth row of w.
    let x = Tensor::new(&[0.0_f32, 0.0, 1.0, 0.0, 0.0, 0.0], &Device::Cpu).unwrap();
    let found = teacher.logits(&x.reshape((1, 2, 1, 3)).unwrap()).unwrap();
    assert_eq!(values(&found), [13.0, 14.0, 15.0]);
    // Channel 1 of the first pixel: the second row.
    let x = Tensor::new(&[0.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0], &Device::Cpu).unwrap();
    let found = teacher.logits(&x.reshape((1, 2, 1, 3)).unwrap()).unwrap();
    assert_eq!(values(&found), [4.0, 5.0, 6.0]);
}

#[test]
fn whole_numbers_are_rounded_on_their_way_in() {
    // UINT8 is 2, INT64 is 7, FLOAT is 1 (TensorProto.DataType).
    for dtype in [2, 7] {
        let nodes = [
            node(&["x"], "f", "Cast", &[("to", F32)]),
            node(&["f"], "flat", "Flatten", &[]),
            node(&["flat", "w"], "y", "MatMul", &[]),
        ];
        let input = value_info("x", dtype, &[0, 2, 1, 1]);
        let output = value_info("y", F32, &[0, 3]);
        let file = model(13, &nodes, weights(&[2, 3]), &input, &[output]);
        let teacher = opened("t.onnx", &file, &small()).unwrap();
        let x = Tensor::new(&[1.999_999_9_f32, 0.000_000_1], &Device::Cpu).unwrap();
        let found = teacher.logits(&x.reshape((1, 2, 1, 1)).unwrap()).unwrap();
        assert_eq!(values(&found), [2.0, 4.0, 6.0]);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_both_sides() {
    let file = rows(13, 0, false);
    let four = Wanted { classes: 4, ..small() };
    let two_inputs = {
        let nodes = [node(&["x", "other"], "y", "Add", &[])];
        let inputs = value_info("x", F32, &[0, 3]);
        let bytes = model(13, &nodes, Vec::new(), &inputs, &[value_info("y", F32, &[0, 3])]);
        // Another input behind the first.
        let extra = field(11, &value_info("other", F32, &[0, 3]));
        insert_into_graph(&bytes, &extra)
    };
    let wide = {
        let nodes = [node(&["x"], "y", "Neg", &[])];
        let input = value_info("x", F32, &[0, 2, 2, 3]);
        model(13, &nodes, Vec::new(), &input, &[value_info("y", F32, &[0, 2, 2, 3])])
    };
    for (bytes, wanted, words) in [
        (file.clone(), wanted(), "takes [?, 2, 1, 1]; the data set gives samples [2, 4, 3]"),
        (rows(13, 5000, false), small(), "takes 5000 samples at once"),
        (file.clone(), four, "3 classes apart, the data set has 4"),
        (file[..file.len() / 2].to_vec(), small(), "cannot be read"),
        (b"no protocol buffer".to_vec(), small(), "cannot be read"),
        (two_inputs, small(), "has 2 inputs (x, other): a teacher has one"),
        (wide, Wanted { shape: &[2, 2, 3], ..wanted() }, "a teacher writes logits [1, classes]"),
    ] {
        let error = error_of("t.onnx", &bytes, &wanted);
        assert_eq!(error.kind(), ErrorKind::Teacher);
        assert!(error.to_string().contains(words), "{error} has no {words:?}");
    }
}

/// `bytes` of `model`, its graph with `extra` at the end.
fn insert_into_graph(bytes: &[u8], extra: &[u8]) -> Vec<u8> {
    // number(1, 8) takes two bytes, then the graph's tag and length; number(2, 13) and its frame four.
    let tail = bytes.len() - 4;
    let start = (3..8).find(|&at| varint((tail - at) as u64) == bytes[3..at]).unwrap();
    let graph = [&bytes[start..tail], extra].concat();
    [&bytes[..2], &field(7, &graph), &bytes[tail..]].concat()
}

#[test]
fn a_file_on_which_tract_panics_is_an_error() {
    // tract 0.23 looks outputs up by index: a name that nothing writes panics there.
    let nodes = [node(&["x"], "flat", "Flatten", &[])];
    let input = value_info("x", F32, &[0, 3, 1, 1]);
    let file = model(13, &nodes, Vec::new(), &input, &[value_info("nothing", F32, &[0, 3])]);
    let error = error_of("t.onnx", &file, &Wanted { shape: &[3, 1, 1], ..wanted() });
    assert_eq!(error.kind(), ErrorKind::Teacher);
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

/// What a damaged file does: an error, or a teacher that answers or fails.
fn survives(path: &Path, wanted: &Wanted<'_>) {
    if let Ok(teacher) = open(path, wanted) {
        let shape = [&[1], wanted.shape].concat();
        let _ =
            teacher.logits(&Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap());
    }
}

#[test]
fn damaged_files_are_errors_and_no_panics() {
    let files =
        [(rows(13, 0, true), small()), (channels_last(), Wanted { shape: &[2, 1, 3], ..wanted() })];
    for (bytes, wanted) in files {
        let (_folder, path) = file("t.onnx", &bytes);
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            survives(&path, &wanted);
        }
        for place in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[place / 8] ^= 1 << (place % 8);
            std::fs::write(&path, &bytes).unwrap();
            survives(&path, &wanted);
        }
    }
}

#[test]
fn a_damaged_real_file_is_an_error_and_no_panic() {
    let Some(data) = data("a_damaged_real_file_is_an_error_and_no_panic") else { return };
    let bytes = std::fs::read(data.join("models/mnist-cnn-cntk-opset7.onnx")).unwrap();
    let wanted = Wanted { shape: &[1, 28, 28], classes: 10, ..wanted() };
    let (_folder, path) = file("t.onnx", &bytes);
    for i in 0..400_usize {
        // Places spread by the golden ratio, half of them within the first two kilobytes, where
        // the structure is.
        let spread = (i * 40_503) % 65_536;
        let within = if i % 2 == 0 { 2048 } else { bytes.len() };
        let place = spread * within / 65_536;
        let mut bytes = bytes.clone();
        match i % 4 {
            0 | 1 => bytes[place] ^= 1 << (i / 4 % 8),
            2 => bytes[place] = (i * 37) as u8,
            _ => bytes.truncate(place),
        }
        std::fs::write(&path, &bytes).unwrap();
        survives(&path, &wanted);
    }
}

#[test]
fn resnets_in_onnx_score_as_in_pytorch() {
    let Some(data) = data("resnets_in_onnx_score_as_in_pytorch") else { return };
    let records = gunzip(&data.join("cifar10-subset/test-761.bin.gz"));
    let samples: Vec<(u8, &[u8])> = records.chunks(3073).map(|r| (r[0], &r[1..])).collect();
    let preprocess = Preprocess::Image(ImagePreprocess {
        range: [0.0, 1.0],
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    });
    let image = [3, 32, 32];
    let wanted = Wanted { shape: &image, classes: 10, wishes: ranged(preprocess), ..wanted() };
    // PyTorch's own scores of the checkpoints on these 761 images.
    for (name, score) in [("resnet20", 698), ("resnet56", 711)] {
        let path = data.join(format!("models/cifar10-{name}-opset13.onnx"));
        let teacher = open(&path, &wanted).unwrap();
        assert_eq!(recognised(&*teacher, &samples, image), score, "{name}");
    }
}

#[test]
fn the_mnist_network_of_cntk_scores_as_measured() {
    let Some(data) = data("the_mnist_network_of_cntk_scores_as_measured") else { return };
    let images = gunzip(&data.join("mnist/t10k-images-idx3-ubyte.gz"));
    let labels = gunzip(&data.join("mnist/t10k-labels-idx1-ubyte.gz"));
    let samples: Vec<(u8, &[u8])> =
        labels[8..].iter().copied().zip(images[16..].chunks(784)).collect();
    let image = [1, 28, 28];
    let wishes = ranged(preprocess([0.0, 255.0]));
    let wanted = Wanted { shape: &image, classes: 10, wishes, ..wanted() };
    let teacher = open(&data.join("models/mnist-cnn-cntk-opset7.onnx"), &wanted).unwrap();
    // 98.91 %, as measured with another runtime on all 10,000.
    assert_eq!(recognised(&*teacher, &samples, image), 9891);
}
