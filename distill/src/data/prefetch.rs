//! Batches made ahead of their use: augmentation and conversion go on while the last batch is learnt.

use std::iter;
use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Calls `consume` with the items of `items`, in their order, made up to `ahead` in advance by a
/// thread of their own.
///
/// Where the present thread pool has one thread they are made when they are asked for: a second
/// thread would take its core. The items are the same either way; those that `consume` leaves are
/// dropped.
pub(crate) fn prefetched<T: Send, R>(
    mut items: impl Iterator<Item = T> + Send,
    ahead: usize,
    consume: impl FnOnce(&mut dyn Iterator<Item = T>) -> R,
) -> R {
    if rayon::current_num_threads() == 1 {
        return consume(&mut items);
    }
    thread::scope(|scope| {
        // One more than the channel holds is in the making.
        let (sender, receiver) = sync_channel(ahead.saturating_sub(1));
        let maker = scope.spawn(move || {
            // Sending fails once `consume` has enough.
            let _ = items.try_for_each(|item| sender.send(item));
        });
        let result = consume(&mut iter::from_fn(move || receiver.recv().ok()));
        match maker.join() {
            Ok(()) => result,
            Err(panic) => resume_unwind(panic),
        }
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::prefetched;

    fn on<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
    }

    #[test]
    fn the_items_come_in_their_order_on_any_number_of_threads() {
        for threads in [1, 2] {
            let found = on(threads, || prefetched(0..100, 3, |items| items.collect::<Vec<_>>()));
            assert_eq!(found, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn so_many_are_made_ahead_and_no_more() {
        let made = AtomicUsize::new(0);
        let items = (0..100).inspect(|_| {
            made.fetch_add(1, Ordering::SeqCst);
        });
        let taken = on(2, || {
            prefetched(items, 3, |items| {
                let first = items.next();
                let limit = Instant::now() + Duration::from_secs(20);
                while made.load(Ordering::SeqCst) < 4 && Instant::now() < limit {
                    std::thread::yield_now();
                }
                // Time for a fifth, if it were made.
                std::thread::sleep(Duration::from_millis(20));
                (first, made.load(Ordering::SeqCst))
            })
        });
        assert_eq!(taken, (Some(0), 4));
    }

    #[test]
    #[should_panic(expected = "item 2 is broken")]
    fn a_panic_of_the_maker_is_passed_on() {
        let items = (0..5).inspect(|&i| assert!(i < 2, "item {i} is broken"));
        on(2, || prefetched(items, 3, |items| items.count()));
    }
}
