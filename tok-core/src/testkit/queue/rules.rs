//! The rules, one function each. A rule panics, saying what is wrong, unless the queue, which must be empty, keeps it.

mod clock;
mod confirming;
mod expiry;
mod limits;
mod reading;
mod storing;
mod users;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

pub use self::{clock::*, confirming::*, expiry::*, limits::*, reading::*, storing::*, users::*};
use crate::{
    Epoch, MessageId, MessageKind, Queue, Uid,
    queue::{Admit, Entry, Limit, QueueSize, Seq},
    rt::{Clock, Instant},
};

#[doc(hidden)]
#[macro_export]
macro_rules! __queue_rules {
    ($then:ident, ($($args:tt)*)) => {
        $crate::$then! { ($($args)*)
            // storing
            seqs_rise
            seqs_are_never_reused_after_ack
            order_is_kept
            entries_are_byte_exact
            ttl_survives
            any_ttl_is_taken
            size_counts
            an_empty_batch_stores_nothing
            a_dropped_enqueue_is_whole_or_nothing
            // limits
            message_limit_is_exact
            byte_limit_is_exact
            batch_is_all_or_nothing
            full_refuses_new_and_keeps_old
            already_accepted_passes_the_limits
            room_returns_after_ack
            limits_are_per_user
            a_message_over_the_largest_is_too_big
            // reading
            peek_changes_nothing
            peek_respects_the_message_limit
            peek_respects_the_byte_limit
            peek_gives_at_least_one
            peek_continues_after_the_cursor
            peek_pages
            big_backlog_drains_in_linear_work
            dequeue_takes_the_oldest
            dequeue_is_fenced
            // expiry
            time_left_falls_and_never_grows
            sweep_leaves_live_entries
            sweep_forgets_what_was_acked
            // confirming
            ack_is_cumulative
            ack_returns_what_remains
            ack_is_idempotent
            ack_beyond_the_end_takes_what_there_is
            ack_of_an_older_epoch_is_fenced_and_changes_nothing
            the_epoch_that_a_fence_names_passes
            ack_of_an_equal_epoch_passes
            ack_of_nothing_raises_the_fence
            a_late_ack_removes_nothing_new
            fences_are_per_user
            // users
            users_are_separate
            nobody_has_an_empty_queue
            any_uid_is_answered
            concurrent_users
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queue_sweep_rules {
    ($then:ident, ($($args:tt)*)) => {
        $crate::$then! { ($($args)*)
            expired_entries_are_peeked_until_swept
            sweep_returns_what_expired_with_its_uid
            sweep_takes_from_the_middle
            sweep_respects_the_budget
            room_returns_after_sweep
            seqs_are_never_reused_after_sweep
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queue_clock_rules {
    ($then:ident, ($($args:tt)*)) => {
        $crate::$then! { ($($args)*)
            the_first_clock_counts
            a_stopped_clock_expires_nothing
            entries_expire_by_the_clock_that_was_provided
            entries_expire_in_any_order
            the_end_of_the_clock_expires_what_is_due
        }
    };
}

/// A TTL that no rule outlasts.
const LONG: Duration = Duration::from_secs(60 * 60);

/// How much a queue may round TTLs up.
const RESOLUTION: Duration = Duration::from_secs(1);

const FIRST: Epoch = Epoch::new(1);
const SECOND: Epoch = Epoch::new(2);

fn entry(number: u32) -> Entry {
    Entry {
        id: MessageId::from_u128(u128::from(number) + 1),
        kind: MessageKind::Text,
        data: Bytes::from(format!("message {number}")),
        ttl: None,
    }
}

fn entries(numbers: impl IntoIterator<Item = u32>) -> Vec<Entry> {
    numbers.into_iter().map(entry).collect()
}

fn expiring(number: u32, ttl: Duration) -> Entry {
    Entry { ttl: Some(ttl), ..entry(number) }
}

/// An entry that has expired when it is stored.
fn expired(number: u32) -> Entry {
    expiring(number, Duration::ZERO)
}

/// Checks that entries are the ones that were stored a moment ago, with the time that is left of their TTLs.
#[track_caller]
fn assert_stored<'a>(found: &[Entry], stored: impl IntoIterator<Item = &'a Entry>) {
    let stored: Vec<_> = stored.into_iter().collect();
    let ids = |entries: &mut dyn Iterator<Item = &Entry>| entries.map(|entry| entry.id).collect::<Vec<_>>();
    let (found_ids, stored_ids) = (ids(&mut found.iter()), ids(&mut stored.iter().copied()));
    assert_eq!(found_ids, stored_ids, "the entries must be those that were stored, in their order");
    for (found, stored) in found.iter().zip(stored) {
        assert_eq!((found.kind, &found.data), (stored.kind, &stored.data), "entries must not change");
        match (found.ttl, stored.ttl) {
            (None, None) => {}
            (Some(left), Some(ttl)) => {
                let most = ttl.saturating_add(RESOLUTION);
                assert!(left <= most || ttl.is_zero(), "{left:?} are left of a TTL of {ttl:?}");
                assert!(left.is_zero() || !ttl.is_zero(), "{left:?} are left of a TTL of zero");
                // A queue may keep a very long TTL as 100 years.
                let least = ttl.min(LONG * 24 * 365 * 100) / 2;
                assert!(left >= least, "{left:?} are left of a TTL of {ttl:?} that has just begun");
            }
            (left, ttl) => panic!("an entry that was stored with the TTL {ttl:?} has {left:?} left"),
        }
    }
}

/// A clock that a rule moves. Queues with a server do not use it.
struct Time(Arc<AtomicU64>);

impl Time {
    /// Provides the queue with a clock that stands at this moment.
    fn of(queue: &dyn Queue, start: Instant) -> Self {
        let nanos = Arc::new(AtomicU64::new(start.as_nanos()));
        let time = Self(Arc::clone(&nanos));
        queue.use_clock(&Clock::new(move || Instant::from_nanos(nanos.load(Ordering::SeqCst))));
        time
    }

    fn set(&self, now: Instant) {
        self.0.store(now.as_nanos(), Ordering::SeqCst);
    }

    fn advance(&self, by: Duration) {
        self.set(Instant::from_nanos(self.0.load(Ordering::SeqCst)).saturating_add(by));
    }
}

/// An entry of exactly this [`cost`](Entry::cost).
fn costing(number: u32, cost: usize) -> Entry {
    let bytes = cost.checked_sub(Entry::OVERHEAD).expect("an entry costs its overhead at least");
    Entry { data: Bytes::from(vec![b'x'; bytes]), ..entry(number) }
}

/// One user's log, with the operations that the rules expect to succeed.
struct Log<'a> {
    queue: &'a dyn Queue,
    uid: Uid,
}

impl<'a> Log<'a> {
    fn of(queue: &'a dyn Queue, uid: impl Into<Uid>) -> Self {
        Self { queue, uid: uid.into() }
    }

    /// Appends a batch within the limits and returns where it is.
    async fn add(&self, batch: &[Entry]) -> Vec<Seq> {
        self.append(batch, Admit::WithinLimits).await
    }

    /// Appends a batch whatever the limits.
    async fn force(&self, batch: &[Entry]) -> Vec<Seq> {
        self.append(batch, Admit::AlreadyAccepted).await
    }

    async fn append(&self, batch: &[Entry], admit: Admit) -> Vec<Seq> {
        let stored = self.queue.enqueue(&self.uid, batch, admit).await.expect("enqueue must succeed");
        assert_eq!(stored.seqs.len(), batch.len(), "enqueue must return one position for each entry");
        stored.seqs
    }

    /// Everything in the log, page by page.
    async fn read(&self) -> Vec<(Seq, Entry)> {
        let mut all: Vec<(Seq, Entry)> = Vec::new();
        loop {
            let after = all.last().map_or(Seq::START, |(seq, _)| *seq);
            let page = self.queue.peek(&self.uid, after, Limit::default()).await.expect("peek must succeed");
            for (seq, entry) in page.entries.iter().cloned() {
                let last = all.last().map_or(Seq::START, |(seq, _)| *seq);
                assert!(seq > last, "peek must give entries in order: {seq:?} follows {last:?}");
                all.push((seq, entry));
            }
            if !page.more {
                return all;
            }
            assert!(!page.entries.is_empty(), "an empty page must not say that there is more");
        }
    }

    async fn entries(&self) -> Vec<Entry> {
        self.read().await.into_iter().map(|(_, entry)| entry).collect()
    }

    async fn seqs(&self) -> Vec<Seq> {
        self.read().await.into_iter().map(|(seq, _)| seq).collect()
    }

    async fn ack(&self, upto: Seq, fence: Epoch) -> QueueSize {
        self.queue.ack(&self.uid, upto, fence).await.expect("ack must succeed")
    }

    async fn size(&self) -> QueueSize {
        self.queue.size(&self.uid).await.expect("size must succeed")
    }

    /// The number of entries.
    async fn len(&self) -> u64 {
        self.size().await.messages
    }
}

/// The last position of a batch.
fn last(seqs: &[Seq]) -> Seq {
    *seqs.last().expect("the batch is not empty")
}

/// What some entries amount to.
fn size_of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> QueueSize {
    entries.into_iter().fold(QueueSize::default(), |sum, entry| QueueSize {
        messages: sum.messages + 1,
        bytes: sum.bytes + entry.cost() as u64,
    })
}

/// Sweeps until there is no more; in order of message id, since a sweep has none of its own.
async fn sweep_all(queue: &dyn Queue, budget: usize) -> Vec<(Uid, Entry)> {
    let mut expired = Vec::new();
    for _ in 0..1000 {
        let swept = queue.sweep(budget).await.expect("sweep must succeed");
        expired.extend(swept.expired);
        if !swept.more {
            expired.sort_by_key(|(_, entry)| entry.id);
            return expired;
        }
    }
    panic!("sweep must come to an end");
}
