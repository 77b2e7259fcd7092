use std::collections::{BTreeMap, HashMap};

use tok_core::{
    Epoch, Uid,
    queue::{Entry, QueueError, QueueSize, Seq},
};

use super::log::{Item, Log};

/// A part of the users, behind one lock.
#[derive(Default)]
pub(super) struct Shard {
    /// Users with entries. Uids can be of an attacker's choice: the hasher is the standard one, seeded at random.
    logs: HashMap<Uid, Log>,
    /// Whose entry expires when, in nanoseconds on the queue's clock; exactly the entries that expire.
    due: BTreeMap<(u64, Seq), Uid>,
    messages: u64,
    /// One count for all users of the shard, so that none has to be remembered for its positions never to come again.
    last_seq: u64,
}

impl Shard {
    pub(super) fn users(&self) -> u64 {
        self.logs.len() as u64
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn log(&self, uid: &Uid) -> Option<&Log> {
        self.logs.get(uid)
    }

    /// Appends a batch, which is not empty.
    pub(super) fn append(&mut self, uid: &Uid, batch: &[Entry], now: u64) -> Vec<Seq> {
        self.messages += batch.len() as u64;
        let log = self.logs.entry(uid.clone()).or_default();
        let mut append = |entry: &Entry| {
            self.last_seq += 1;
            let seq = Seq::new(self.last_seq);
            let item = Item::new(entry, now);
            if let Some(at) = item.expires {
                self.due.insert((at, seq), uid.clone());
            }
            log.push(seq, item);
            seq
        };
        batch.iter().map(&mut append).collect()
    }

    /// Removes entries up to and including `upto` and returns them, to be dropped without the lock, and what remains.
    pub(super) fn ack(
        &mut self,
        uid: &Uid,
        upto: Seq,
        fence: Epoch,
    ) -> Result<(Vec<Item>, QueueSize), QueueError> {
        let Some(log) = self.logs.get_mut(uid) else { return Ok((Vec::new(), QueueSize::default())) };
        if fence < log.fence {
            return Err(QueueError::Fenced { current: log.fence });
        }
        log.fence = fence;
        let removed = log.take_upto(upto);
        let remains = log.size();
        if log.is_empty() {
            self.forget(uid);
        }
        self.messages -= removed.len() as u64;
        for (seq, item) in &removed {
            if let Some(at) = item.expires {
                self.due.remove(&(at, *seq));
            }
        }
        Ok((removed.into_iter().map(|(_, item)| item).collect(), remains))
    }

    /// Returns true if an entry expired at or before `now`.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.due.first_key_value().is_some_and(|((at, _), _)| *at <= now)
    }

    /// Removes the entry that is due first.
    pub(super) fn take_due(&mut self) -> Option<(Uid, Item)> {
        let ((_, seq), uid) = self.due.pop_first()?;
        let log = self.logs.get_mut(&uid)?;
        let item = log.take(seq)?;
        if log.is_empty() {
            self.forget(&uid);
        }
        self.messages -= 1;
        Some((uid, item))
    }

    fn forget(&mut self, uid: &Uid) {
        self.logs.remove(uid);
        // A map keeps its size otherwise: a rush of users would be remembered in memory for good.
        if self.logs.capacity() > 8 * self.logs.len() + 64 {
            self.logs.shrink_to(2 * self.logs.len());
        }
    }
}
