//! A few threads that share the work of one step: they spin for a moment, then sleep.
//!
//! Parts of a job are claimed one by one, so that a caller whose workers are late does their parts
//! itself and never waits for one that has not begun.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::array;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Options;
use crate::{Error, ErrorKind, Result};

/// How long a worker looks for the next job before it sleeps: longer than the steps between two
/// that are divided, shorter than anybody notices.
const SPIN: Duration = Duration::from_micros(100);
/// Looks between two looks at the clock.
const LOOKS: usize = 64;
/// Looks for the last worker before the caller lets others run.
const PATIENCE: usize = 10_000;
/// Bits of a claim that count the parts claimed; those above count all parts of the job.
const BITS: u32 = 8;

/// The caller of a session and its workers.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// One job at a time.
struct Job<'a> {
    part: &'a (dyn Fn(usize) + Sync),
}

#[derive(Default)]
struct Shared {
    /// Workers that are at work.
    begun: AtomicUsize,
    /// All parts of the job and those claimed, in one word.
    claims: AtomicUsize,
    /// Valid while a part is claimed and not done.
    job: AtomicPtr<Job<'static>>,
    /// Parts that have ended.
    done: AtomicUsize,
    asleep: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
}

impl Threads {
    /// The caller and `count - 1` workers; fails where the system starts no thread.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let mut threads = Self { shared: Arc::default(), workers: Vec::with_capacity(count) };
        for i in 1..count {
            let shared = threads.shared.clone();
            let named = thread::Builder::new().name(format!("hipflask {i}"));
            let worker = named.spawn(move || shared.work()).map_err(|e| {
                let what = format!("thread {i} of {count} cannot be started: {e}; take fewer");
                Error::new(ErrorKind::Input, "threads", what)
            })?;
            threads.workers.push(worker);
        }
        // A thread allocates as it begins: not during the first job.
        while threads.shared.begun.load(Ordering::Acquire) < threads.workers.len() {
            thread::yield_now();
        }
        Ok(threads)
    }

    /// How many, with the caller.
    pub(crate) fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` once with each of at most [`Options::MOST_THREADS`] items, on all threads;
    /// returns when all calls have. Allocates nothing; panics when one of them does.
    pub(crate) fn each<I: Send>(
        &mut self,
        items: impl Iterator<Item = I>,
        work: impl Fn(I) + Sync,
    ) {
        let mut items = items.fuse();
        let mut count = 0;
        let slots: [Mutex<Option<I>>; Options::MOST_THREADS] = array::from_fn(|_| {
            let item = items.next();
            count += usize::from(item.is_some());
            Mutex::new(item)
        });
        self.run(count, &|i| {
            let item = slots[i].lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(item) = item {
                work(item);
            }
        });
    }

    /// Calls `part` with each number below `parts`.
    fn run(&mut self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        let job = Job { part };
        shared.done.store(0, Ordering::Relaxed);
        shared.panicked.store(false, Ordering::Relaxed);
        shared.job.store((&raw const job).cast_mut().cast(), Ordering::Relaxed);
        // In one order with `asleep`: who goes to sleep sees the job, or is seen asleep.
        shared.claims.store(parts << BITS, Ordering::SeqCst);
        if shared.asleep.load(Ordering::SeqCst) > 0 {
            self.workers.iter().for_each(|worker| worker.thread().unpark());
        }
        // Waits at the end of this function however it ends, so that `job` outlives its readers.
        let all_done = AllDone { shared, parts };
        while let Some(i) = shared.claim() {
            let _done = Done(shared);
            part(i);
        }
        drop(all_done);
        assert!(!shared.panicked.load(Ordering::Relaxed), "a thread's part panicked");
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A panic was told by `run`.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// The number of a part that nobody else has, of the job of this moment.
    fn claim(&self) -> Option<usize> {
        let mut claims = self.claims.load(Ordering::Relaxed);
        loop {
            let (parts, next) = (claims >> BITS, claims & ((1 << BITS) - 1));
            if next >= parts {
                return None;
            }
            // Acquires what the caller wrote before it published the job.
            match self.claims.compare_exchange_weak(
                claims,
                claims + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(next),
                Err(now) => claims = now,
            }
        }
    }

    /// Whether a part is to be had.
    fn is_open(&self) -> bool {
        let claims = self.claims.load(Ordering::SeqCst);
        claims & ((1 << BITS) - 1) < claims >> BITS
    }

    /// A worker's life.
    fn work(&self) {
        self.begun.fetch_add(1, Ordering::Release);
        while !self.stop.load(Ordering::SeqCst) {
            if let Some(i) = self.claim() {
                let _done = Done(self);
                let job = self.job.load(Ordering::Relaxed);
                #[expect(unsafe_code, reason = "the caller's closure, lent to its workers")]
                // SAFETY: `claim` gave a part of the job that `Threads::run` published before it,
                // and `run` keeps the job on its stack until `done` has counted this part, which
                // `_done` does after the last use, also when the part panics.
                let job: &Job<'_> = unsafe { &*job };
                (job.part)(i);
            } else if !self.spin() {
                self.asleep.fetch_add(1, Ordering::SeqCst);
                if !self.is_open() && !self.stop.load(Ordering::SeqCst) {
                    thread::park();
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Looks for a job for a while; whether there was one.
    fn spin(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..LOOKS {
                if self.is_open() {
                    return true;
                }
                core::hint::spin_loop();
            }
        }
        false
    }
}

/// Counts a part as done when it ends, also by a panic.
struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.panicked.store(true, Ordering::Relaxed);
        }
        self.0.done.fetch_add(1, Ordering::Release);
    }
}

/// Waits until all parts are done; those that nobody has begun, after a panic, are left out.
struct AllDone<'a> {
    shared: &'a Shared,
    parts: usize,
}

impl Drop for AllDone<'_> {
    fn drop(&mut self) {
        while self.shared.claim().is_some() {
            self.shared.done.fetch_add(1, Ordering::Release);
        }
        let mut looks = 0;
        while self.shared.done.load(Ordering::Acquire) < self.parts {
            looks += 1;
            if looks < PATIENCE { core::hint::spin_loop() } else { thread::yield_now() }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn every_item_is_worked_on_once() {
        for count in [1, 2, 3, 5] {
            let mut threads = Threads::new(count).unwrap();
            assert_eq!(threads.count(), count);
            for round in 0..500 {
                let mut values = [0; 37];
                let items = values.chunks_mut(8).enumerate();
                threads.each(items, |(i, chunk)| chunk.iter_mut().for_each(|v| *v += i + round));
                let expected: Vec<usize> = (0..37).map(|at| at / 8 + round).collect();
                assert_eq!(values[..], expected, "{count} threads");
            }
        }
    }

    #[test]
    fn workers_that_sleep_are_woken() {
        let mut threads = Threads::new(3).unwrap();
        for _ in 0..20 {
            let mut values = [0_u8; 3];
            // Longer than workers spin.
            thread::sleep(SPIN * 3);
            threads.each(values.iter_mut(), |v| *v += 1);
            assert_eq!(values, [1; 3]);
        }
    }

    #[test]
    fn a_panic_on_any_thread_reaches_the_caller_and_the_next_job_runs() {
        let mut threads = Threads::new(2).unwrap();
        for bad in 0..4 {
            let attempt = AssertUnwindSafe(|| {
                threads.each(0..4, |i| assert_ne!(i, bad, "meant to fail"));
            });
            assert!(catch_unwind(attempt).is_err());
            let sum = AtomicUsize::new(0);
            threads.each(0..4, |i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 6);
        }
    }

    #[test]
    fn no_items_are_no_work() {
        Threads::new(2).unwrap().each(core::iter::empty::<usize>(), |_| panic!("no item"));
    }
}
