//! What those who hold receipts of a user's messages wait for.

use std::{collections::BTreeMap, task::Waker};

use crate::hub::{Outcome, effects::Effects};

/// One entry for each receipt that somebody holds, by the message's position, and none for any other message.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    open: BTreeMap<u64, Vec<Waiter>>,
    ended: BTreeMap<u64, Outcome>,
    last_waiter: u64,
}

#[derive(Debug)]
struct Waiter {
    key: u64,
    waker: Waker,
}

impl Receipts {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.ended.is_empty()
    }

    pub(super) fn add(&mut self, pos: u64) {
        self.open.insert(pos, Vec::new());
    }

    pub(super) fn remove(&mut self, pos: u64) {
        self.open.remove(&pos);
        self.ended.remove(&pos);
    }

    /// The outcome, once the message has ended.
    pub(super) fn outcome(&self, pos: u64) -> Option<Outcome> {
        self.ended.get(&pos).copied()
    }

    /// The message at this position has ended.
    pub(super) fn end(&mut self, pos: u64, outcome: Outcome, fx: &mut Effects) {
        let Some(waiters) = self.open.remove(&pos) else { return };
        self.ended.insert(pos, outcome);
        for waiter in waiters {
            fx.wake(Some(waiter.waker));
        }
    }

    /// All messages up to this position that have not ended otherwise are confirmed, unless `is_apart`: those are
    /// confirmed one by one.
    pub(super) fn confirm(&mut self, upto: u64, is_apart: impl Fn(u64) -> bool, fx: &mut Effects) {
        let mut after = 0;
        while let Some((&pos, _)) = self.open.range(after..=upto).next() {
            after = pos + 1;
            if !is_apart(pos) {
                self.end(pos, Outcome::Confirmed, fx);
            }
            if after > upto {
                break;
            }
        }
    }

    /// Wakes `waker` when the message has ended. `key` names the waiter from its second call on.
    pub(super) fn wait(&mut self, pos: u64, key: &mut Option<u64>, waker: &Waker) {
        let Some(waiters) = self.open.get_mut(&pos) else { return };
        let key = *key.get_or_insert_with(|| {
            self.last_waiter += 1;
            self.last_waiter
        });
        match waiters.iter_mut().find(|waiter| waiter.key == key) {
            Some(waiter) => waiter.waker.clone_from(waker),
            None => waiters.push(Waiter { key, waker: waker.clone() }),
        }
    }

    /// Nobody waits under this key any more.
    pub(super) fn give_up(&mut self, pos: u64, key: u64) {
        if let Some(waiters) = self.open.get_mut(&pos) {
            waiters.retain(|waiter| waiter.key != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wake_all(fx: Effects) -> usize {
        fx.into_wakers().into_iter().map(Waker::wake).count()
    }

    #[test]
    fn messages_without_a_receipt_leave_nothing() {
        let (mut receipts, mut fx) = (Receipts::default(), Effects::default());
        receipts.add(7);
        for pos in 8..100_000 {
            receipts.end(pos, Outcome::Lapsed, &mut fx);
        }
        assert_eq!(receipts.open.len() + receipts.ended.len(), 1);
        assert_eq!(receipts.outcome(7), None);
        receipts.remove(7);
        assert!(receipts.is_empty());
    }

    #[test]
    fn ending_a_message_wakes_its_waiters_and_no_others() {
        let (mut receipts, mut fx) = (Receipts::default(), Effects::default());
        let (count, other) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (waker, others) = (Waker::from(Arc::clone(&count)), Waker::from(Arc::clone(&other)));
        receipts.add(1);
        receipts.add(2);
        for _ in 0..2 {
            let mut key = None;
            receipts.wait(1, &mut key, &waker);
            receipts.wait(1, &mut key, &waker);
        }
        receipts.wait(2, &mut None, &others);
        receipts.end(1, Outcome::Lapsed, &mut fx);
        assert_eq!(wake_all(fx), 2);
        assert_eq!((count.0.load(Ordering::Relaxed), other.0.load(Ordering::Relaxed)), (2, 0));
        assert_eq!((receipts.outcome(1), receipts.outcome(2)), (Some(Outcome::Lapsed), None));
    }

    #[test]
    fn a_confirmation_ends_all_before_it_that_have_not_ended() {
        let (mut receipts, mut fx) = (Receipts::default(), Effects::default());
        (1..=5).for_each(|pos| receipts.add(pos));
        receipts.end(2, Outcome::Lapsed, &mut fx);
        receipts.confirm(4, |pos| pos == 3, &mut fx);
        let outcomes: Vec<_> = (1..=5).map(|pos| receipts.outcome(pos)).collect();
        let (confirmed, lapsed) = (Some(Outcome::Confirmed), Some(Outcome::Lapsed));
        assert_eq!(outcomes, [confirmed, lapsed, None, confirmed, None]);
    }

    #[test]
    fn a_waiter_that_gave_up_leaves_no_waker() {
        let mut receipts = Receipts::default();
        receipts.add(1);
        let mut key = None;
        receipts.wait(1, &mut key, Waker::noop());
        receipts.give_up(1, key.unwrap());
        assert!(receipts.open[&1].is_empty());
    }
}
