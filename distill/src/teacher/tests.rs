//! Teachers from files: against the interpreter, the runtime's session and published scores.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use hipflask_quantize::{Calibrator, Method, prepare, to_f16, to_int8};
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op};
use hipflask_runtime::input::ImagePreprocess;
use hipflask_runtime::{Model, Options, Session, Tensor as Weights};

use super::*;
use crate::evaluate::best;
use crate::interpreter::{Mode, Network};
use crate::network::NetworkSpec;
use crate::nn::gradcheck::{assert_close, random, values};
use crate::{Error, ErrorKind};

/// Where the real data are; without them the test is skipped by name.
pub(super) fn data(test: &str) -> Option<PathBuf> {
    let data = std::env::var_os("HIPFLASK_DATA").map(PathBuf::from);
    if data.is_none() {
        #[expect(clippy::print_stderr, reason = "a skip is not a pass")]
        {
            eprintln!("skipped: {test}: HIPFLASK_DATA is not set");
        }
    }
    data
}

/// Images [2, 4, 3] to three classes.
fn network(softmax: bool) -> Graph {
    let weights = |shape: &[usize], seed| Weights::from_f32(shape, &values(&random(shape, seed)));
    let mut b = GraphBuilder::new("small", Layout::Nchw);
    let x = b.input("image", [1, 2, 4, 3]);
    let conv = Op::Conv2d { stride: [1; 2], padding: [1; 4], dilation: [1; 2], groups: 1 };
    let y = b.node("conv", conv, &[x], [("weight", weights(&[4, 2, 3, 3], 1))]).unwrap();
    let norm = [
        ("weight", Weights::from_f32([4], &[1.0, 0.5, 2.0, 1.5])),
        ("bias", Weights::from_f32([4], &[0.1, 0.2, 0.3, 0.4])),
        ("running_mean", weights(&[4], 2)),
        ("running_var", Weights::from_f32([4], &[1.0, 2.0, 0.5, 1.0])),
    ];
    let y = b.node("bn", Op::BatchNorm { eps: 1e-5 }, &[y], norm).unwrap();
    let y = b.node("relu", Op::Activation { function: Activation::Relu }, &[y], []).unwrap();
    let y = b.node("flatten", Op::Flatten, &[y], []).unwrap();
    let linear = [("weight", weights(&[3, 48], 3)), ("bias", weights(&[3], 4))];
    let mut y = b.node("fc", Op::Linear, &[y], linear).unwrap();
    if softmax {
        y = b.node("softmax", Op::Softmax, &[y], []).unwrap();
    }
    b.finish(&[y]).unwrap()
}

fn int8() -> Graph {
    let prepared = prepare(&network(false)).unwrap();
    let mut calibrator = Calibrator::new(&prepared, Method::MinMax).unwrap();
    for seed in 0..8 {
        calibrator.observe(&values(&random(&[4, 3, 2], seed))).unwrap();
    }
    to_int8(&prepared, &calibrator.finish().unwrap()).unwrap()
}

const STANDARD: [f32; 2] = [-1.0, 1.0];

fn preprocess(range: [f32; 2]) -> Preprocess {
    Preprocess::Image(ImagePreprocess { range, ..ImagePreprocess::default() })
}

/// A folder with the file `name`.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn model_file(graph: Graph) -> Vec<u8> {
    let preprocess = Some(preprocess(STANDARD));
    ModelFile { graph, preprocess, card: Card::default() }.to_bytes()
}

fn wanted() -> Wanted<'static> {
    let device = &Device::Cpu;
    Wanted { shape: &[2, 4, 3], classes: 3, declared: None, preprocess: None, device }
}

fn opened(name: &str, bytes: &[u8], wanted: &Wanted<'_>) -> crate::Result<Box<dyn Teacher>> {
    let (_folder, path) = file(name, bytes);
    open(&path, wanted)
}

fn error_of(name: &str, bytes: &[u8], wanted: &Wanted<'_>) -> Error {
    let error = opened(name, bytes, wanted).err().unwrap();
    assert!(error.to_string().contains(name), "{error}");
    error
}

fn batch() -> Tensor {
    random(&[5, 2, 4, 3], 20)
}

/// What the runtime answers, sample by sample.
fn by_session(graph: Graph, images: &Tensor) -> Vec<f32> {
    let model = Model::from_graph(graph).unwrap();
    let mut session = Session::new(&model, &Options::default()).unwrap();
    let images = values(&images.permute((0, 2, 3, 1)).unwrap());
    let answers = images.chunks(24).map(|x| session.predict(x).unwrap().to_vec());
    answers.collect::<Vec<_>>().concat()
}

#[test]
fn a_float_model_answers_as_the_interpreter() {
    let graph = network(false);
    let teacher = opened("teacher.safetensors", &model_file(graph.clone()), &wanted()).unwrap();
    assert_eq!((teacher.name(), teacher.classes()), ("teacher.safetensors", 3));
    let images = batch();
    let logits = teacher.logits(&images).unwrap();
    let expected =
        Network::new(&graph, &Device::Cpu).unwrap().forward(&images, Mode::Evaluate).unwrap();
    assert_eq!(values(&logits), values(&expected));
    assert!(!logits.track_op());
    assert_eq!(teacher.preprocess(), Some(&preprocess(STANDARD)));
}

#[test]
fn device_models_answer_as_the_runtime() {
    let f16 = to_f16(&prepare(&network(false)).unwrap()).unwrap().into_nhwc().unwrap();
    for (what, graph) in [("int8", int8()), ("f16", f16)] {
        let teacher = opened("t.safetensors", &model_file(graph.clone()), &wanted()).unwrap();
        let images = batch();
        let logits = teacher.logits(&images).unwrap();
        assert_eq!(logits.dims(), [5, 3]);
        assert_eq!(values(&logits), by_session(graph, &images), "{what}");
        assert_eq!(values(&teacher.logits(&images).unwrap()), values(&logits), "{what} again");
        assert_eq!(teacher.preprocess(), Some(&preprocess(STANDARD)));
        let error = teacher.logits(&random(&[1, 2, 3, 4], 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shape);
    }
}

#[test]
fn int8_ports_are_quantized_and_dequantized() {
    let whole = int8();
    let mut bare = whole.clone();
    assert_eq!(
        (&bare.nodes[0].op, &bare.nodes.last().unwrap().op),
        (&Op::Quantize, &Op::Dequantize)
    );
    bare.inputs = vec![bare.nodes.remove(0).output];
    bare.outputs = bare.nodes.pop().unwrap().inputs;
    let teacher = opened("t.safetensors", &model_file(bare), &wanted()).unwrap();
    let images = batch();
    assert_eq!(values(&teacher.logits(&images).unwrap()), by_session(whole, &images));
}

#[test]
fn a_softmax_at_the_end_is_left_out() {
    let plain = NetworkTeacher::new("t", &network(false), None, &Device::Cpu).unwrap();
    let expected = plain.logits(&batch()).unwrap();
    let soft = network(true);
    for graph in [soft.clone(), soft.into_nhwc().unwrap()] {
        let teacher = opened("t.safetensors", &model_file(graph), &wanted()).unwrap();
        assert_close("logits", &teacher.logits(&batch()).unwrap(), &expected);
    }
}

#[test]
fn bare_weights_need_the_declared_network() {
    let (device, graph) = (&Device::Cpu, network(false));
    // As a file without our metadata: names and tensors alone.
    let tensors: Vec<(&String, Vec<u8>, Vec<usize>)> =
        graph.tensors.iter().map(|(n, t)| (n, t.bytes().to_vec(), t.shape().to_vec())).collect();
    let views = tensors.iter().map(|(name, bytes, shape)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (*name, view.unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    let error = error_of("bare.safetensors", &bytes, &wanted());
    assert_eq!(error.kind(), ErrorKind::Teacher);
    assert!(error.to_string().contains("network = "), "{error}");
    let declared = Network::new(&graph, device).unwrap().to_graph().unwrap();
    let own = preprocess([0.0, 255.0]);
    let wanted = Wanted { declared: Some(&declared), preprocess: Some(own.clone()), ..wanted() };
    let teacher = opened("bare.safetensors", &bytes, &wanted).unwrap();
    let expected = NetworkTeacher::new("t", &graph, Some(own.clone()), device).unwrap();
    let images = batch();
    let logits = teacher.logits(&images).unwrap();
    assert_eq!(values(&logits), values(&expected.logits(&images).unwrap()));
    assert_eq!(teacher.fingerprint(), expected.fingerprint());
    assert_eq!(teacher.preprocess(), Some(&own));
}

#[test]
fn the_fingerprint_follows_weights_structure_and_preprocessing() {
    let of = |graph: &Graph, wishes| {
        NetworkTeacher::new("t", graph, wishes, &Device::Cpu).unwrap().fingerprint()
    };
    let graph = network(false);
    let first = of(&graph, None);
    assert_eq!((first.len(), &first), (64, &of(&graph, None)));
    let mut weights = graph.clone();
    weights.tensors.insert("fc.bias".into(), Weights::from_f32([3], &[0.0, 0.0, 1.0]));
    let mut structure = graph.clone();
    structure.nodes[1].op = Op::BatchNorm { eps: 1e-3 };
    let others = [of(&weights, None), of(&structure, None), of(&graph, Some(preprocess(STANDARD)))];
    for (i, other) in others.iter().enumerate() {
        assert_ne!(*other, first, "{i}");
    }
}

#[test]
fn other_images_and_classes_are_refused_with_both_sides() {
    let bytes = model_file(network(false));
    let error = error_of("t.safetensors", &bytes, &Wanted { shape: &[1, 8, 8], ..wanted() });
    assert_eq!(error.kind(), ErrorKind::Teacher);
    assert!(
        error.to_string().contains("samples [2, 4, 3], the data set gives [1, 8, 8]"),
        "{error}"
    );
    let error = error_of("t.safetensors", &bytes, &Wanted { classes: 10, ..wanted() });
    assert_eq!(error.kind(), ErrorKind::Teacher);
    assert!(error.to_string().contains("3 classes apart, the data set has 10"), "{error}");
    let error = error_of("teacher.h5", &bytes, &wanted());
    assert!(error.to_string().contains(".onnx, .safetensors, .pth, .pt or .th"), "{error}");
    let std = ImagePreprocess { std: vec![0.0], ..ImagePreprocess::default() };
    let std = Preprocess::Image(std);
    let wanted = Wanted { preprocess: Some(std), ..wanted() };
    assert!(opened("t.safetensors", &bytes, &wanted).is_err());
}

/// A protocol buffer field that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend(bytes);
    field
}

/// A protocol buffer field that holds an integer below 128.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

/// An ONNX value `name` in f32 of `shape` (onnx.proto: ValueInfoProto); `None` is the symbol N.
fn value_info(name: &str, shape: &[Option<u8>]) -> Vec<u8> {
    let dims: Vec<Vec<u8>> = shape
        .iter()
        .map(|dim| field(1, &dim.map_or_else(|| field(2, b"N"), |size| number(1, size))))
        .collect();
    let tensor = [number(1, 1), field(2, &dims.concat())].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// An ONNX file: Flatten, MatMul by [[1, 2, 3], [4, 5, 6]], and Softmax if asked for.
fn onnx_file(opset: u8, batch: Option<u8>, softmax: bool) -> Vec<u8> {
    let node = |inputs: &[&str], output: &str, op: &str| {
        let inputs: Vec<Vec<u8>> = inputs.iter().map(|i| field(1, i.as_bytes())).collect();
        let rest = [field(2, output.as_bytes()), field(4, op.as_bytes())].concat();
        field(1, &[inputs.concat(), rest].concat())
    };
    let numbers: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat();
    let weights =
        [number(1, 2), number(1, 3), number(2, 1), field(8, b"w"), field(9, &numbers)].concat();
    let mut nodes = [node(&["x"], "flat", "Flatten"), node(&["flat", "w"], "y", "MatMul")].concat();
    if softmax {
        nodes.extend(node(&["y"], "p", "Softmax"));
    }
    let graph = [
        nodes,
        field(2, b"g"),
        field(5, &weights),
        field(11, &value_info("x", &[batch, Some(2), Some(1), Some(1)])),
        field(12, &value_info(if softmax { "p" } else { "y" }, &[batch, Some(3)])),
    ];
    [number(1, 8), field(7, &graph.concat()), field(8, &number(2, opset))].concat()
}

fn onnx_wanted() -> Wanted<'static> {
    Wanted { shape: &[2, 1, 1], ..wanted() }
}

#[test]
fn onnx_gives_logits_with_any_batch_dimension_and_with_a_softmax() {
    let x = Tensor::new(&[1.0_f32, 0.0, 0.0, 1.0, 2.0, -1.0], &Device::Cpu).unwrap();
    let x = x.reshape((3, 2, 1, 1)).unwrap();
    // Rows of the matrix, then 2·(1, 2, 3) - (4, 5, 6), by hand.
    let expected = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -2.0, -1.0, 0.0];
    for batch in [Some(1), None] {
        // Softmax flattened to two dimensions until opset 12.
        for (opset, softmax) in [(13, false), (13, true), (11, true)] {
            let file = onnx_file(opset, batch, softmax);
            let teacher = opened("t.onnx", &file, &onnx_wanted()).unwrap();
            let logits = values(&teacher.logits(&x).unwrap());
            assert_eq!(logits, expected, "batch {batch:?}, opset {opset}, softmax {softmax}");
            assert_eq!((teacher.classes(), teacher.preprocess()), (3, None));
        }
    }
}

#[test]
fn onnx_that_does_not_fit_is_refused_with_both_sides() {
    let file = onnx_file(13, None, false);
    for (bytes, wanted, words) in [
        (file.clone(), wanted(), "takes [?, 2, 1, 1], the data set gives [1, 2, 4, 3]"),
        (onnx_file(13, Some(4), false), onnx_wanted(), "export it with batch 1 or a dynamic batch"),
        (
            file.clone(),
            Wanted { classes: 4, ..onnx_wanted() },
            "3 classes apart, the data set has 4",
        ),
        (file[..file.len() / 2].to_vec(), onnx_wanted(), "cannot be read"),
        (b"no protocol buffer".to_vec(), onnx_wanted(), "cannot be read"),
    ] {
        let error = error_of("t.onnx", &bytes, &wanted);
        assert_eq!(error.kind(), ErrorKind::Teacher);
        assert!(error.to_string().contains(words), "{error} has no {words:?}");
    }
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// How many of `samples` (label, pixels) the teacher recognises.
fn recognised(teacher: &dyn Teacher, samples: &[(u8, &[u8])], image: [usize; 3]) -> usize {
    let preprocess = teacher.preprocess().unwrap().image("teacher").unwrap();
    let tables: Vec<[f32; 256]> = (0..image[0]).map(|c| preprocess.table(c)).collect();
    let plane = image[1] * image[2];
    let pixels = samples.iter().flat_map(|(_, pixels)| {
        pixels.chunks(plane).zip(&tables).flat_map(|(p, t)| p.iter().map(|&b| t[usize::from(b)]))
    });
    let [c, h, w] = image;
    let shape = (samples.len(), c, h, w);
    let images = Tensor::from_vec(pixels.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap();
    let logits = teacher.logits(&images).unwrap().to_vec2::<f32>().unwrap();
    samples.iter().zip(logits).filter(|((label, _), row)| best(row) == usize::from(*label)).count()
}

#[test]
fn resnet20_in_onnx_scores_as_in_pytorch() {
    let Some(data) = data("resnet20_in_onnx_scores_as_in_pytorch") else { return };
    let records = gunzip(&data.join("cifar10-subset/test-761.bin.gz"));
    let samples: Vec<(u8, &[u8])> = records.chunks(3073).map(|r| (r[0], &r[1..])).collect();
    let preprocess = Preprocess::Image(ImagePreprocess {
        range: [0.0, 1.0],
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    });
    let image = [3, 32, 32];
    let wanted = Wanted { shape: &image, classes: 10, preprocess: Some(preprocess), ..wanted() };
    let teacher = open(&data.join("models/cifar10-resnet20-opset13.onnx"), &wanted).unwrap();
    // PyTorch's own score of the checkpoint on these images: 698 of 761.
    assert_eq!(recognised(&*teacher, &samples, image), 698);
}

#[test]
fn resnets_of_pytorch_checkpoints_score_as_in_pytorch() {
    let Some(data) = data("resnets_of_pytorch_checkpoints_score_as_in_pytorch") else { return };
    let records = gunzip(&data.join("cifar10-subset/test-761.bin.gz"));
    let samples: Vec<(u8, &[u8])> = records.chunks(3073).map(|r| (r[0], &r[1..])).collect();
    let preprocess = Preprocess::Image(ImagePreprocess {
        range: [0.0, 1.0],
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    });
    let image = [3, 32, 32];
    // PyTorch's own scores of these checkpoints on these images.
    for (network, file, right) in
        [("resnet20", "resnet20-12fca82f", 698), ("resnet56", "resnet56-4bfd9763", 711)]
    {
        let spec = NetworkSpec { network: Some(network.into()), ..NetworkSpec::default() };
        let graph = spec.build(&image, 10, 1).unwrap();
        let preprocess = Some(preprocess.clone());
        let wanted =
            Wanted { shape: &image, classes: 10, preprocess, declared: Some(&graph), ..wanted() };
        let teacher = open(&data.join(format!("models/cifar10-{file}.th")), &wanted).unwrap();
        let found: usize = samples.chunks(100).map(|part| recognised(&*teacher, part, image)).sum();
        assert_eq!(found, right, "{network}");
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
    let wishes = Some(preprocess([0.0, 255.0]));
    let wanted = Wanted { shape: &image, classes: 10, preprocess: wishes, ..wanted() };
    let teacher = open(&data.join("models/mnist-cnn-cntk-opset7.onnx"), &wanted).unwrap();
    // 98.91 %, as measured with another runtime on all 10,000.
    assert_eq!(recognised(&*teacher, &samples, image), 9891);
}
