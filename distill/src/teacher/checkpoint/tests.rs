//! Checkpoints: what their authors wrote into them, and everything that can be wrong with them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is a failed test")]

use std::path::{Path, PathBuf};

use hipflask_runtime::graph::{Activation, GraphBuilder, Op};
use proptest::prelude::*;
use safetensors::tensor::TensorView;

use super::*;

/// `tests/pytorch/make_fixtures.py` writes them.
const NESTED: &[u8] = include_bytes!("fixtures/nested.pth");
const PROTOCOL_4: &[u8] = include_bytes!("fixtures/protocol4.pth");
const LEGACY: &[u8] = include_bytes!("fixtures/legacy.th");
const EMPTY: &[u8] = include_bytes!("fixtures/empty.pth");
const WHOLE: &[u8] = include_bytes!("fixtures/whole.pth");

/// The tensors of the fixtures, as the script states them.
fn stated() -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
    vec![
        ("conv1.weight", vec![2, 1, 1, 1], vec![1.5, -2.0]),
        ("bn1.weight", vec![2], vec![1.0, 2.5]),
        ("bn1.bias", vec![2], vec![0.5, -0.5]),
        ("bn1.running_mean", vec![2], vec![0.25, 0.0]),
        ("bn1.running_var", vec![2], vec![1.0, 4.0]),
        ("fc.weight", vec![3, 8], (0..24).map(|i| i as f32).collect()),
        ("fc.bias", vec![3], vec![10.0, 20.0, 30.0]),
    ]
}

/// The network of the fixtures, with zeros for weights.
fn declared() -> Graph {
    let zeros = |shape: &[usize]| Tensor::from_f32(shape, &vec![0.0; shape.iter().product()]);
    let mut b = GraphBuilder::new("tiny", Layout::Nchw);
    let x = b.input("image", [1, 1, 2, 2]);
    let conv = Op::Conv2d { stride: [1; 2], padding: [0; 4], dilation: [1; 2], groups: 1 };
    let y = b.node("conv1", conv, &[x], [("weight", zeros(&[2, 1, 1, 1]))]).unwrap();
    let roles = ["weight", "bias", "running_mean", "running_var"];
    let norm = roles.map(|role| (role, zeros(&[2])));
    let y = b.node("bn1", Op::BatchNorm { eps: 1e-5 }, &[y], norm).unwrap();
    let y = b.node("relu", Op::Activation { function: Activation::Relu }, &[y], []).unwrap();
    let y = b.node("flatten", Op::Flatten, &[y], []).unwrap();
    let linear = [("weight", zeros(&[3, 8])), ("bias", zeros(&[3]))];
    let y = b.node("fc", Op::Linear, &[y], linear).unwrap();
    b.finish(&[y]).unwrap()
}

fn load(bytes: &[u8]) -> Result<Graph> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    std::fs::write(&path, bytes).unwrap();
    load_weights(&path, &declared())
}

fn error_of(bytes: &[u8]) -> String {
    let error = load(bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkpoint, "{error}");
    assert!(error.to_string().contains("weights.pth"), "{error}");
    error.to_string()
}

fn assert_stated(graph: &Graph) {
    for (name, shape, values) in stated() {
        let tensor = &graph.tensors[name];
        assert_eq!(tensor.shape()[..], shape, "{name}");
        assert_eq!(tensor.f32s().unwrap()[..], values, "{name}");
    }
}

/// A safetensors file of f32 tensors.
fn safetensors_of(tensors: &[(&str, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn every_container_gives_the_stated_weights() {
    let safetensors = safetensors_of(&stated());
    for (what, file) in [
        ("zip, nested, module. prefix", NESTED),
        ("zip, protocol 4", PROTOCOL_4),
        ("legacy", LEGACY),
        ("safetensors", &safetensors),
    ] {
        let graph = load(file).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_stated(&graph);
        assert_eq!(graph.nodes, declared().nodes);
    }
}

/// The stated tensors with `prefix` before their names.
fn prefixed(prefix: &str) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    stated().into_iter().map(|(name, s, v)| (format!("{prefix}{name}"), s, v)).collect()
}

fn safetensors_of_named(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let named: Vec<_> = tensors.iter().map(|(n, s, v)| (&**n, s.clone(), v.clone())).collect();
    safetensors_of(&named)
}

#[test]
fn wrappers_and_the_prefix_of_a_part_are_dropped() {
    for prefix in ["module.", "_orig_mod.module.", "backbone.", "model.encoder.net.", "module.a."] {
        let graph = load(&safetensors_of_named(&prefixed(prefix)));
        assert_stated(&graph.unwrap_or_else(|e| panic!("{prefix}: {e}")));
    }
    // What stands beside the part is not the network's.
    let beside = ("loss.centers".to_string(), vec![2], vec![1.0, 2.0]);
    let file = [prefixed("net."), vec![beside.clone()]].concat();
    assert_stated(&load(&safetensors_of_named(&file)).unwrap());
    // Without a prefix it could be.
    let error = error_of(&safetensors_of_named(&[prefixed(""), vec![beside.clone()]].concat()));
    assert!(error.contains("holds 1 that \"tiny\" lacks: \"loss.centers\""), "{error}");
    let error = error_of(&safetensors_of_named(&[prefixed("s."), prefixed("t.")].concat()));
    assert!(error.contains("holds the network several times, as s. and t.: save"), "{error}");
    // A part that lacks a tensor is no part.
    let mut torn = prefixed("net.");
    torn.remove(0);
    let error = error_of(&safetensors_of_named(&torn));
    assert!(error.contains("lacks 7 tensors") && error.contains("net."), "{error}");
}

#[test]
fn the_only_dictionary_of_tensors_needs_no_known_key() {
    // Another key of the same length in the place of the fixture's.
    let mut file = NESTED.to_vec();
    let at = file.windows(10).position(|w| w == b"state_dict").unwrap();
    file[at..at + 10].copy_from_slice(b"swa_model1");
    assert_stated(&load(&file).unwrap());
}

#[test]
fn half_precision_in_safetensors_is_widened() {
    let mut weights = stated();
    // 1.5 and -2.0 as IEEE half, 1.0 and 2.5 as bfloat16.
    let halves: [u8; 4] = [0x00, 0x3e, 0x00, 0xc0];
    let brains: [u8; 4] = [0x80, 0x3f, 0x20, 0x40];
    weights.retain(|(name, ..)| !["conv1.weight", "bn1.weight"].contains(name));
    let bytes: Vec<Vec<u8>> = weights
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect())
        .collect();
    let mut views: Vec<_> = weights
        .iter()
        .zip(&bytes)
        .map(|((n, s, _), b)| (*n, TensorView::new(Dtype::F64, s.clone(), b).unwrap()))
        .collect();
    let half = TensorView::new(Dtype::F16, vec![2, 1, 1, 1], &halves).unwrap();
    let brain = TensorView::new(Dtype::BF16, vec![2], &brains).unwrap();
    views.extend([("conv1.weight", half), ("bn1.weight", brain)]);
    assert_stated(&load(&safetensors::serialize(views, None).unwrap()).unwrap());
}

#[test]
fn missing_and_surplus_tensors_are_named_with_their_nearest() {
    let mut weights = stated();
    weights[0].0 = "conv.weight";
    let error = error_of(&safetensors_of(&weights));
    for words in [
        "lacks 1 tensors of \"tiny\": \"conv1.weight\" (nearest in the file: \"conv.weight\")",
        "holds 1 that \"tiny\" lacks: \"conv.weight\" (nearest in the network: \"conv1.weight\")",
    ] {
        assert!(error.contains(words), "{error}");
    }
    weights.truncate(1);
    let error = error_of(&safetensors_of(&weights));
    assert!(error.contains("lacks 7 tensors") && error.contains(", …"), "{error}");
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let mut weights = stated();
    weights[5].1 = vec![8, 3];
    let error = error_of(&safetensors_of(&weights));
    assert!(error.contains("\"fc.weight\" has shape [8, 3], \"tiny\" has [3, 8]"), "{error}");
}

#[test]
fn integers_are_no_weights() {
    let bytes = [0; 8];
    let mut views = Vec::new();
    let weights = stated();
    let data: Vec<Vec<u8>> =
        weights.iter().map(|(_, _, v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    for ((name, shape, _), data) in weights.iter().zip(&data).skip(1) {
        views.push((*name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    }
    views.push(("conv1.weight", TensorView::new(Dtype::I32, vec![2, 1, 1, 1], &bytes).unwrap()));
    let error = error_of(&safetensors::serialize(views, None).unwrap());
    assert!(error.contains("\"conv1.weight\" holds integers of 4 bytes"), "{error}");
}

#[test]
fn what_is_no_state_dict_is_an_error_that_says_so() {
    let error = error_of(EMPTY);
    assert!(error.contains("holds no tensors"), "{error}");
    assert!(error_of(WHOLE).contains("a whole module"), "{}", error_of(WHOLE));
    assert!(error_of(b"PK\x03\x04 and nothing else").contains("cut short"));
    assert!(error_of(b"GIF89a").contains("no weights that can be read"));
    assert!(error_of(b"").contains("no weights that can be read"));
    assert!(error_of(&safetensors_of(&[])).contains("holds no weights"));
}

#[test]
fn a_graph_of_the_device_is_no_place_for_weights() {
    let graph = declared().into_nhwc().unwrap();
    let error = load_weights(Path::new("weights.pth"), &graph).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn a_missing_file_is_named() {
    let error = load_weights(Path::new("/nonexistent/weights.pth"), &declared()).unwrap_err();
    assert_eq!((error.kind(), error.at()), (ErrorKind::Io, "/nonexistent/weights.pth"));
}

#[test]
fn every_cut_of_every_container_is_an_error() {
    let safetensors = safetensors_of(&stated());
    for file in [NESTED, PROTOCOL_4, LEGACY, &safetensors] {
        for length in 0..file.len() {
            let read = read(&file[..length]).and_then(own_names);
            assert!(read.and_then(|w| fill(&w, &declared())).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn a_calling_pickle_calls_nothing() {
    // What `os.system("echo")` pickles to, behind the legacy magic, version and system pickles.
    let start = LEGACY.windows(2).position(|w| w == b".\x80").unwrap() + 1;
    let mut file = LEGACY[..start].to_vec();
    file.extend(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02cposix\nsystem\nX\x04\x00\x00\x00echo\x85R.\x80\x02].");
    assert!(error_of(&file).contains("whole module or another object"), "{}", error_of(&file));
}

#[test]
fn a_text_longer_than_the_file_is_not_allocated() {
    let error = error_of(b"\x80\x02X\xff\xff\xff\xff");
    assert!(error.contains("4294967295 more bytes, 0 are left: it is cut short"), "{error}");
}

#[test]
fn a_tensor_that_repeats_its_storage_beyond_its_size_is_refused() {
    // 2⁴⁰ elements through a stride of 0, from a storage of 4 bytes.
    let error = Entry::new(Kind::F32, vec![1 << 40], vec![0], &[0; 4]).err().unwrap();
    assert!(error.contains("beyond its 1 elements"), "{error}");
    assert!(Entry::new(Kind::F32, vec![usize::MAX, 2], vec![1, 1], &[0; 4]).is_err());
    assert!(Entry::new(Kind::F32, vec![2], vec![usize::MAX], &[0; 8]).is_err());
}

#[test]
fn offsets_that_overflow_when_added_are_refused() {
    let end = u64::MAX - 7;
    let json = format!(r#"{{"a":{{"dtype":"U8","shape":[{end}],"data_offsets":[0,{end}]}}}}"#);
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json.as_bytes());
    assert!(error_of(&file).contains("ends behind the file"));
}

#[test]
fn names_differ_by_the_hand_counted_edits() {
    // Levenshtein's own example has 3: k→s, e→i, +g.
    assert_eq!(distance("kitten", "sitting"), 3);
    assert_eq!((distance("", "abc"), distance("abc", ""), distance("abc", "abc")), (3, 3, 0));
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(
        file in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let safetensors = safetensors_of(&stated());
        let mut bytes = [NESTED, PROTOCOL_4, LEGACY, &safetensors][file].to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read(&bytes).and_then(own_names).and_then(|w| fill(&w, &declared()));
    }

    #[test]
    fn random_pickles_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut cursor = cursor::Cursor::new(&bytes);
        let _ = pickle::Pickle::read(&mut cursor);
        let _ = read(&bytes);
    }

    #[test]
    fn random_instructions_never_panic(
        codes in prop::collection::vec(prop::sample::select(&b"(()}]dtusaeRQbN0hqKJX.\x85\x86\x87\x88\x93\x94"[..]), 0..200),
    ) {
        let mut cursor = cursor::Cursor::new(&codes);
        let _ = pickle::Pickle::read(&mut cursor);
    }
}

#[test]
fn a_published_checkpoint_reads_as_its_conversion() {
    let Some(models) = models("a_published_checkpoint_reads_as_its_conversion") else { return };
    let legacy = std::fs::read(models.join("cifar10-resnet20-12fca82f.th")).unwrap();
    let legacy = own_names(read(&legacy).unwrap()).unwrap();
    let file = std::fs::read(models.join("cifar10-resnet20.safetensors")).unwrap();
    let file = own_names(read(&file).unwrap()).unwrap();
    assert!(legacy.keys().eq(file.keys()));
    // ResNet-20: 19 convolutions, each with a batch norm of 4 tensors, and a linear layer.
    assert_eq!(legacy.len(), 19 * 5 + 2);
    for (name, entry) in &legacy {
        assert_eq!(entry.shape(), file[name].shape(), "{name}");
        assert_eq!(entry.f32s().unwrap(), file[name].f32s().unwrap(), "{name}");
    }
}

fn models(test: &str) -> Option<PathBuf> {
    crate::teacher::tests::data(test).map(|data| data.join("models"))
}
