//! The seam to where messages wait: [`Queue`].

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Message, MessageId, MessageKind, Uid, error::BoxError, rt::Clock};

/// Keeps messages for users until they are confirmed: the front of each user's log.
///
/// # Contract
/// * Each user has a list of entries. [`enqueue`](Self::enqueue) appends; the sequence numbers it gives rise
///   strictly for one user and are never given again, also not after everything was acknowledged or swept, nor
///   after a restart of a durable queue.
/// * [`peek`](Self::peek) changes nothing. It returns every entry that is neither acknowledged nor swept. Expired
///   entries are included, with a TTL of zero, unless the queue's server has already removed them.
/// * [`ack`](Self::ack) is cumulative and idempotent.
/// * The queue measures TTLs on a clock that all users of the queue share: the clock of its server, or for a queue
///   inside this process the monotonic clock that [`use_clock`](Self::use_clock) provides. No operation reads the wall
///   clock of the caller.
/// * Operations on one user that do not overlap in time are seen in that order. The hub never runs two for one
///   user at once; different users' do run at the same time.
/// * No operation panics on any uid, size or number.
///
/// The suite in `tok_core::testkit::queue` checks this contract for an implementation.
///
/// # Errors and cancellation
/// See [`QueueError`]. An operation whose future is dropped may or may not take effect, but never in part.
///
/// ```
/// use tok_core::{
///     Uid,
///     queue::{Entry, Limit, NoQueue, Queue, QueueError, Seq},
/// };
///
/// async fn waiting(queue: &dyn Queue, uid: &Uid) -> Result<Vec<Entry>, QueueError> {
///     let page = queue.peek(uid, Seq::START, Limit::default()).await?;
///     Ok(page.entries.into_iter().map(|(_, entry)| entry).collect())
/// }
/// # let _ = waiting(&NoQueue, &Uid::from("alice"));
/// ```
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Appends a batch in order: all of it or nothing. The entries are stored, as [`Caps::durable`] promises, when
    /// it returns.
    ///
    /// Each entry's TTL starts with this call. It may be rounded up to the resolution of the queue's clock.
    ///
    /// # Errors
    /// [`QueueError::Full`] if the batch would pass a limit and `admit` asks for limits. [`QueueError::TooBig`] if the
    /// queue can never store an entry of this size. After [`QueueError::Unavailable`] the caller does not know whether
    /// the batch is stored.
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError>;

    /// Reads entries after `after`, oldest first, within `limit` but at least one if there is one. The TTL of each
    /// entry is the time that is left.
    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError>;

    /// Removes all entries up to and including `upto`. Returns what remains, as far as the queue knows without another
    /// request: a shared queue may leave out what other nodes have just stored.
    ///
    /// # Errors
    /// [`QueueError::Fenced`] if an ack of this user has carried a higher `fence`; nothing changes then.
    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError>;

    /// What the user's entries amount to, including expired entries that are not swept yet.
    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError>;

    /// Removes at most `budget` expired entries of any users and returns them.
    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError>;

    /// What this queue is and how much it takes.
    fn caps(&self) -> Caps;

    /// The bytes, by [`Entry::cost`], that the queue can still take for all users together. `None`, the default, if it
    /// does not know that at once, without a request.
    ///
    /// A hub that accepts messages before they are stored accepts no more than this.
    fn room(&self) -> Option<u64> {
        None
    }

    /// Provides the monotonic clock of the hub's runtime. The hub calls this once, when it is built, before any other
    /// operation. A queue inside this process measures TTLs by the first clock it receives, so that simulated and
    /// paused time apply to it too; until then it uses the machine's monotonic clock. A queue with a server ignores it.
    fn use_clock(&self, _clock: &Clock) {}

    /// Takes the oldest entry out, at most once: if the caller fails afterwards the entry is lost. The hub does not
    /// use it; it is here for applications that treat a queue as the Go original did.
    async fn dequeue(&self, uid: &Uid, fence: Epoch) -> Result<Option<Entry>, QueueError> {
        let page = self.peek(uid, Seq::START, Limit { messages: 1, bytes: usize::MAX }).await?;
        let Some((seq, entry)) = page.entries.into_iter().next() else { return Ok(None) };
        self.ack(uid, seq, fence).await?;
        Ok(Some(entry))
    }
}

/// The position of an entry in a user's queue. It rises from entry to entry, not always by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// Before every entry.
    pub const START: Self = Self(0);

    /// The position of this number; entries start at 1.
    #[must_use]
    pub const fn new(seq: u64) -> Self {
        Self(seq)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Orders the logins of a user: the higher is the newer, on whatever node. Acknowledgements carry it, so that a node
/// that lost a user cannot remove what the next one has yet to deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch of this number.
    #[must_use]
    pub const fn new(epoch: u64) -> Self {
        Self(epoch)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A message as a queue stores it.
#[derive(Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Entry {
    /// Its id, the same at every delivery.
    pub id: MessageId,
    /// Text or binary.
    pub kind: MessageKind,
    /// Its bytes.
    pub data: Bytes,
    /// The time left until it expires, zero if it has expired; `None` if it never does.
    pub ttl: Option<Duration>,
}

impl Entry {
    /// What an entry counts for beside its bytes where queues are bounded in bytes: about what keeping it takes.
    pub const OVERHEAD: usize = 128;

    /// What this entry counts for where queues are bounded in bytes.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.data.len() + Self::OVERHEAD
    }

    /// Returns true if no time is left.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.ttl.is_some_and(|ttl| ttl.is_zero())
    }

    /// The message within.
    #[must_use]
    pub fn to_message(&self) -> Message {
        Message::new(self.kind, self.data.clone()).with_id(self.id)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("bytes", &self.data.len())
            .field("ttl", &self.ttl)
            .finish()
    }
}

/// Whether a queue's limits apply to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admit {
    /// New messages: over the limits they are refused.
    WithinLimits,
    /// Messages whose sender has been told that they are kept: they are taken over the limits too.
    AlreadyAccepted,
}

/// How much to read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Limit {
    /// At most so many entries.
    pub messages: usize,
    /// At most so many bytes by [`Entry::cost`], save that the first entry always fits.
    pub bytes: usize,
}

impl Default for Limit {
    /// 256 entries and 256 KiB.
    fn default() -> Self {
        Self { messages: 256, bytes: 256 * 1024 }
    }
}

/// What [`Queue::enqueue`] stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Stored {
    /// The position of each entry of the batch.
    pub seqs: Vec<Seq>,
}

/// What one user's entries in a queue amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct QueueSize {
    /// The number of entries.
    pub messages: u64,
    /// Their bytes, by [`Entry::cost`].
    pub bytes: u64,
}

/// What [`Queue::peek`] read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Page {
    /// Entries in order.
    pub entries: Vec<(Seq, Entry)>,
    /// Whether there are entries after these.
    pub more: bool,
}

/// What [`Queue::sweep`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Swept {
    /// The entries, for the undelivered hook. Queues whose server drops expired entries by itself return none.
    pub expired: Vec<(Uid, Entry)>,
    /// Whether the budget ended the sweep.
    pub more: bool,
}

/// What a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Caps {
    /// Whether stored entries survive the end of the process.
    pub durable: bool,
    /// Whether other nodes see the same entries.
    pub shared: bool,
    /// Entries a user can have; 0 if the queue keeps nothing.
    pub max_messages: u64,
    /// Bytes a user's entries can have together, by [`Entry::cost`].
    pub max_bytes: u64,
    /// The largest message that the queue can store, in bytes of data; `None` if only the limits above apply. A hub
    /// whose `max_outgoing` is larger is refused when it is built.
    pub max_message: Option<usize>,
}

/// A queue operation failed. The same variants for every queue, by meaning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The batch would pass the limit on one user's entries or on the queue as a whole.
    #[error("the queue is full")]
    Full,
    /// The queue can never store an entry of this size.
    #[error("a message of {bytes} bytes is over the {limit} that the queue can store")]
    TooBig {
        /// The size of the largest entry's data, in bytes.
        bytes: usize,
        /// The most that the queue can store, in bytes.
        limit: usize,
    },
    /// An acknowledgement of this user has carried a higher epoch: a newer login of the user, here or on another node,
    /// has taken over, or the caller's epochs began too low.
    #[error("an acknowledgement with a newer epoch was made for this user")]
    Fenced {
        /// The epoch that the acknowledgement must not be below.
        current: Epoch,
    },
    /// This is no queue.
    #[error("messages are not kept")]
    NotKept,
    /// The queue's storage or server failed; trying again later can help.
    #[error("the queue cannot be reached")]
    Unavailable(#[source] BoxError),
}

/// Keeps nothing: a hub without a queue. A message with a TTL is sent to a user who is online, and the send returns when
/// it is confirmed; otherwise it is refused.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct NoQueue;

#[async_trait]
impl Queue for NoQueue {
    async fn enqueue(&self, _: &Uid, _: &[Entry], _: Admit) -> Result<Stored, QueueError> {
        Err(QueueError::NotKept)
    }

    async fn peek(&self, _: &Uid, _: Seq, _: Limit) -> Result<Page, QueueError> {
        Ok(Page::default())
    }

    async fn ack(&self, _: &Uid, _: Seq, _: Epoch) -> Result<QueueSize, QueueError> {
        Ok(QueueSize::default())
    }

    async fn size(&self, _: &Uid) -> Result<QueueSize, QueueError> {
        Ok(QueueSize::default())
    }

    async fn sweep(&self, _: usize) -> Result<Swept, QueueError> {
        Ok(Swept::default())
    }

    fn caps(&self) -> Caps {
        Caps { durable: false, shared: true, max_messages: 0, max_bytes: 0, max_message: None }
    }
}

macro_rules! forward {
    ($($pointer:ty)*) => {$(
        #[async_trait]
        impl<Q: Queue + ?Sized> Queue for $pointer {
            async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
                (**self).enqueue(uid, batch, admit).await
            }
            async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
                (**self).peek(uid, after, limit).await
            }
            async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
                (**self).ack(uid, upto, fence).await
            }
            async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
                (**self).size(uid).await
            }
            async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
                (**self).sweep(budget).await
            }
            fn use_clock(&self, clock: &Clock) {
                (**self).use_clock(clock);
            }
            fn caps(&self) -> Caps {
                (**self).caps()
            }
            fn room(&self) -> Option<u64> {
                (**self).room()
            }
            async fn dequeue(&self, uid: &Uid, fence: Epoch) -> Result<Option<Entry>, QueueError> {
                (**self).dequeue(uid, fence).await
            }
        }
    )*};
}

forward!(Arc<Q> Box<Q>);

impl fmt::Debug for dyn Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.caps()).finish()
    }
}
