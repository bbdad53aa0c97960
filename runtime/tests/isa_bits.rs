//! A whole int8 network: the same bits on every instruction set, and golden samples that say so.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::golden::Golden;
use hipflask_runtime::graph::{LoadLimits, Node, Op, Value, ValueId};
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{ErrorKind, Model, Options, Session, View};

fn session(model: &Model, isa: Isa) -> Session {
    Session::new(model, &Options { isa: Some(isa), ..Options::default() }).unwrap()
}

fn golden(model: &Model, isa: Isa) -> Golden {
    let inputs: Vec<_> = (0..20).map(common::sample).collect();
    let labels = (0..20).map(|i| i % 5).collect();
    Golden::record(model, &mut session(model, isa), inputs, Vec::new(), labels).unwrap()
}

#[test]
fn golden_samples_of_one_instruction_set_hold_on_all() {
    let model = Model::from_graph(common::int8_network()).unwrap();
    let recorded = golden(&model, Isa::Scalar);
    let read = Golden::from_bytes(&recorded.to_bytes()).unwrap();
    assert_eq!(read, recorded);
    for isa in Isa::available() {
        let verdict = read.verify(&model, &mut session(&model, isa)).unwrap();
        assert!(verdict.passed() && verdict.exact, "{isa}: {verdict:?}");
        assert_eq!(verdict.equal, 20);
    }
}

#[test]
fn a_transformer_between_int8_layers_has_the_same_bits_on_all() {
    let model = Model::from_graph(common::int8_transformer()).unwrap();
    let recorded = golden(&model, Isa::Scalar);
    for isa in Isa::available() {
        let verdict = recorded.verify(&model, &mut session(&model, isa)).unwrap();
        assert!(verdict.passed() && verdict.exact, "{isa}: {verdict:?}");
        assert_eq!((verdict.equal, verdict.first_divergence), (20, None), "{isa}");
    }
}

#[test]
fn weights_in_groups_give_the_same_bits_on_all() {
    let model = Model::from_graph(common::weight_only::network()).unwrap();
    let recorded = golden(&model, Isa::Scalar);
    for isa in Isa::available() {
        let verdict = recorded.verify(&model, &mut session(&model, isa)).unwrap();
        assert!(verdict.passed() && verdict.exact && verdict.equal == 20, "{isa}: {verdict:?}");
    }
}

#[test]
fn any_number_of_threads_gives_the_bits_of_one() {
    let model = Model::from_graph(common::wide_int8_network()).unwrap();
    let answer = |isa, threads| {
        let mut session =
            Session::new(&model, &Options { isa: Some(isa), threads, ..Options::default() })
                .unwrap();
        assert_eq!(session.threads(), threads);
        (0..20).for_each(|_| session.run(&[View::F32(&common::wide_sample())]).unwrap());
        session.output(0).bytes().to_vec()
    };
    let one = answer(Isa::Scalar, 1);
    for isa in Isa::available() {
        let counts: &[usize] = if cfg!(target_family = "wasm") { &[1] } else { &[1, 2, 3, 5, 16] };
        for &threads in counts {
            assert!(answer(isa, threads) == one, "{isa}, {threads} threads");
        }
    }
    let zero = Session::new(&model, &Options { threads: 0, ..Options::default() }).err();
    assert_eq!(zero.unwrap().to_string(), "threads: 0 is no number from 1 to 16");
}

/// The outputs' bits as recorded once on x86-64: other platforms must give the same.
#[test]
fn the_digest_of_the_outputs_is_the_recorded_one() {
    let model = Model::from_graph(common::int8_network()).unwrap();
    let mut session = session(&model, Isa::best());
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for i in 0..50 {
        for value in session.predict(&common::sample(i)).unwrap() {
            for byte in value.to_bits().to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    assert_eq!(format!("{hash:016x}"), "1c67472f172d5ae6");
}

#[test]
fn products_slices_and_shuffles_are_the_same_bits_on_every_instruction_set() {
    let model = Model::from_graph(common::int8_channels_network()).unwrap();
    let recorded = golden(&model, Isa::Scalar);
    for isa in Isa::available() {
        let verdict = recorded.verify(&model, &mut session(&model, isa)).unwrap();
        assert!(verdict.passed() && verdict.exact && verdict.equal == 20, "{isa}: {verdict:?}");
    }
}

#[test]
fn a_changed_weight_is_found_and_the_layer_named() {
    let graph = common::int8_network();
    let model = Model::from_graph(graph.clone()).unwrap();
    let recorded = golden(&model, Isa::Scalar);
    let text = String::from_utf8_lossy(&recorded.to_bytes()).into_owned();
    // The digest of the depthwise layer, altered in the file: as if this machine computed otherwise.
    let at = text.find("[\\\"depthwise\\\",\\\"").unwrap() + 18;
    let mut bytes = recorded.to_bytes();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    let altered = Golden::from_bytes(&bytes).unwrap();
    let verdict = altered.verify(&model, &mut session(&model, Isa::Scalar)).unwrap();
    assert_eq!(verdict.first_divergence.as_deref(), Some("depthwise"));
    assert!(!verdict.passed());

    let mut other = graph;
    let table = other.tensors["tanh.table"].clone().reshaped([256]).unwrap();
    let mut entries = table.i8s().unwrap().to_vec();
    entries[0] += 1;
    other.tensors.insert("tanh.table".into(), hipflask_runtime::Tensor::from_i8([256], &entries));
    let other = Model::from_graph(other).unwrap();
    let error = recorded.verify(&other, &mut session(&other, Isa::Scalar)).unwrap_err();
    assert!(error.to_string().contains("another model"), "{error}");
}

#[test]
fn float_networks_agree_within_their_tolerance() {
    let model = Model::from_graph(common::float_network()).unwrap();
    let recorded = golden(&model, Isa::Scalar);
    for isa in Isa::available() {
        let verdict = recorded.verify(&model, &mut session(&model, isa)).unwrap();
        assert!(verdict.passed() && !verdict.exact, "{isa}: {verdict:?}");
    }
}

/// Golden samples outlive changes of what hipflask simplifies when it opens a model.
#[test]
fn samples_recorded_before_a_simplification_hold() {
    let simple = Model::from_graph(common::int8_network()).unwrap();
    let recorded = golden(&simple, Isa::Scalar);
    // The same function with a value more: padding of no width.
    let mut graph = common::int8_network();
    let at = graph.nodes.iter().position(|n| n.name == "maxpool").unwrap();
    let x = graph.nodes[at].inputs[0];
    graph.values.push(Value { name: "more".into(), ..graph.value(x).clone() });
    let output = ValueId(graph.values.len() - 1);
    let (inputs, op) = (vec![x], Op::Pad { padding: [0; 4] });
    graph.nodes[at].inputs = vec![output];
    graph.nodes.insert(at, Node { name: "more".into(), op, inputs, output, activation: None });
    let longer = Model::from_graph(graph).unwrap();
    assert_eq!(longer.graph().nodes.len(), simple.graph().nodes.len() + 1);
    let verdict = recorded.verify(&longer, &mut session(&longer, Isa::Scalar)).unwrap();
    assert!(verdict.passed(), "{verdict:?}");
    let verdict = golden(&longer, Isa::Scalar).verify(&simple, &mut session(&simple, Isa::Scalar));
    assert!(verdict.unwrap().passed());
}

#[test]
fn winograds_transforms_change_little_and_can_be_turned_off() {
    let model = Model::from_graph(common::winograd_network()).unwrap();
    let input = common::sample_of(12 * 12 * 16, 4);
    for isa in Isa::available() {
        let answer = |direct| {
            let options = Options { isa: Some(isa), direct, ..Options::default() };
            Session::new(&model, &options).unwrap().predict(&input).unwrap().to_vec()
        };
        let (direct, fast) = (answer(true), answer(false));
        assert_ne!(direct, fast, "{isa}: the same sums");
        let span = direct.iter().fold(0.0_f32, |most, y| most.max(y.abs()));
        let error = direct.iter().zip(&fast).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Twelve units in the last place of the sums of magnitudes, see the kernel's tests.
        assert!(error <= 1e-5 * span, "{isa}: {error} of {span}");
    }
}

#[test]
fn a_wrong_byte_anywhere_in_the_models_file_is_found() {
    let graph = common::int8_network();
    let model = Model::from_graph(graph.clone()).unwrap();
    let card = Card { labels: vec!["shoe".into()], ..Card::default() };
    let bytes = ModelFile { graph, preprocess: None, card }.to_bytes();
    let recorded = golden(&model, Isa::Scalar).of_file(&bytes);
    let read = Golden::from_bytes(&recorded.to_bytes()).unwrap();
    assert_eq!(read, recorded);
    read.check_file(&bytes).unwrap();
    let mut read_in_spite = 0;
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        let error = read.check_file(&damaged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "byte {place}: {error}");
        read_in_spite +=
            usize::from(ModelFile::from_bytes(&damaged, &LoadLimits::default()).is_ok());
    }
    // Weights may have any bits, and most of this file are these; that is what the checksum is for.
    assert!((1..bytes.len()).contains(&read_in_spite), "{read_in_spite} of {}", bytes.len());
    // A byte more or less is found too.
    assert!(read.check_file(&bytes[1..]).is_err() && read.check_file(&[]).is_err());
    // Samples that know no file agree with any, as those of earlier builds.
    golden(&model, Isa::Scalar).check_file(&[]).unwrap();
}

#[test]
fn newer_golden_samples_say_so() {
    let model = Model::from_graph(common::int8_network()).unwrap();
    let mut bytes = golden(&model, Isa::Scalar).of_file(&[]).to_bytes();
    let from = b"{\\\"version\\\":2";
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    bytes[at + from.len() - 1] = b'3';
    let error = Golden::from_bytes(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Version, "{error}");
    assert!(error.to_string().contains("golden samples of format version 3"), "{error}");
    assert!(error.to_string().contains("reads versions up to 2"), "{error}");
}
