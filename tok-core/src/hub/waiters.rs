use std::{collections::BTreeMap, mem, task::Waker};

/// Tasks that wait for one event, which wakes all of them. It stands behind the lock of what decides the event.
///
/// Mostly nobody waits; then it takes two words.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// The number of the last waiter that was added.
    last: u64,
    waiting: Option<Box<Waiting>>,
}

/// In the order in which they came.
#[derive(Debug, Default)]
struct Waiting(BTreeMap<u64, Waker>);

/// One task's place among the waiters. Its owner removes it when the task no longer waits.
#[derive(Debug, Default)]
pub(crate) struct Waiter(u64);

impl Waiter {
    /// Returns false if it has never waited.
    pub(crate) fn has_waited(&self) -> bool {
        self.0 > 0
    }
}

impl Waiters {
    /// Has `waker` woken by the next event. A waiter is there once, however often it asks. Returns the waker that it
    /// replaces, to be dropped without the lock.
    pub(crate) fn add(&mut self, waiter: &mut Waiter, waker: &Waker) -> Option<Waker> {
        let Waiting(waiting) = &mut **self.waiting.get_or_insert_default();
        if let Some(known) = waiting.get_mut(&waiter.0) {
            return (!known.will_wake(waker)).then(|| mem::replace(known, waker.clone()));
        }
        self.last += 1;
        *waiter = Waiter(self.last);
        waiting.insert(self.last, waker.clone())
    }

    /// Returns the waiter's waker, to be dropped without the lock.
    pub(crate) fn remove(&mut self, waiter: &mut Waiter) -> Option<Waker> {
        let Waiting(waiting) = &mut **self.waiting.as_mut()?;
        let waker = waiting.remove(&waiter.0);
        if waiting.is_empty() {
            self.waiting = None;
        }
        waker
    }

    /// The event: nobody waits any more. The caller wakes them without the lock.
    pub(crate) fn take(&mut self) -> Wakers {
        Wakers(self.waiting.take())
    }
}

/// Tasks to wake.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Wakers(Option<Box<Waiting>>);

impl Wakers {
    pub(crate) fn wake(self) {
        self.into_iter().for_each(Waker::wake);
    }
}

impl IntoIterator for Wakers {
    type Item = Waker;
    type IntoIter =
        std::iter::Flatten<std::option::IntoIter<std::collections::btree_map::IntoValues<u64, Waker>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(|waiting| waiting.0.into_values()).into_iter().flatten()
    }
}
