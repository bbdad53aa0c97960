//! A heap for what a session allocates while it is made: first fit, and how much it ever held.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the heap.
const SIZE: usize = 176 * 1024;
/// Blocks are multiples of this, which is also the strictest alignment that is asked for.
const UNIT: usize = 64;
const UNITS: usize = SIZE / UNIT;

#[repr(C, align(64))]
struct Memory([u8; SIZE]);

/// One byte a unit says whether it is taken; the processor has one core and no interrupts here.
pub(crate) struct Heap {
    memory: UnsafeCell<Memory>,
    taken: UnsafeCell<[bool; UNITS]>,
    used: AtomicUsize,
    most: AtomicUsize,
}

// SAFETY: there is one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
#[unsafe(link_section = ".memory")]
static HEAP: Heap = Heap {
    memory: UnsafeCell::new(Memory([0; SIZE])),
    taken: UnsafeCell::new([false; UNITS]),
    used: AtomicUsize::new(0),
    most: AtomicUsize::new(0),
};

/// Clears the heap, which the start-up code leaves as it is.
pub(crate) fn init() {
    // SAFETY: nothing is allocated yet.
    unsafe { (*HEAP.taken.get()).fill(false) };
    HEAP.used.store(0, Ordering::Relaxed);
    HEAP.most.store(0, Ordering::Relaxed);
}

/// Bytes that are taken now, and that ever were.
pub(crate) fn usage() -> (usize, usize) {
    (HEAP.used.load(Ordering::Relaxed), HEAP.most.load(Ordering::Relaxed))
}

// SAFETY: blocks are whole units that were free and are marked taken until they are given back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > UNIT {
            return null_mut();
        }
        let units = layout.size().div_ceil(UNIT).max(1);
        // SAFETY: one thread, and nothing else borrows the table.
        let taken = unsafe { &mut *self.taken.get() };
        let mut run = 0;
        for at in 0..UNITS {
            run = if taken[at] { 0 } else { run + 1 };
            if run == units {
                let first = at + 1 - units;
                taken[first..=at].fill(true);
                let used = self.used.load(Ordering::Relaxed) + units * UNIT;
                self.used.store(used, Ordering::Relaxed);
                self.most.store(used.max(self.most.load(Ordering::Relaxed)), Ordering::Relaxed);
                // SAFETY: the block lies in the memory.
                return unsafe { self.memory.get().cast::<u8>().add(first * UNIT) };
            }
        }
        null_mut()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let units = layout.size().div_ceil(UNIT).max(1);
        let first = (block as usize - self.memory.get() as usize) / UNIT;
        // SAFETY: one thread; the caller gives back a block of `alloc`.
        unsafe { (&mut *self.taken.get())[first..first + units].fill(false) };
        self.used.fetch_sub(units * UNIT, Ordering::Relaxed);
    }
}
