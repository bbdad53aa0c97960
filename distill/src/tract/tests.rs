//! The runtime beside tract: on exported networks, and on files that others made.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hipflask_quantize::onnx::{from_bytes, open, to_bytes};
use hipflask_quantize::{Calibrator, Method, prepare, to_int8};
use hipflask_runtime::graph::{Graph, Layout};

use super::{Difference, Tract, compare};
use crate::network::trained_a_little;
use crate::random::Stream;

/// Largest difference of floats, as a share of the span: a few hundred roundings of f32.
const TOLERANCE: f64 = 1e-4;

fn exported(graph: &Graph) -> Vec<u8> {
    to_bytes(graph, &BTreeMap::new()).unwrap()
}

fn compared(graph: &Graph, bytes: &[u8], samples: usize) -> Difference {
    compare(graph, &Tract::from_bytes(bytes, &graph.name).unwrap(), samples, 1).unwrap()
}

#[test]
fn every_network_is_exported_to_what_tract_computes_too() {
    for (what, graph) in trained_a_little() {
        let bytes = exported(&graph);
        let found = compared(&graph, &bytes, 3);
        assert!(found.of_span <= TOLERANCE, "{what}: {found:?}");
        assert_eq!(from_bytes(&bytes, "net").unwrap(), graph, "{what}");
    }
}

#[test]
fn every_int8_network_is_exported_to_what_tract_computes_too() {
    for (what, graph) in trained_a_little() {
        let prepared = prepare(&graph).unwrap();
        let mut calibrator = Calibrator::new(&prepared, Method::MinMax).unwrap();
        let mut random = Stream::new(1, "calibration", &[]);
        for _ in 0..4 {
            let count = prepared.value(prepared.inputs[0]).shape.elements();
            let sample: Vec<f32> = (0..count).map(|_| 2.0 * random.unit() - 1.0).collect();
            calibrator.observe(&sample).unwrap();
        }
        let int8 = to_int8(&prepared, &calibrator.finish().unwrap()).unwrap();
        let bytes = exported(&int8);
        assert_eq!(from_bytes(&bytes, "net").unwrap(), int8, "{what}");
        let found = compared(&int8, &bytes, 3);
        // tract adds floats where the runtime adds integers: what falls on the other side of a tie
        // is one step off, and the layers behind carry it on.
        assert!(found.steps.unwrap() <= 2.0, "{what}: {found:?}");
    }
}

/// Files named `*.onnx` in the folder that the environment variable `name` and `below` say.
fn files(test: &str, name: &str, below: &str) -> Vec<PathBuf> {
    let folder = std::env::var_os(name).map(|folder| Path::new(&folder).join(below));
    let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    paths.sort();
    if paths.is_empty() {
        skipped(test, name);
    }
    paths
}

#[expect(clippy::print_stderr, reason = "a skip is not a pass")]
fn skipped(test: &str, name: &str) {
    eprintln!("skipped: {test}: no .onnx files in the folder that {name} names");
}

/// Imports the file at `path`; a float network must compute what it computes in tract.
///
/// Quantized ones are compared with ONNX Runtime, in `tests/onnxruntime`: tract's answers to a softmax
/// that is quantized to uint8 are all the same.
fn agrees(path: &Path) {
    let graph = open(path).unwrap_or_else(|e| panic!("{e}"));
    if graph.layout == Layout::Nchw {
        let found = compare(&graph, &Tract::open(path).unwrap(), 4, 1).unwrap();
        assert!(found.of_span <= TOLERANCE, "{}: {found:?}", path.display());
    }
}

#[test]
fn real_teachers_are_imported_as_tract_runs_them() {
    for path in files("real_teachers", "HIPFLASK_DATA", "models") {
        agrees(&path);
    }
}

/// `HIPFLASK_ONNX` names a folder of files, as `benches/peers` and `tests/onnxruntime` make them.
#[test]
fn files_of_other_tools_are_imported_as_tract_runs_them() {
    for path in files("files_of_other_tools", "HIPFLASK_ONNX", "") {
        agrees(&path);
    }
}

#[test]
fn a_file_that_tract_cannot_run_is_named() {
    let error = Tract::from_bytes(b"no protocol buffer", "net.onnx").map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("net.onnx: tract cannot run it: "), "{error}");
    let (_, graph) = trained_a_little().remove(0);
    let tract = Tract::from_bytes(&exported(&graph), "net.onnx").unwrap();
    let error = tract.run(&[vec![0.0], vec![0.0]]).unwrap_err().to_string();
    assert!(error.contains("has 1 inputs, not 2"), "{error}");
    assert!(tract.run(&[vec![0.0; 3]]).is_err());
}

#[test]
fn another_network_is_far_from_what_tract_computes() {
    let all = trained_a_little();
    let (_, graph) = all.iter().find(|(what, _)| what.starts_with("lenet")).unwrap();
    let mut other = graph.clone();
    let name = other.tensors.keys().find(|name| name.ends_with("bias")).unwrap().clone();
    let size = other.tensors[&name].shape().clone();
    let ones = vec![1.0; size.elements()];
    other.tensors.insert(name, hipflask_runtime::Tensor::from_f32(size, &ones));
    assert!(compared(&other, &exported(graph), 2).of_span > 1e-3);
    assert_eq!(graph.layout, Layout::Nchw);
}
