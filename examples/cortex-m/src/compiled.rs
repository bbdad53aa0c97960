//! Golden samples of an int8 student that was written as a program: no file is read, nothing is
//! allocated, only the kernels that it calls are in flash.
//!
//! `cargo run --release` builds it for a processor without floating point and runs it in qemu.
#![no_std]
#![no_main]

mod clock;
mod host;
mod start;
mod student;

use core::alloc::{GlobalAlloc, Layout};
use core::hint::black_box;
use core::ptr::null_mut;

use hipflask_runtime::compiled::Arena;

#[unsafe(link_section = ".memory")]
static mut ARENA: Arena<{ student::ARENA }> = Arena::new();

/// Whether the samples' bits are those of the desk.
fn main() -> bool {
    // SAFETY: the one reference to it, for as long as the program runs.
    let arena = unsafe { &mut *(&raw mut ARENA) };
    let verdict = student::verify(arena);
    let (samples, equal) = (verdict.samples, verdict.equal);
    host::print(format_args!("values        {:>8} bytes of the arena", student::ARENA));
    host::print(format_args!("golden        {equal:>8} of {samples} samples with equal bits"));
    if let Some(value) = verdict.first_divergence {
        host::print(format_args!("first value that differs: {value}"));
    }
    let mut output = [0.0; student::OUTPUT];
    let instructions = clock::instructions(|| {
        student::run(arena, black_box(&[0; student::INPUT]), &mut output);
    });
    black_box(output);
    host::print(format_args!("instructions  {instructions:>8} of an inference"));
    host::print(format_args!("{}", if verdict.passed() { "passed" } else { "FAILED" }));
    verdict.passed()
}

/// Asked for by the runtime, which can allocate; this program does not.
struct NoHeap;

#[global_allocator]
static HEAP: NoHeap = NoHeap;

// SAFETY: it gives no memory, and so none comes back.
unsafe impl GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
