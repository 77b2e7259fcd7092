//! What may and must be in the queue, by what its callers were told.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use tok_core::{
    Epoch, MessageId, MessageKind, Uid,
    queue::{Admit, Entry, QueueError, Seq, Swept},
    testkit::sim::Rng,
};

use super::{
    driver::{Answer, Driver, Step},
    user::{State, User},
};
use crate::Usage;

const USERS: u64 = 4;

pub(super) struct Model {
    users: BTreeMap<Uid, User>,
    rng: Rng,
    /// Ids, batches and the time, in milliseconds: what is counted up.
    next: u64,
    /// How many operations were answered with success.
    pub(super) done: u64,
    /// How many could not be done.
    pub(super) failed: u64,
}

/// When the queue is compared with the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// While it is open, also if it had to open its file again.
    Open,
    /// After an orderly end.
    Ended,
    /// After the power failed.
    PowerFailed,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        let users = (0..USERS).map(|user| (Uid::from(user), User::default())).collect();
        Self { users, rng: Rng::new(seed), next: 0, done: 0, failed: 0 }
    }

    /// One commit's requests.
    pub(super) fn steps(&mut self) -> Vec<Step> {
        (0..=self.rng.below(6)).map(|_| self.step()).collect()
    }

    fn count(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn step(&mut self) -> Step {
        let uid = Uid::from(self.rng.below(USERS));
        let kind = self.rng.below(10);
        let seq = |rng: &mut Rng, user: &User| match rng.below(4) {
            0 => Seq::new(u64::MAX),
            1 => Seq::START,
            _ => {
                let told: Vec<_> = user.items.iter().filter_map(|item| item.seq).collect();
                told.get(rng.below(told.len() as u64) as usize).copied().unwrap_or(Seq::START)
            }
        };
        match kind {
            0..6 => {
                let count = 1 + self.rng.below(4);
                let batch = (0..count).map(|_| self.entry()).collect();
                let admit = if self.rng.below(8) == 0 { Admit::AlreadyAccepted } else { Admit::WithinLimits };
                Step::Enqueue(uid, batch, admit)
            }
            6..8 => {
                let epoch = self.epoch(&uid);
                let upto = seq(&mut self.rng, &self.users[&uid]);
                Step::Ack(uid, upto, epoch)
            }
            8 => {
                let epoch = self.epoch(&uid);
                Step::Dequeue(uid, epoch)
            }
            _ => {
                let budget = self.rng.below(8) as usize;
                Step::Sweep(self.next, budget)
            }
        }
    }

    fn entry(&mut self) -> Entry {
        let id = self.count();
        let expires = self.rng.below(3) > 0;
        let ttl = expires.then(|| Duration::from_millis(id + self.rng.below(200)));
        // Up to several pages, now and then.
        let len = if self.rng.below(10) == 0 { self.rng.below(20_000) } else { self.rng.below(500) };
        Entry {
            id: MessageId::from_u128(u128::from(id)),
            kind: MessageKind::Binary,
            data: Bytes::from(vec![id as u8; len as usize]),
            ttl,
        }
    }

    fn epoch(&mut self, uid: &Uid) -> Epoch {
        let user = &self.users[uid];
        Epoch::new((user.highest_epoch + self.rng.below(3)).saturating_sub(1))
    }

    /// Takes in what the queue answered.
    pub(super) fn take(&mut self, steps: &[Step], answers: Vec<Answer>) {
        let mut durable = false;
        for (step, answer) in steps.iter().zip(answers) {
            let batch = self.count();
            let ok = match (step, answer) {
                (Step::Enqueue(uid, entries, admit), Answer::Enqueue(result)) => {
                    durable |= result.is_ok();
                    self.users.get_mut(uid).expect("a user").enqueued(entries, *admit, batch, result)
                }
                (Step::Ack(uid, upto, epoch), Answer::Ack(result)) => {
                    self.users.get_mut(uid).expect("a user").acked(*upto, epoch.get(), &result)
                }
                (Step::Dequeue(uid, epoch), Answer::Dequeue(result)) => {
                    durable |= matches!(result, Ok(Some(_)));
                    self.users.get_mut(uid).expect("a user").dequeued(epoch.get(), &result)
                }
                (Step::Sweep(now, _), Answer::Sweep(result)) => {
                    durable |= result.as_ref().is_ok_and(|swept| !swept.expired.is_empty());
                    self.swept(*now, &result)
                }
                (step, answer) => panic!("{step:?} was answered {answer:?}"),
            };
            if ok { self.done += 1 } else { self.failed += 1 }
        }
        if durable {
            // What was acknowledged before a commit that is durable is durably acknowledged.
            self.forget_acked();
        }
    }

    /// What was acknowledged must not come back from now on.
    pub(super) fn forget_acked(&mut self) {
        for user in self.users.values_mut() {
            user.items.retain(|item| item.state != State::Acked);
        }
    }

    fn swept(&mut self, now: u64, result: &Result<Swept, QueueError>) -> bool {
        let Ok(swept) = result else {
            for user in self.users.values_mut() {
                for item in &mut user.items {
                    if is_over(&item.entry, now) && item.state != State::Acked {
                        (item.state, item.certain) = (State::Perhaps, false);
                    }
                }
                user.forget_the_fence_if_empty();
            }
            return false;
        };
        for (uid, entry) in &swept.expired {
            let user = self.users.get_mut(uid).expect("a user");
            let index = user.items.iter().position(|item| item.entry.id == entry.id);
            let item = user.items.remove(index.expect("what is swept was there"));
            assert!(is_over(&item.entry, now), "{entry:?} has not expired at {now}");
            assert_eq!(*entry, swept_entry(&item.entry));
            user.forget_the_fence_if_empty();
            assert_ne!(item.state, State::Acked, "{entry:?} was acknowledged and is swept");
        }
        if !swept.more {
            let mut left = self.users.values().flat_map(|user| &user.items);
            assert!(!left.any(|item| item.state == State::There && is_over(&item.entry, now)));
        }
        true
    }

    /// Compares what is in the queue with what may and must be, and takes it for the truth from then on.
    pub(super) fn compare(&mut self, driver: &Driver, when: When) {
        if when != When::Open {
            for user in self.users.values_mut() {
                (user.fence, user.highest_epoch) = (0, 0);
            }
        }
        let mut usage = Usage::default();
        for (uid, user) in &mut self.users {
            let there = driver.entries(uid).expect("the file can be read");
            usage.users += u64::from(!there.is_empty());
            usage.messages += there.len() as u64;
            usage.bytes += there.iter().map(|(_, entry)| entry.cost() as u64).sum::<u64>();
            user.compare(uid, there, when);
        }
        assert_eq!(driver.usage(), Some(usage), "the totals are those of what is there");
    }

    /// What is left, for a sweep at the end of all time.
    pub(super) fn left(&self) -> Vec<(Uid, Entry)> {
        let entries =
            self.users.iter().flat_map(|(uid, user)| user.items.iter().map(move |item| (uid, item)));
        entries
            .filter(|(_, item)| item.entry.ttl.is_some())
            .map(|(uid, item)| (uid.clone(), swept_entry(&item.entry)))
            .collect()
    }
}

/// Whether the entry, whose TTL is from the beginning of all time, expired at or before `now`.
fn is_over(entry: &Entry, now: u64) -> bool {
    entry.ttl.is_some_and(|ttl| ttl <= Duration::from_millis(now))
}

/// The entry as a sweep returns it.
fn swept_entry(entry: &Entry) -> Entry {
    Entry { ttl: Some(Duration::ZERO), ..entry.clone() }
}
