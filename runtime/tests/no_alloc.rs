//! Inference does not allocate: counted by the allocator itself, on all threads. A program of its own:
//! the thread of the test harness allocates too, at times in the middle of a count.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, unsafe_code, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use hipflask_runtime::input::audio::{AudioFrontEnd, Extractor};
use hipflask_runtime::input::{Frames, Preprocess, TextPreprocess, ValuesPreprocess};
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Options, Session, View};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

fn allocations() -> usize {
    ALLOCATIONS.load(Ordering::SeqCst)
}

// SAFETY: every call is handed to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, that is from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    running_allocates_nothing_on_any_instruction_set_and_number_of_threads();
    println!("test result: ok. 1 passed; 0 failed");
}

fn running_allocates_nothing_on_any_instruction_set_and_number_of_threads() {
    let networks = [
        ("int8", common::int8_network(), common::sample(1)),
        ("channels", common::int8_channels_network(), common::sample(1)),
        ("float", common::float_network(), common::sample(1)),
        ("transformer", common::int8_transformer(), common::sample(1)),
        ("weight-only", common::weight_only::network(), common::sample(1)),
        ("winograd", common::winograd_network(), common::sample_of(12 * 12 * 16, 1)),
        ("wide", common::wide_int8_network(), common::wide_sample()),
    ];
    for (name, graph, input) in networks {
        let model = Model::from_graph(graph).unwrap();
        let most = if cfg!(target_family = "wasm") { 1 } else { 2 };
        for (isa, threads) in Isa::available().flat_map(|isa| (1..=most).map(move |n| (isa, n))) {
            let options = Options { isa: Some(isa), threads, ..Options::default() };
            let mut session = Session::new(&model, &options).unwrap();
            assert!(name != "wide" || session.threads() == threads, "{isa}: not divided");
            let before = allocations();
            for _ in 0..3 {
                session.run(&[View::F32(&input)]).unwrap();
            }
            assert_eq!(allocations() - before, 0, "{name} on {isa}, {threads} threads");
        }
    }
    let front_end = AudioFrontEnd { mfcc: Some(13), ..AudioFrontEnd::default() };
    let mut extractor = Extractor::new(&front_end).unwrap();
    let mut features = vec![0.0; front_end.shape().iter().product()];
    let before = allocations();
    extractor.run(&[1000; 5000], &mut features);
    assert_eq!(allocations() - before, 0, "the audio front end");
    let shape = [1, front_end.shape()[0], front_end.shape()[1], 1];
    let bytes: Vec<u8> = (0..70_000).map(|i| if i % 100 == 99 { b'\n' } else { 65 }).collect();
    for (rule, shape, hop) in [
        (Preprocess::default(), [1, 28, 28, 1], None),
        (Preprocess::Values(ValuesPreprocess::default()), [1, 8, 8, 3], None),
        (Preprocess::Audio(front_end), shape, Some(1000)),
        (Preprocess::Text(TextPreprocess::bytes(64)), [1, 64, 1, 1], None),
    ] {
        let mut frames = Frames::new(&rule, &shape, hop).unwrap();
        let mut pipe = &bytes[..];
        frames.next(&mut pipe).unwrap().unwrap();
        let before = allocations();
        for _ in 0..5 {
            frames.next(&mut pipe).unwrap().unwrap();
        }
        assert_eq!(allocations() - before, 0, "a stream of {}", rule.reads());
    }
    let before = allocations();
    drop(std::hint::black_box(vec![1_u8; 10]));
    assert_eq!(allocations() - before, 1, "the counter counts");
}
