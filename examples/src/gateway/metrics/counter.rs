use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Workers that add at the same time have a line of the processor's cache each, or share one with few others.
const LINES: usize = 8;

/// A number that only grows, made for many threads to add to.
#[derive(Debug, Default)]
pub(super) struct Counter([Line; LINES]);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: usize) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static LINE: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % LINES);
        }
        self.0[LINE.get()].0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.iter().map(|line| line.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_all_threads_add_is_counted() {
        let counter = Counter::default();
        thread::scope(|scope| {
            for thread in 0..20 {
                let counter = &counter;
                scope.spawn(move || (0..100).for_each(|_| counter.add(thread)));
            }
        });
        assert_eq!(counter.get(), 100 * (0..20).sum::<u64>());
    }
}
