mod builder;
mod log;
mod shard;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tok_core::{
    Epoch, Queue, Uid, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    rt::Clock,
};

pub use self::builder::MemoryQueueBuilder;
use self::{
    log::{Item, Log},
    shard::Shard,
};
use crate::{
    clock::QueueClock,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Enough that the workers of a large machine seldom meet; an empty queue takes 6 KiB.
const SHARDS: usize = if cfg!(all(test, shuttle)) { 2 } else { 64 };

/// Keeps messages in this process's memory, within limits; they end with the process.
///
/// It needs no runtime: no operation waits, for anything but a short lock on one of 64 parts. Appending, reading and
/// acknowledging cost the same whatever the backlog, with a logarithm of the part's entries for those that expire; a
/// sweep visits only what is due. A user whose queue is empty takes no memory.
///
/// Limits count [`Entry::cost`]: data and 128 bytes. Bookkeeping in fact takes 100 to 250 bytes an entry, and about as
/// much a user, so many tiny messages take several times what is counted. Data is held by reference: a short message
/// that is a slice of a large buffer holds all of that buffer, so copy out what is small (the hub does).
///
/// TTLs are measured on the monotonic clock of the hub's runtime ([`use_clock`](Queue::use_clock)), or of the machine if
/// there is no hub. A change of the wall clock has no effect.
///
/// # Fences
/// The epoch of the last acknowledgement is forgotten with the user's last entry. Nothing is lost by that: what is
/// stored later has a higher position than any that went before, and a session that lost its place can acknowledge
/// only what it read while it had it. That it reads no more afterwards is for the hub to see to, which within one
/// process takes the place away and stops the reads in one step. Who calls [`dequeue`](Queue::dequeue) by hand
/// has the fence as long as there are entries.
///
/// ```
/// use tok_core::Queue;
/// use tok_queue::MemoryQueue;
///
/// let queue = MemoryQueue::new();
/// assert_eq!(queue.caps().max_messages, 1000);
/// assert!(!queue.caps().durable);
/// assert!(MemoryQueue::builder().max_messages(0).build().is_err());
/// ```
pub struct MemoryQueue {
    limits: MemoryQueueBuilder,
    /// What all entries cost together.
    bytes: AtomicU64,
    /// Places users in shards; not the maps' hasher, whose buckets it would leave partly unused.
    placing: RandomState,
    shards: Box<[Mutex<Shard>]>,
    /// Where the next sweep starts, so that small budgets reach every shard.
    sweep_from: AtomicUsize,
    clock: QueueClock,
}

/// What a [`MemoryQueue`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Usage {
    /// Users with entries.
    pub users: u64,
    /// Their entries.
    pub messages: u64,
    /// What the entries cost together, by [`Entry::cost`].
    pub bytes: u64,
}

impl MemoryQueue {
    /// A queue with the default limits: 1000 messages and 8 MiB a user, 256 MiB in all.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(MemoryQueueBuilder::default())
    }

    /// Sets limits.
    pub fn builder() -> MemoryQueueBuilder {
        MemoryQueueBuilder::default()
    }

    fn with_limits(limits: MemoryQueueBuilder) -> Self {
        Self {
            limits,
            bytes: AtomicU64::new(0),
            placing: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            sweep_from: AtomicUsize::new(0),
            clock: QueueClock::new(),
        }
    }

    /// The time on the queue's clock, in nanoseconds.
    fn now(&self) -> u64 {
        nanos(self.clock.now())
    }

    /// What it holds now. Shards are counted one after the other: while others use the queue, the sum is of slightly
    /// different moments.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut usage = Usage { bytes: self.bytes.load(Ordering::Relaxed), ..Usage::default() };
        for shard in &self.shards {
            let shard = lock(shard);
            usage.users += shard.users();
            usage.messages += shard.messages();
        }
        usage
    }

    fn shard(&self, uid: &Uid) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.placing.hash_one(uid) as usize % SHARDS])
    }

    /// Counts `bytes` more, unless that passes the limit on all.
    fn reserve(&self, bytes: u64, admit: Admit) -> Result<(), QueueError> {
        let limit = if admit == Admit::WithinLimits { self.limits.max_total_bytes } else { u64::MAX };
        let add = |total: u64| total.checked_add(bytes).filter(|total| *total <= limit);
        // Only the count itself is shared: nothing is ordered by it.
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map_err(|_| QueueError::Full)?;
        Ok(())
    }

    fn release<'a>(&self, items: impl IntoIterator<Item = &'a Item>) {
        let bytes = items.into_iter().map(Item::cost).sum();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// 584 years are the most.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // No user code runs under the lock (entries are dropped after it), so a panic cannot leave a shard half changed.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cost<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> u64 {
    entries.into_iter().map(|entry| entry.cost() as u64).sum()
}

impl Default for MemoryQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").field("limits", &self.limits).field("usage", &self.usage()).finish()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        if batch.is_empty() {
            return Ok(Stored { seqs: Vec::new() });
        }
        let (bytes, now) = (cost(batch), self.now());
        let mut shard = self.shard(uid);
        let (kept_messages, kept_bytes) = shard.log(uid).map_or((0, 0), |log| (log.messages(), log.bytes()));
        let fits = kept_messages + batch.len() as u64 <= self.limits.max_messages
            && kept_bytes + bytes <= self.limits.max_bytes;
        if admit == Admit::WithinLimits && !fits {
            return Err(QueueError::Full);
        }
        self.reserve(bytes, admit)?;
        Ok(Stored { seqs: shard.append(uid, batch, now) })
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        let now = self.now();
        Ok(self.shard(uid).log(uid).map_or_else(Page::default, |log| log.page(after, limit, now)))
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        let (removed, remains) = self.shard(uid).ack(uid, upto, fence)?;
        self.release(&removed);
        Ok(remains)
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        Ok(self.shard(uid).log(uid).map_or_else(QueueSize::default, Log::size))
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        let now = self.now();
        let mut swept = Swept::default();
        let start = self.sweep_from.fetch_add(1, Ordering::Relaxed);
        for index in 0..SHARDS {
            let mut shard = lock(&self.shards[start.wrapping_add(index) % SHARDS]);
            while shard.is_due(now) {
                if swept.expired.len() == budget {
                    swept.more = true;
                    break;
                }
                let due = shard.take_due();
                self.release(due.iter().map(|(_, item)| item));
                swept.expired.extend(due.map(|(uid, item)| (uid, item.at(now))));
            }
            if swept.more {
                break;
            }
        }
        Ok(swept)
    }

    fn room(&self) -> Option<u64> {
        Some(self.limits.max_total_bytes.saturating_sub(self.bytes.load(Ordering::Relaxed)))
    }

    fn caps(&self) -> Caps {
        Caps {
            durable: false,
            shared: false,
            max_messages: self.limits.max_messages,
            max_bytes: self.limits.max_bytes,
            max_message: None,
        }
    }

    fn use_clock(&self, clock: &Clock) {
        self.clock.provide(clock);
    }

    /// As provided by the trait, in one step: callers at the same time never get the same entry.
    async fn dequeue(&self, uid: &Uid, fence: Epoch) -> Result<Option<Entry>, QueueError> {
        let taken = {
            let mut shard = self.shard(uid);
            let Some(oldest) = shard.log(uid).and_then(Log::oldest) else { return Ok(None) };
            shard.ack(uid, oldest, fence)?.0
        };
        self.release(&taken);
        let now = self.now();
        Ok(taken.first().map(|item| item.at(now)))
    }
}
