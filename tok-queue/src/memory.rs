mod builder;
mod log;
mod shard;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

use tok_core::{
    Epoch, Queue, Uid, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, Seq, Stored, Swept},
};

pub use self::builder::MemoryQueueBuilder;
use self::{log::Log, shard::Shard};
use crate::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
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
        }
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

    fn release<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) {
        self.bytes.fetch_sub(cost(entries), Ordering::Relaxed);
    }
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
        let bytes = cost(batch);
        let mut shard = self.shard(uid);
        let (kept_messages, kept_bytes) = shard.log(uid).map_or((0, 0), |log| (log.messages(), log.bytes()));
        let fits = kept_messages + batch.len() as u64 <= self.limits.max_messages
            && kept_bytes + bytes <= self.limits.max_bytes;
        if admit == Admit::WithinLimits && !fits {
            return Err(QueueError::Full);
        }
        self.reserve(bytes, admit)?;
        Ok(Stored { seqs: shard.append(uid, batch) })
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        Ok(self.shard(uid).log(uid).map_or_else(Page::default, |log| log.page(after, limit)))
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<(), QueueError> {
        let removed = self.shard(uid).ack(uid, upto, fence)?;
        self.release(&removed);
        Ok(())
    }

    async fn len(&self, uid: &Uid) -> Result<u64, QueueError> {
        Ok(self.shard(uid).log(uid).map_or(0, Log::messages))
    }

    async fn sweep(&self, now: u64, budget: usize) -> Result<Swept, QueueError> {
        let mut swept = Swept::default();
        let start = self.sweep_from.fetch_add(1, Ordering::Relaxed);
        for index in 0..SHARDS {
            let mut shard = lock(&self.shards[start.wrapping_add(index) % SHARDS]);
            while shard.is_due(now) {
                if swept.expired.len() == budget {
                    swept.more = true;
                    break;
                }
                swept.expired.extend(shard.take_due());
            }
            if swept.more {
                break;
            }
        }
        self.release(swept.expired.iter().map(|(_, entry)| entry));
        Ok(swept)
    }

    fn caps(&self) -> Caps {
        Caps {
            durable: false,
            shared: false,
            max_messages: self.limits.max_messages,
            max_bytes: self.limits.max_bytes,
        }
    }

    /// As provided by the trait, in one step: callers at the same time never get the same entry.
    async fn dequeue(&self, uid: &Uid, fence: Epoch) -> Result<Option<Entry>, QueueError> {
        let taken = {
            let mut shard = self.shard(uid);
            let Some(oldest) = shard.log(uid).and_then(Log::oldest) else { return Ok(None) };
            shard.ack(uid, oldest, fence)?
        };
        self.release(&taken);
        Ok(taken.into_iter().next())
    }
}
