//! Calibration takes constant memory, and its result depends on the samples alone.
#![allow(clippy::unwrap_used, missing_docs, unsafe_code, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Numbers, conv, inputs};
use hipflask_quantize::{Calibrator, Inputs, Method, calibrate, prepare};
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout as Order, Op};

struct Peak;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Peak {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        MOST.fetch_max(now, Ordering::SeqCst);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the pointer came from `alloc` above, that is from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Peak = Peak;

fn network() -> Graph {
    let mut n = Numbers(3);
    let mut b = GraphBuilder::new("small", Order::Nchw);
    let x = b.input("input", [1, 2, 8, 8]);
    let w = [("weight", n.tensor(&[6, 2, 3, 3], 0.4)), ("bias", n.tensor(&[6], 0.2))];
    let x = b.node("conv", conv(1, 1, 1), &[x], w).unwrap();
    let x = b.node("relu", Op::Activation { function: Activation::Relu }, &[x], []).unwrap();
    let x = b.node("flatten", Op::Flatten, &[x], []).unwrap();
    let x = b.node("fc", Op::Linear, &[x], [("weight", n.tensor(&[4, 384], 0.1))]).unwrap();
    prepare(&b.finish(&[x]).unwrap()).unwrap()
}

/// Samples that are made when they are asked for.
struct Made(usize);

impl Inputs for Made {
    fn len(&self) -> usize {
        self.0
    }

    fn get(&self, index: usize) -> Cow<'_, [f32]> {
        let mut n = Numbers(index as u64);
        // Some a thousand times as large: histograms grow on the way.
        let scale = if index % 37 == 5 { 1000.0 } else { 1.0 };
        (0..128).map(|_| n.next() * scale).collect()
    }
}

/// The only test that looks at memory, and no other runs beside it: this file is one test.
#[test]
fn memory_does_not_grow_with_samples_and_batches_do_not_matter() {
    let graph = network();
    for (name, method) in Method::ALL {
        let peak = |samples: usize| {
            let before = NOW.load(Ordering::SeqCst);
            MOST.store(before, Ordering::SeqCst);
            calibrate(&graph, method, &Made(samples), &Made(samples / 2)).unwrap();
            MOST.load(Ordering::SeqCst) - before
        };
        let (few, many) = (peak(128), peak(4096));
        // More samples fill more of the 8192 bins, whose places and counts are listed twice at the end.
        // Kept samples would take 3968 · 128 · 4 bytes, eight times as much.
        let listed = 2 * 8192 * 16;
        assert!(many <= few + listed, "{name}: {few} bytes for 128, {many} for 4096");
    }

    let samples = inputs(60, 128);
    for (name, method) in Method::ALL {
        let ranges = |batch: usize| {
            let mut calibrator = Calibrator::new(&graph, method).unwrap();
            for batch in samples.chunks(batch) {
                calibrator.observe(&batch.concat()).unwrap();
            }
            calibrator.finish().unwrap()
        };
        let one = ranges(1);
        assert_eq!(one.samples, 60);
        for batch in [7, 32, 60] {
            assert_eq!(ranges(batch), one, "{name}, batches of {batch}");
        }
    }
}
