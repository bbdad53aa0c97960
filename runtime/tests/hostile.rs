//! Damaged and hostile model files: an error that says where, never a panic.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use half::f16;
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::{Graph, LoadLimits, Op};
use hipflask_runtime::groups::Groups;
use hipflask_runtime::input::{ImagePreprocess, Preprocess};
use hipflask_runtime::quant::QuantParams;
use hipflask_runtime::{DType, ErrorKind, Model, Options, Tensor};
use proptest::prelude::*;

fn file() -> ModelFile {
    of(common::int8_network())
}

fn of(graph: Graph) -> ModelFile {
    ModelFile { graph, preprocess: None, card: Card::default() }
}

fn read(bytes: &[u8]) -> hipflask_runtime::Result<ModelFile> {
    ModelFile::from_bytes(bytes, &LoadLimits::default())
}

/// The file with `from` in its header replaced by `to` of the same length.
fn edited(from: &str, to: &str) -> Vec<u8> {
    edited_in(&file(), from, to)
}

fn edited_in(file: &ModelFile, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "the header keeps its length");
    let mut bytes = file.to_bytes();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

fn container(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn the_file_is_valid_for_the_safetensors_crate_too() {
    let bytes = file().to_bytes();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ours = read(&bytes).unwrap();
    for (name, tensor) in &ours.graph.tensors {
        let view = theirs.tensor(name).unwrap();
        assert_eq!(view.data(), tensor.bytes(), "{name}");
        assert_eq!(view.shape(), &tensor.shape()[..], "{name}");
    }
}

#[test]
fn every_prefix_of_a_file_is_refused() {
    let bytes = file().to_bytes();
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
    }
}

#[test]
fn lies_in_the_header_are_named() {
    let cases = [
        (edited("\"dtype\":\"I8\"", "\"dtype\":\"U8\""), "dtype U8"),
        (edited("\"shape\":[5,48]", "\"shape\":[5,49]"), "fc.weight"),
        (edited("\\\"version\\\":1", "\\\"version\\\":9"), "version 9: this build (hipflask "),
        (
            edited("\\\"version\\\":1", "\\\"version\\\":0"),
            "reads versions up to 1: update hipflask",
        ),
        (edited("\\\"groups\\\":4", "\\\"groups\\\":3"), "depthwise"),
        (
            edited(
                "\\\"name\\\":\\\"maxpool\\\",\\\"shape\\\":[1,3,2,4],\\\"dtype\\\":\\\"I8\\\",\\\"quant\\\":{\\\"scale\\\":0.05,\\\"zero_point\\\":-20",
                "\\\"name\\\":\\\"maxpool\\\",\\\"shape\\\":[1,3,2,4],\\\"dtype\\\":\\\"I8\\\",\\\"quant\\\":{\\\"scale\\\":0.05,\\\"zero_point\\\":-21",
            ),
            "zero point",
        ),
        (edited("\\\"scale\\\":0.04", "\\\"scale\\\":0.09"), "the file was edited"),
        (edited("\\\"kind\\\":\\\"add\\\"", "\\\"kind\\\":\\\"adx\\\""), "adx"),
    ];
    for (bytes, expected) in cases {
        let error = read(&bytes).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_newer_file_says_so_whatever_else_is_new_in_it() {
    let mut bytes = edited("\\\"version\\\":1", "\\\"version\\\":2");
    // A type of tensor that this build does not know.
    let at = bytes.windows(12).position(|w| w == b"\"dtype\":\"I8\"").unwrap();
    bytes[at..at + 12].copy_from_slice(b"\"dtype\":\"I2\"");
    let error = read(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Version, "{error}");
    let version =
        format!("this build (hipflask {}) reads versions up to 1", env!("CARGO_PKG_VERSION"));
    for part in ["a model file of format version 2", &version, "update hipflask here"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_preprocessing_without_a_kind_is_that_of_images() {
    let image = ImagePreprocess { range: [0.0, 1.0], mean: [0.25].into(), std: [0.5].into() };
    let file = ModelFile { preprocess: Some(Preprocess::Image(image)), ..file() };
    let kind = "\\\"kind\\\":\\\"image\\\",";
    let old = edited_in(&file, kind, &" ".repeat(kind.len()));
    assert_eq!(read(&old).unwrap(), file);
    // A kind may stand anywhere among the keys, but once, and its own keys are all it may have.
    let cases = [
        ("\\\"range\\\"", "\\\"rangs\\\"", "preprocess has no \"kind\" and is not that of images"),
        ("\\\"range\\\":[0.0,1.0]", "\\\"kind\\\" :\\\"image\\\"", "missing field `range`"),
    ];
    for (from, to, expected) in cases {
        let at = old.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
        let mut bytes = old.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        let error = read(&bytes).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    let twice = edited_in(&file, "\\\"range\\\":[0.0,1.0]", "\\\"kind\\\" :\\\"image\\\"");
    assert!(read(&twice).unwrap_err().to_string().contains("duplicate field"));
}

#[test]
fn lies_about_channels_are_named() {
    let file = of(common::int8_channels_network());
    let cases = [
        ("\\\"start\\\":5,\\\"end\\\":10", "\\\"start\\\":5,\\\"end\\\":11", "cannot take 5 to 11"),
        (
            "\\\"start\\\":5,\\\"end\\\":10",
            "\\\"start\\\":6,\\\"end\\\":10",
            "gives shape [1, 6, 5, 4]",
        ),
        ("\\\"start\\\":5,\\\"end\\\":10", "\\\"start\\\":5,\\\"end\\\":05", "invalid number"),
        ("\\\"start\\\":5,\\\"end\\\":10", "\\\"start\\\":9,\\\"end\\\":1 ", "cannot take 9 to 1"),
        ("\\\"axis\\\":3,\\\"start", "\\\"axis\\\":9,\\\"start", "dimension 9"),
        ("\\\"axis\\\":3,\\\"start", "\\\"axis\\\":0,\\\"start", "dimension 0"),
        ("\\\"groups\\\":2", "\\\"groups\\\":3", "10 channels are not 3 groups"),
        ("\\\"groups\\\":2", "\\\"groups\\\":0", "10 channels are not 0 groups"),
        ("\\\"before\\\":1", "\\\"before\\\":7", "gives shape [1, 6, 5, 20]"),
        ("\\\"kind\\\":\\\"mul\\\"", "\\\"kind\\\":\\\"add\\\"", "which differ"),
    ];
    for (from, to, expected) in cases {
        let error = read(&edited_in(&file, from, to)).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn attacks_on_the_container_are_refused() {
    let cases = [
        (
            container(
                "{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]},\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
                2,
            ),
            "twice",
        ),
        (
            container(
                "{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
                3,
            ),
            "gap or overlap",
        ),
        (
            container("{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3),
            "gap or overlap",
        ),
        (
            container("{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 3),
            "follow the last tensor",
        ),
        (
            container(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
                0,
            ),
            "too large",
        ),
        (
            container("{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[2,0]}}", 2),
            "not within",
        ),
        (
            container(
                "{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,18446744073709551615]}}",
                2,
            ),
            "not within",
        ),
        (container("[]", 0), "not valid"),
        (u64::MAX.to_le_bytes().to_vec(), "no safetensors file"),
        (1_000_000_u64.to_le_bytes().to_vec(), "cut short"),
        (container("{}", 0), "no hipflask graph"),
    ];
    for (bytes, expected) in cases {
        let error = read(&bytes).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn deep_nesting_is_an_error() {
    let header = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read(&container(&header, 0)).unwrap_err().kind(), ErrorKind::Format);
}

#[test]
fn limits_are_enforced() {
    let limits = LoadLimits { elements: 10, ..LoadLimits::default() };
    let error = ModelFile::from_bytes(&file().to_bytes(), &limits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let limits = LoadLimits { tokens: 29, ..LoadLimits::default() };
    let bytes = of(common::int8_transformer()).to_bytes();
    let error = ModelFile::from_bytes(&bytes, &limits).unwrap_err();
    let message = "node \"attention\": 30 tokens are beyond the limit of 29";
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Limit, message));
}

#[test]
fn transformers_that_do_not_fit_are_refused() {
    let refused = |change: &dyn Fn(&mut Graph), expected: &str| {
        let mut graph = common::int8_transformer();
        change(&mut graph);
        let error = read(&of(graph).to_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    };
    let op = |graph: &mut Graph, name: &str, op: Op| {
        graph.nodes.iter_mut().find(|node| node.name == name).unwrap().op = op;
    };
    for heads in [0, 4] {
        let what = format!("a width of 18 is not q, k and v of {heads} heads");
        refused(&|graph| op(graph, "attention", Op::Attention { heads }), &what);
    }
    let negative = Op::LayerNorm { eps: -1.0 };
    refused(&|graph| op(graph, "norm", negative.clone()), "eps -1 must be finite");
    refused(&|graph| op(graph, "norm", Op::AddPosition), "does not fit a weight of shape [6]");
    refused(&|graph| op(graph, "norm", Op::Embedding), "does not fit a weight of shape [6]");
    refused(&|graph| op(graph, "tokens", Op::MeanTokens), "needs tokens of shape");
    refused(&|graph| op(graph, "real", Op::Tokens), "needs an image of 4 dimensions");
    refused(&|graph| drop(graph.tensors.remove("norm.bias")), "\"norm.bias\" is missing");
    // Attention cannot read int8, and ids are one number a token.
    refused(
        &|graph| {
            let int8 = graph.nodes.iter().find(|node| node.name == "qkv").unwrap().output;
            let node = graph.nodes.iter_mut().find(|node| node.name == "attention").unwrap();
            node.inputs[0] = int8;
        },
        "attention cannot turn [I8, F32] into F32",
    );
    refused(
        &|graph| {
            let node = graph.nodes.iter_mut().find(|node| node.name == "attention").unwrap();
            node.inputs[1] = node.inputs[0];
        },
        "needs ids of shape [1, 30], not [1, 30, 18]",
    );
}

#[test]
fn lies_about_groups_are_named() {
    let refused = |change: &dyn Fn(&mut Graph), expected: &str| {
        let mut graph = common::weight_only::network();
        change(&mut graph);
        let error = read(&of(graph).to_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    };
    let op = |graph: &mut Graph, name: &str, op: Op| {
        graph.nodes.iter_mut().find(|node| node.name == name).unwrap().op = op;
    };
    for (bits, size) in [(3, 32), (16, 64), (4, 0), (8, 48), (4, usize::MAX)] {
        let groups = Groups { bits, size };
        let what = format!("{bits} bits in groups of {size}: weights have 4 or 8");
        refused(&|graph| op(graph, "wide", Op::LinearGroups { groups }), &what);
        refused(&|graph| op(graph, "embedding w4", Op::EmbeddingGroups { groups }), &what);
    }
    let to = |bits, size| Op::LinearGroups { groups: Groups { bits, size } };
    refused(&|graph| op(graph, "wide", to(8, 32)), "weight of shape [60, 45] with 8 bits");
    refused(&|graph| op(graph, "qkv", to(4, 32)), "weight of shape [30, 10] with 4 bits");
    refused(&|graph| op(graph, "wide", to(4, 64)), "shape [60, 3] where [60, 2] is needed");
    refused(&|graph| op(graph, "gelu w4", to(4, 64)), "has no weight");
    let rows = Op::EmbeddingGroups { groups: Groups { bits: 4, size: 64 } };
    refused(&|graph| op(graph, "embedding w8", rows.clone()), "gives shape [1, 60, 172]");
    refused(&|graph| op(graph, "mean", rows.clone()), "has no weight");
    let tensor = |graph: &mut Graph, name: &str, tensor: Tensor| {
        assert!(graph.tensors.insert(name.into(), tensor).is_some(), "{name}");
    };
    refused(
        &|graph| tensor(graph, "wide.weight", Tensor::from_i8([60, 45], &[1; 2700])),
        "\"wide.weight\": dtype I8 where U8 is needed",
    );
    refused(
        &|graph| tensor(graph, "wide.scale", Tensor::from_f32([60, 3], &[1.0; 180])),
        "\"wide.scale\": dtype F32 where F16 is needed",
    );
    for broken in [f16::INFINITY, f16::NAN] {
        let mut scales = [f16::ONE; 180];
        scales[77] = broken;
        refused(
            &|graph| tensor(graph, "wide.scale", Tensor::from_f16([60, 3], &scales)),
            "node \"wide\": scale 77 of its groups is",
        );
    }
    refused(&|graph| drop(graph.tensors.remove("wide.scale")), "\"wide.scale\" is missing");
    let q = Some(QuantParams { scale: 0.1, zero_point: 0 });
    refused(
        &|graph| {
            graph.values[1].dtype = DType::I8;
            graph.values[1].quant = q;
        },
        "linear-groups cannot turn [F32] into I8",
    );
}

#[test]
fn a_missing_file_and_a_folder_are_errors_with_the_path() {
    for path in ["/nonexistent/model.safetensors", "/"] {
        let error = Model::open(path).unwrap_err();
        assert_eq!((error.kind(), error.at()), (ErrorKind::Io, path));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any damage gives an error or a model that passed every check and therefore runs.
    #[test]
    fn damaged_files_never_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let others = [
            common::int8_channels_network(),
            common::int8_transformer(),
            common::weight_only::network(),
        ];
        for file in [file()].into_iter().chain(others.map(of)) {
            let mut bytes = file.to_bytes();
            for (index, byte) in &damage {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Ok(model) = read(&bytes).and_then(Model::new) {
                let mut session =
                    hipflask_runtime::Session::new(&model, &Options::default()).unwrap();
                let _ = session.predict(&common::sample(0));
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&bytes).is_err());
    }
}
