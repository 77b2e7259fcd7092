use std::{collections::BTreeMap, sync::OnceLock};

use async_trait::async_trait;

use crate::{
    Epoch, Queue, Uid,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    rt::{Clock, Instant},
    sync::Mutex,
};

/// The contract of [`Queue`] written down as plainly as possible: what others are compared with, and what the
/// simulator stores in.
///
/// It never forgets a user, and one lock guards everything: it is for tests, not for servers. Its time stands still
/// until a hub provides a clock.
///
/// ```
/// use tok_core::{Queue, queue::Caps, testkit::queue::ReferenceQueue};
///
/// // In a simulation the queue outlives the nodes, and they share it.
/// let caps = Caps { durable: true, shared: true, max_messages: 10, max_bytes: 10_000, max_message: None };
/// assert_eq!(ReferenceQueue::with_caps(caps).caps(), caps);
/// ```
#[derive(Debug)]
pub struct ReferenceQueue {
    caps: Caps,
    clock: OnceLock<Clock>,
    pub(super) users: Mutex<BTreeMap<Uid, User>>,
}

#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) entries: Vec<Item>,
    pub(super) last_seq: u64,
    pub(super) fence: Epoch,
}

impl User {
    pub(super) fn bytes(&self) -> u64 {
        cost(self.entries.iter().map(|item| &item.entry))
    }

    pub(super) fn push(&mut self, entry: Entry, now: Instant) -> Seq {
        self.last_seq += 1;
        let seq = Seq::new(self.last_seq);
        let expires_at = entry.ttl.map(|ttl| now.saturating_add(ttl));
        self.entries.push(Item { seq, entry, expires_at });
        seq
    }

    pub(super) fn size(&self) -> QueueSize {
        QueueSize { messages: self.entries.len() as u64, bytes: self.bytes() }
    }
}

/// An entry as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) seq: Seq,
    /// As it was enqueued.
    pub(super) entry: Entry,
    pub(super) expires_at: Option<Instant>,
}

impl Item {
    /// The entry with the time that is left.
    pub(super) fn at(&self, now: Instant) -> Entry {
        Entry { ttl: self.expires_at.map(|at| at.saturating_since(now)), ..self.entry.clone() }
    }
}

pub(super) fn cost<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    entries.map(|entry| entry.cost() as u64).sum()
}

impl ReferenceQueue {
    /// A queue in memory with room for 1000 messages and 8 MiB a user.
    #[must_use]
    pub fn new() -> Self {
        Self::with_caps(Caps {
            durable: false,
            shared: false,
            max_messages: 1000,
            max_bytes: 8 * 1024 * 1024,
            max_message: None,
        })
    }

    /// A queue that has these limits and says that it is what they say.
    #[must_use]
    pub fn with_caps(caps: Caps) -> Self {
        Self { caps, clock: OnceLock::new(), users: Mutex::new(BTreeMap::new()) }
    }

    /// What a user's queue holds up to `upto`.
    pub(crate) fn upto(&self, uid: &Uid, upto: Seq) -> Vec<Entry> {
        let users = self.users.lock();
        let items = users.get(uid).map_or(&[][..], |user| &user.entries);
        items.iter().take_while(|item| item.seq <= upto).map(|item| item.entry.clone()).collect()
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.get().map_or_else(Instant::default, Clock::now)
    }
}

impl Default for ReferenceQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Queue for ReferenceQueue {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        let largest = batch.iter().map(|entry| entry.data.len()).max().unwrap_or(0);
        if let Some(limit) = self.caps.max_message.filter(|limit| largest > *limit) {
            return Err(QueueError::TooBig { bytes: largest, limit });
        }
        let mut users = self.users.lock();
        let user = users.entry(uid.clone()).or_default();
        let messages = (user.entries.len() + batch.len()) as u64;
        let bytes = user.bytes() + cost(batch.iter());
        let fits = messages <= self.caps.max_messages && bytes <= self.caps.max_bytes;
        if admit == Admit::WithinLimits && !batch.is_empty() && !fits {
            return Err(QueueError::Full);
        }
        let now = self.now();
        Ok(Stored { seqs: batch.iter().map(|entry| user.push(entry.clone(), now)).collect() })
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        let users = self.users.lock();
        let mut page = Page::default();
        let Some(user) = users.get(uid) else { return Ok(page) };
        let mut bytes = 0;
        let now = self.now();
        for item in user.entries.iter().filter(|item| item.seq > after) {
            bytes += item.entry.cost();
            let fits = page.entries.len() < limit.messages && bytes <= limit.bytes;
            if !fits && !page.entries.is_empty() {
                page.more = true;
                break;
            }
            page.entries.push((item.seq, item.at(now)));
        }
        Ok(page)
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        let mut users = self.users.lock();
        let user = users.entry(uid.clone()).or_default();
        if fence < user.fence {
            return Err(QueueError::Fenced { current: user.fence });
        }
        user.fence = fence;
        user.entries.retain(|item| item.seq > upto);
        Ok(user.size())
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        Ok(self.users.lock().get(uid).map_or_else(QueueSize::default, User::size))
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        let now = self.now();
        let mut users = self.users.lock();
        let mut swept = Swept::default();
        for (uid, user) in users.iter_mut() {
            user.entries.retain(|item| {
                let entry = item.at(now);
                if !entry.is_expired() {
                    return true;
                }
                if swept.expired.len() == budget {
                    swept.more = true;
                    return true;
                }
                swept.expired.push((uid.clone(), entry));
                false
            });
        }
        Ok(swept)
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn use_clock(&self, clock: &Clock) {
        let _ = self.clock.set(clock.clone());
    }
}
