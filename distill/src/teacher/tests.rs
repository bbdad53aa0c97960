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

pub(super) fn preprocess(range: [f32; 2]) -> Preprocess {
    Preprocess::Image(ImagePreprocess { range, ..ImagePreprocess::default() })
}

/// A folder with the file `name`.
pub(super) fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

pub(super) fn ranged(preprocess: Preprocess) -> Wishes {
    Wishes { preprocess: Some(preprocess), ..Wishes::default() }
}

fn model_file(graph: Graph) -> Vec<u8> {
    let preprocess = Some(preprocess(STANDARD));
    ModelFile { graph, preprocess, card: Card::default() }.to_bytes()
}

pub(super) fn wanted() -> Wanted<'static> {
    let device = &Device::Cpu;
    Wanted { shape: &[2, 4, 3], classes: 3, declared: None, wishes: Wishes::default(), device }
}

pub(super) fn opened(
    name: &str,
    bytes: &[u8],
    wanted: &Wanted<'_>,
) -> crate::Result<Box<dyn Teacher>> {
    let (_folder, path) = file(name, bytes);
    open(&path, wanted)
}

pub(super) fn error_of(name: &str, bytes: &[u8], wanted: &Wanted<'_>) -> Error {
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
    let wanted = Wanted { declared: Some(&declared), wishes: ranged(own.clone()), ..wanted() };
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
    let std = Preprocess::Image(ImagePreprocess { std: vec![0.0], ..ImagePreprocess::default() });
    let wanted = Wanted { wishes: ranged(std), ..wanted() };
    assert!(opened("t.safetensors", &bytes, &wanted).is_err());
}

pub(super) fn gunzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// How many of `samples` (label, pixels) the teacher recognises.
pub(super) fn recognised(
    teacher: &dyn Teacher,
    samples: &[(u8, &[u8])],
    image: [usize; 3],
) -> usize {
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
        let wishes = ranged(preprocess.clone());
        let wanted =
            Wanted { shape: &image, classes: 10, wishes, declared: Some(&graph), ..wanted() };
        let teacher = open(&data.join(format!("models/cifar10-{file}.th")), &wanted).unwrap();
        let found: usize = samples.chunks(100).map(|part| recognised(&*teacher, part, image)).sum();
        assert_eq!(found, right, "{network}");
    }
}
