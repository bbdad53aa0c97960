//! What `inspect` says a network takes is what it takes, for every network of the catalogue in f32 and
//! int8: memory is painted before an inference, and what changed is what was used.

use clap::Parser;
use hipflask::Args;
use hipflask_distill::network::{NAMES, NetworkSpec, untrained_int8};
use hipflask_quantize::{Method, calibrate, prepare, to_int8};
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::Graph;
use hipflask_runtime::{ErrorKind, Model, Options, Session, View};
use serde_json::Value;

use crate::util::Workdir;

/// Where the two buffers of a session begin: each at a multiple of 64 in a room of 64 bytes more
/// (`Session::new_in`).
const ALIGNMENT: usize = 64;
/// Most bytes behind an image that kernels may read and none writes.
const READ_BEHIND: usize = 2048;

#[test]
fn every_network_takes_the_bytes_that_inspect_says() {
    let workdir = Workdir::new();
    let mut unwritten = Vec::new();
    for name in NAMES {
        let (shape, vocabulary) = match name {
            "text-encoder" => (vec![64], Some(257)),
            _ => (vec![3, 32, 32], None),
        };
        let spec = NetworkSpec { network: Some(name.into()), vocabulary, ..NetworkSpec::default() };
        let float = spec.build(&shape, 10, 1).unwrap();
        let samples = samples(shape.iter().product(), vocabulary);
        let prepared = prepare(&float).unwrap();
        let calibration = calibrate(&prepared, Method::MinMax, &samples, &samples[..0].to_vec());
        let int8 = to_int8(&prepared, &calibration.unwrap()).unwrap();
        // Ranges and weights change nothing: what is said before training holds after it.
        assert_eq!(plan(&untrained_int8(&float).unwrap()), plan(&int8), "{name}");
        for (format, graph) in [("f32", float), ("int8", int8)] {
            let what = format!("{name} in {format}");
            let file = ModelFile { graph, preprocess: None, card: Card::default() }.to_bytes();
            workdir.write("model.safetensors", &file);
            let path = workdir.path("model.safetensors");
            let shown = inspect(path.to_str().unwrap());
            assert_eq!(shown["file_bytes"], file.len(), "{what}");
            let model = Model::open(&path).unwrap();
            let said = |key: &str| shown[key].as_u64().unwrap() as usize;
            let [arena, scratch] = ["arena_bytes", "scratch_bytes"].map(said);
            let used = used(&model, said("memory_bytes"), [arena, scratch], &samples[0]);
            if used < arena {
                unwritten.push((arena - used, what.clone()));
            }
            let few = vec![0; said("memory_bytes") - 1].leak();
            let error = Session::new_in(&model, &Options::default(), few).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Input, "{what}");
            let steps = shown["plan"].as_array().unwrap();
            let scratches = steps.iter().map(|step| step["scratch_bytes"].as_u64().unwrap());
            assert_eq!(scratches.max(), Some(scratch as u64), "{what}");
        }
    }
    // What is never written at the end is read: vectors load beyond the last pixel.
    assert!(unwritten.iter().all(|(bytes, _)| *bytes <= READ_BEHIND), "{unwritten:?}");
    assert!(
        unwritten.len() < NAMES.len(),
        "most of both formats end with a byte written: {unwritten:?}"
    );
}

fn samples(len: usize, vocabulary: Option<usize>) -> Vec<Vec<f32>> {
    let value = |i: usize| match vocabulary {
        Some(ids) => (i * 7919 % ids) as f32,
        None => (i * 7919 % 211) as f32 / 105.0 - 1.0,
    };
    (0..2).map(|sample| (0..len).map(|i| value(i + sample * len)).collect()).collect()
}

/// What a session of it takes.
fn plan(graph: &Graph) -> (usize, usize, u64) {
    let model = Model::from_graph(graph.clone()).unwrap();
    let session = Session::new(&model, &Options::default()).unwrap();
    (session.arena_bytes(), session.scratch_bytes(), model.graph().macs())
}

fn inspect(path: &str) -> Value {
    let args = Args::parse_from(["hipflask", "inspect", path, "--json"]);
    let mut out = Vec::new();
    hipflask::run(&args, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// Bytes of the arena up to the last one that an inference changed; all else that it changed must be
/// working memory.
fn used(model: &Model, memory: usize, [arena, scratch]: [usize; 2], sample: &[f32]) -> usize {
    // A byte that happens to become what it was painted with is another one under the other paint.
    let painted = [0xa5, 0x5a].map(|paint| changed(model, memory, paint, sample));
    let is_changed = |i: usize| painted.iter().any(|changed| changed[i]);
    let working = (arena + ALIGNMENT).next_multiple_of(ALIGNMENT);
    for i in (arena..working).chain(working + scratch..memory) {
        assert!(
            !is_changed(i),
            "byte {i} of {memory} was written, arena {arena}, scratch {scratch}"
        );
    }
    (0..arena).rev().find(|&i| is_changed(i)).map_or(0, |last| last + 1)
}

/// Which bytes an inference changed in memory that begins at a multiple of the alignment and was
/// painted with `paint`.
fn changed(model: &Model, memory: usize, paint: u8, sample: &[f32]) -> Vec<bool> {
    let pointer = Box::into_raw(vec![paint; memory + ALIGNMENT].into_boxed_slice());
    let start = pointer.cast::<u8>().align_offset(ALIGNMENT);
    {
        // SAFETY: the box was leaked just now; this is the only reference to it.
        let whole: &'static mut [u8] = unsafe { &mut *pointer };
        let given = &mut whole[start..][..memory];
        let mut session = Session::new_in(model, &Options::default(), given).unwrap();
        session.run(&[View::F32(sample)]).unwrap();
    }
    // SAFETY: the pointer is that of `into_raw`, and the session that borrowed it is dropped.
    let whole = unsafe { Box::from_raw(pointer) };
    whole[start..][..memory].iter().map(|&byte| byte != paint).collect()
}
