//! Inference does not allocate: counted by the allocator itself.
#![allow(clippy::unwrap_used, missing_docs, unsafe_code, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Model, Options, Session, View};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
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

#[test]
fn running_allocates_nothing_on_any_instruction_set() {
    let networks = [
        ("int8", common::int8_network(), common::sample(1)),
        ("float", common::float_network(), common::sample(1)),
        ("winograd", common::winograd_network(), common::sample_of(12 * 12 * 16, 1)),
    ];
    for (name, graph, input) in networks {
        let model = Model::from_graph(graph).unwrap();
        for isa in Isa::available() {
            let mut session =
                Session::new(&model, &Options { isa: Some(isa), ..Options::default() }).unwrap();
            let before = ALLOCATIONS.with(Cell::get);
            for _ in 0..3 {
                session.run(&[View::F32(&input)]).unwrap();
            }
            assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "{name} on {isa}");
        }
    }
    let before = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(vec![1_u8; 10]));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1, "the counter counts");
}
