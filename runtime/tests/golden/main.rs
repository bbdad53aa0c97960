//! Golden files: whole int8 networks whose every value has the recorded bits on every platform.
//!
//! `cargo test -p hipflask-runtime --test golden -- --ignored` writes the files anew, for a change
//! of the arithmetic that is meant; `docs/int8.md` states it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod networks;
#[path = "../common/weight_only.rs"]
mod weight_only;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::golden::Golden;
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Options, Session, View, file};

const SAMPLES: u64 = 8;

/// A file of this folder.
fn path(name: &str, kind: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(format!("{name}.{kind}safetensors"))
}

fn session(model: &Model, isa: Isa) -> Session {
    Session::new(model, &Options { isa: Some(isa), ..Options::default() }).unwrap()
}

#[test]
fn every_value_has_the_recorded_bits_on_every_instruction_set() {
    for (name, _) in networks::all() {
        let model = Model::open(path(name, "")).unwrap();
        let golden = Golden::from_bytes(&std::fs::read(path(name, "golden.")).unwrap()).unwrap();
        for isa in Isa::available() {
            let verdict = golden.verify(&model, &mut session(&model, isa)).unwrap();
            assert!(verdict.exact && verdict.samples as u64 == SAMPLES, "{name}: {verdict:?}");
            let differs = verdict.first_divergence.as_deref();
            assert_eq!(differs, None, "{name} on {isa}: the first value that differs");
            assert!(verdict.passed(), "{name} on {isa}: {verdict:?}");
        }
    }
}

#[test]
fn the_files_hold_the_networks_of_this_folder() {
    for (name, graph) in networks::all() {
        let opened = Model::open(path(name, "")).unwrap();
        assert_eq!(opened.graph(), Model::from_graph(graph).unwrap().graph(), "{name}");
    }
}

/// Values that are all alike would prove nothing.
#[test]
fn values_use_the_range_of_int8() {
    for (name, graph) in networks::all() {
        let inputs = networks::samples(&graph, SAMPLES);
        let model = Model::from_graph(graph).unwrap();
        let mut session = session(&model, Isa::Scalar);
        let mut seen = BTreeMap::<usize, BTreeSet<i8>>::new();
        for input in &inputs {
            let mut observe = |id: hipflask_runtime::graph::ValueId, view: View<'_>| {
                if let View::I8(values) = view {
                    seen.entry(id.0).or_default().extend(values);
                }
            };
            session.run_observed(&[View::F32(input)], &mut observe).unwrap();
        }
        for (id, values) in seen {
            // Small values have few elements, of which ReLU makes half equal.
            let value = &model.graph().values[id];
            let few = SAMPLES as usize * value.shape.elements() / 4;
            assert!(values.len() >= few.min(60), "{name}, {}: {}", value.name, values.len());
        }
    }
}

#[test]
#[ignore = "writes the golden files anew"]
fn write_the_golden_files() {
    for (name, graph) in networks::all() {
        let inputs = networks::samples(&graph, SAMPLES);
        let model_file =
            ModelFile { graph: graph.clone(), preprocess: None, card: Card::default() };
        file::write_atomically(&path(name, ""), &model_file.to_bytes()).unwrap();
        let model = Model::from_graph(graph).unwrap();
        let mut session = session(&model, Isa::Scalar);
        let golden = Golden::record(&model, &mut session, inputs, vec![], vec![]).unwrap();
        file::write_atomically(&path(name, "golden."), &golden.to_bytes()).unwrap();
    }
}
