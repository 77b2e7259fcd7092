use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::{
    Epoch, Queue, Uid,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, Seq, Stored, Swept},
    sync::Mutex,
};

/// The contract of [`Queue`] written down as plainly as possible: what others are compared with, and what the
/// simulator stores in.
///
/// It never forgets a user, and one lock guards everything: it is for tests, not for servers.
///
/// ```
/// use tok_core::{Queue, queue::Caps, testkit::queue::ReferenceQueue};
///
/// // In a simulation the queue outlives the nodes, and they share it.
/// let caps = Caps { durable: true, shared: true, max_messages: 10, max_bytes: 10_000 };
/// assert_eq!(ReferenceQueue::with_caps(caps).caps(), caps);
/// ```
#[derive(Debug)]
pub struct ReferenceQueue {
    caps: Caps,
    pub(super) users: Mutex<BTreeMap<Uid, User>>,
}

#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) entries: Vec<(Seq, Entry)>,
    pub(super) last_seq: u64,
    pub(super) fence: Epoch,
}

impl User {
    pub(super) fn bytes(&self) -> u64 {
        cost(self.entries.iter().map(|(_, entry)| entry))
    }

    pub(super) fn push(&mut self, entry: Entry) -> Seq {
        self.last_seq += 1;
        let seq = Seq::new(self.last_seq);
        self.entries.push((seq, entry));
        seq
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
        })
    }

    /// A queue that has these limits and says that it is what they say.
    #[must_use]
    pub fn with_caps(caps: Caps) -> Self {
        Self { caps, users: Mutex::new(BTreeMap::new()) }
    }

    /// What a user's queue holds up to `upto`.
    pub(crate) fn upto(&self, uid: &Uid, upto: Seq) -> Vec<Entry> {
        let users = self.users.lock();
        let entries = users.get(uid).map_or(&[][..], |user| &user.entries);
        entries.iter().take_while(|(seq, _)| *seq <= upto).map(|(_, entry)| entry.clone()).collect()
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
        let mut users = self.users.lock();
        let user = users.entry(uid.clone()).or_default();
        let messages = (user.entries.len() + batch.len()) as u64;
        let bytes = user.bytes() + cost(batch.iter());
        let fits = messages <= self.caps.max_messages && bytes <= self.caps.max_bytes;
        if admit == Admit::WithinLimits && !batch.is_empty() && !fits {
            return Err(QueueError::Full);
        }
        Ok(Stored { seqs: batch.iter().map(|entry| user.push(entry.clone())).collect() })
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        let users = self.users.lock();
        let mut page = Page::default();
        let Some(user) = users.get(uid) else { return Ok(page) };
        let mut bytes = 0;
        for (seq, entry) in user.entries.iter().filter(|(seq, _)| *seq > after) {
            bytes += entry.cost();
            let fits = page.entries.len() < limit.messages && bytes <= limit.bytes;
            if !fits && !page.entries.is_empty() {
                page.more = true;
                break;
            }
            page.entries.push((*seq, entry.clone()));
        }
        Ok(page)
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<(), QueueError> {
        let mut users = self.users.lock();
        let user = users.entry(uid.clone()).or_default();
        if fence < user.fence {
            return Err(QueueError::Fenced);
        }
        user.fence = fence;
        user.entries.retain(|(seq, _)| *seq > upto);
        Ok(())
    }

    async fn len(&self, uid: &Uid) -> Result<u64, QueueError> {
        Ok(self.users.lock().get(uid).map_or(0, |user| user.entries.len() as u64))
    }

    async fn sweep(&self, now: u64, budget: usize) -> Result<Swept, QueueError> {
        let mut users = self.users.lock();
        let mut swept = Swept::default();
        for (uid, user) in users.iter_mut() {
            user.entries.retain(|(_, entry)| {
                if !entry.is_expired(now) {
                    return true;
                }
                if swept.expired.len() == budget {
                    swept.more = true;
                    return true;
                }
                swept.expired.push((uid.clone(), entry.clone()));
                false
            });
        }
        Ok(swept)
    }

    fn caps(&self) -> Caps {
        self.caps
    }
}
