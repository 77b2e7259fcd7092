//! The monotonic clock of a queue inside this process.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use tok_core::rt::{self, Clock};

/// Counts the time since the queue was made: on the machine's clock, and from when a clock is provided on that one.
#[derive(Debug)]
pub(crate) struct QueueClock {
    start: Instant,
    provided: OnceLock<Provided>,
}

#[derive(Debug)]
struct Provided {
    clock: Clock,
    /// The time on `clock` when it was provided, and what this one showed then.
    since: rt::Instant,
    before: Duration,
}

impl QueueClock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), provided: OnceLock::new() }
    }

    /// Goes on with this clock, if it is the first that is provided. TTLs that have begun go on, too.
    pub(crate) fn provide(&self, clock: &Clock) {
        let provided = Provided { clock: clock.clone(), since: clock.now(), before: self.now() };
        // The first one wins.
        let _ = self.provided.set(provided);
    }

    /// The time since the queue was made. It never goes back.
    pub(crate) fn now(&self) -> Duration {
        match self.provided.get() {
            Some(Provided { clock, since, before }) => {
                before.saturating_add(clock.now().saturating_since(*since))
            }
            None => self.start.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    #[test]
    fn time_goes_on_where_another_clock_is_provided() {
        let queue = QueueClock::new();
        let before = queue.now();
        let nanos = Arc::new(AtomicU64::new(7_000));
        let clock = Clock::new({
            let nanos = Arc::clone(&nanos);
            move || rt::Instant::from_nanos(nanos.load(Ordering::SeqCst))
        });
        queue.provide(&clock);
        let at = queue.now();
        assert!(at >= before, "{at:?} is before {before:?}");
        assert_eq!(queue.now(), at, "the clock that was provided stands still");
        nanos.store(8_500, Ordering::SeqCst);
        assert_eq!(queue.now(), at + Duration::from_nanos(1_500));
        queue.provide(&Clock::new(|| rt::Instant::from_nanos(u64::MAX)));
        assert_eq!(queue.now(), at + Duration::from_nanos(1_500), "the first clock counts");
        // A clock that breaks its promise.
        nanos.store(0, Ordering::SeqCst);
        assert_eq!(queue.now(), at);
    }
}
