//! What a write transaction does for one request after the other.
//!
//! Each operation reads and checks all it needs before it writes: one that finds the user's rows damaged, or the user's
//! queue full, has changed nothing, and the transaction goes on with the next.

use std::time::Duration;

use redb::{ReadableTable, WriteTransaction};
use tok_core::{
    Epoch, Uid,
    queue::{Admit, Entry, QueueError, QueueSize, Seq, Stored, Swept},
};

use super::{
    error::Failure,
    schema::{Head, Keys, Tables, Total, due_key, seq_of, seq_of_due},
    time::{Mark, millis},
};
use crate::record::{self, Header};

/// As of [`MemoryQueue`](crate::MemoryQueue).
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_messages: u64,
    pub(super) max_bytes: u64,
    pub(super) max_total_bytes: u64,
}

/// The outer error ends the transaction, the inner one is the caller's.
pub(super) type Done<T> = Result<Result<T, QueueError>, Failure>;

/// An entry and its deadline, in milliseconds of the file's time.
pub(super) type Timed = (Entry, Option<u64>);

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) upto: Seq,
    pub(super) fence: Epoch,
}

pub(super) struct Change<'txn> {
    tables: Tables<'txn>,
    total: Total,
    limits: Limits,
    opening: u64,
    /// What was acknowledged; all that it did if there is nothing else.
    acked: Vec<(Uid, Ack)>,
    /// Whether something must be durable before it is answered.
    durable: bool,
}

/// What came of a [`Change`].
pub(super) struct Changed {
    pub(super) acked: Vec<(Uid, Ack)>,
    pub(super) durable: bool,
}

impl<'txn> Change<'txn> {
    pub(super) fn begin(txn: &'txn WriteTransaction, limits: Limits, opening: u64) -> Result<Self, Failure> {
        let tables = Tables::open(txn)?;
        let total = Total::read(&tables.meta)?;
        Ok(Self { tables, total, limits, opening, acked: Vec::new(), durable: false })
    }

    /// Ends the work, before the commit.
    pub(super) fn finish(mut self, mark: Mark) -> Result<Changed, Failure> {
        if self.durable || !self.acked.is_empty() {
            self.total.write(&mut self.tables.meta)?;
            mark.write(&mut self.tables.meta)?;
        }
        Ok(Changed { acked: self.acked, durable: self.durable })
    }

    /// Appends a batch, which is not empty.
    pub(super) fn enqueue(&mut self, uid: &Uid, batch: &[Timed], admit: Admit) -> Done<Stored> {
        let keys = match (uid.check(), Keys::of(uid)) {
            (Ok(()), Some(keys)) => keys,
            (Err(invalid), _) => return Ok(Err(QueueError::Unavailable(Box::new(invalid)))),
            (Ok(()), None) => return Err(Failure::Row("log", "no key for a valid uid")),
        };
        let (messages, bytes) = (batch.len() as u64, cost(batch));
        let head = Head::read(&self.tables.log, &keys)?;
        let (is_new, mut head) = (head.is_none(), head.unwrap_or_default());
        let within = |kept: u64, more: u64, limit: u64| kept.saturating_add(more) <= limit;
        let fits = within(head.messages, messages, self.limits.max_messages)
            && within(head.bytes, bytes, self.limits.max_bytes)
            && within(self.total.bytes, bytes, self.limits.max_total_bytes);
        if admit == Admit::WithinLimits && !fits {
            return Ok(Err(QueueError::Full));
        }
        let Some(last_seq) = self.total.last_seq.checked_add(messages) else {
            return Err(Failure::Row("tok-queue", "no positions left"));
        };

        self.durable = true;
        let seqs = self.total.last_seq + 1..=last_seq;
        for (seq, (entry, deadline)) in seqs.clone().zip(batch) {
            self.tables.log.insert(keys.at(seq).as_slice(), record::encode(entry, *deadline).as_slice())?;
            if let Some(at) = deadline {
                self.tables.due.insert(due_key(*at, seq), uid.as_str().as_bytes())?;
            }
        }
        head.messages += messages;
        head.bytes += bytes;
        self.put(&keys, head)?;
        self.total.last_seq = last_seq;
        self.total.users += u64::from(is_new);
        self.total.messages += messages;
        self.total.bytes += bytes;
        Ok(Ok(Stored { seqs: seqs.map(Seq::new).collect() }))
    }

    /// Removes entries up to and including `upto`. Returns what remains.
    pub(super) fn ack(&mut self, uid: &Uid, ack: Ack) -> Done<QueueSize> {
        let Some(keys) = Keys::of(uid) else { return Ok(Ok(QueueSize::default())) };
        let Some(mut head) = Head::read(&self.tables.log, &keys)? else {
            return Ok(Ok(QueueSize::default()));
        };
        let fence = if head.opening == self.opening { head.fence } else { Epoch::default() };
        if ack.fence < fence {
            return Ok(Err(QueueError::Fenced { current: fence }));
        }
        // What comes later is not acknowledged by this, should it be done again.
        let upto = ack.upto.min(Seq::new(self.total.last_seq));
        let (mut gone, mut bytes) = (Vec::new(), 0);
        if upto > Seq::START {
            let (first, last) = (keys.at(1), keys.at(upto.get()));
            for row in self.tables.log.range(first.as_slice()..=last.as_slice())? {
                let (key, record) = row?;
                let header = Header::of(record.value())?;
                gone.push((seq_of(key.value())?, header.time));
                bytes += record_cost(record.value());
            }
        }
        if gone.is_empty() && ack.fence == fence {
            return Ok(Ok(head.size()));
        }
        let messages = gone.len() as u64;
        head = Head { fence: ack.fence, opening: self.opening, ..head };
        self.count_out(&mut head, messages, bytes)?;

        self.acked.push((uid.clone(), Ack { upto, fence: ack.fence }));
        for (seq, deadline) in gone {
            if let Some(at) = deadline {
                self.tables.due.remove(due_key(at, seq))?;
            }
            self.tables.log.remove(keys.at(seq).as_slice())?;
        }
        self.put(&keys, head)?;
        Ok(Ok(head.size()))
    }

    /// Takes the oldest entry out.
    pub(super) fn dequeue(&mut self, uid: &Uid, fence: Epoch, now: Duration) -> Done<Option<Entry>> {
        let Some(keys) = Keys::of(uid) else { return Ok(Ok(None)) };
        let (first, last) = (keys.at(1), keys.at(u64::MAX));
        let oldest = match self.tables.log.range(first.as_slice()..=last.as_slice())?.next().transpose()? {
            Some((key, record)) => (Seq::new(seq_of(key.value())?), super::read::entry(record.value(), now)?),
            None => return Ok(Ok(None)),
        };
        let (seq, entry) = oldest;
        if let Err(error) = self.ack(uid, Ack { upto: seq, fence })? {
            return Ok(Err(error));
        }
        // At most once: it must not come back.
        self.durable = true;
        Ok(Ok(Some(entry)))
    }

    /// Removes at most `budget` entries that have expired.
    pub(super) fn sweep(&mut self, now: Duration, budget: usize) -> Done<Swept> {
        let mut swept = Swept::default();
        let mut due = Vec::new();
        for row in self.tables.due.range(..=due_key(millis(now), u64::MAX))? {
            let (key, uid) = row?;
            if due.len() == budget {
                swept.more = true;
                break;
            }
            let uid =
                str::from_utf8(uid.value()).map_err(|_| Failure::Row("due", "a uid that is no text"))?;
            due.push((key.value(), Uid::from(uid)));
        }
        for (key, uid) in due {
            match self.remove(key, &uid, now) {
                Ok(entry) => swept.expired.push((uid, entry)),
                // What is removed must be told of; the next sweep starts with this one, and fails.
                Err(failure) if failure.is_of_one_user() && !swept.expired.is_empty() => {
                    swept.more = true;
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(Ok(swept))
    }

    /// Removes one entry that is due.
    fn remove(&mut self, due: u128, uid: &Uid, now: Duration) -> Result<Entry, Failure> {
        const LOST: Failure = Failure::Row("due", "a message that is not in the log");

        let keys = Keys::of(uid).ok_or(LOST)?;
        let key = keys.at(seq_of_due(due));
        let entry = match self.tables.log.get(key.as_slice())? {
            Some(record) => super::read::entry(record.value(), now)?,
            None => return Err(LOST),
        };
        let mut head = Head::read(&self.tables.log, &keys)?.ok_or(LOST)?;
        self.count_out(&mut head, 1, entry.cost() as u64)?;

        self.durable = true;
        self.tables.due.remove(due)?;
        self.tables.log.remove(key.as_slice())?;
        self.put(&keys, head)?;
        Ok(entry)
    }

    /// Counts entries out that leave.
    fn count_out(&mut self, head: &mut Head, messages: u64, bytes: u64) -> Result<(), Failure> {
        const WRONG: Failure = Failure::Row("log", "a head that counts less than there is");

        let total = Total {
            messages: self.total.messages.checked_sub(messages).ok_or(WRONG)?,
            bytes: self.total.bytes.checked_sub(bytes).ok_or(WRONG)?,
            ..self.total
        };
        head.messages = head.messages.checked_sub(messages).ok_or(WRONG)?;
        head.bytes = head.bytes.checked_sub(bytes).ok_or(WRONG)?;
        self.total = total;
        Ok(())
    }

    /// Writes a head, or forgets a user without messages.
    fn put(&mut self, keys: &Keys, head: Head) -> Result<(), Failure> {
        if head.messages > 0 {
            self.tables.log.insert(keys.head().as_slice(), head.encode().as_slice())?;
        } else {
            self.tables.log.remove(keys.head().as_slice())?;
            self.total.users = self.total.users.saturating_sub(1);
        }
        Ok(())
    }
}

fn cost(batch: &[Timed]) -> u64 {
    batch.iter().map(|(entry, _)| entry.cost() as u64).sum()
}

/// What the entry of a record costs.
pub(super) fn record_cost(record: &[u8]) -> u64 {
    (record.len().saturating_sub(record::HEADER) + Entry::OVERHEAD) as u64
}
