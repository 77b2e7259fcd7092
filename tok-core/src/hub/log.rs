use std::{collections::VecDeque, sync::Arc};

use super::packet::Packet;
use crate::{
    collections::shrink_queue,
    queue::{QueueSize, Seq},
    rt::Instant,
};

/// A place in a user's log. What is stored has a [`Seq`]; what passed through memory has a position of this process,
/// which rises by one from message to message. An entry can have both, and the two orders agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) seq: Seq,
    pub(crate) pos: u64,
}

impl Cursor {
    pub(crate) fn advance(&mut self, to: Self) {
        self.seq = self.seq.max(to.seq);
        self.pos = self.pos.max(to.pos);
    }

    pub(crate) fn passes(self, other: Self) -> bool {
        self.seq > other.seq || self.pos > other.pos
    }
}

/// What of a user's log a message that is not kept follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum After {
    /// Sent here: all that this node's log had then. The sequence is what the queue was last known to hold before that,
    /// the highest there is where nobody has known yet.
    Here(Cursor),
    /// Sent on another node: what that node had stored.
    Elsewhere(Seq),
}

impl After {
    /// Whether it goes before the entry at `next`, for a session that has been given all before that, up to `fed`.
    pub(crate) fn precedes(self, next: Cursor, fed: Cursor) -> bool {
        match self {
            // Both passed through this log.
            Self::Here(last) if next.pos > 0 => last.pos < next.pos,
            Self::Here(last) => last.seq < next.seq && last.pos <= fed.pos,
            Self::Elsewhere(last) => next.seq == Seq::START || last < next.seq,
        }
    }

    /// Whether a session that has been given all up to `fed` has all that it follows.
    pub(crate) fn is_reached(self, fed: Cursor) -> bool {
        match self {
            Self::Here(last) => last.seq <= fed.seq && last.pos <= fed.pos,
            Self::Elsewhere(last) => last <= fed.seq,
        }
    }
}

/// The back of a user's log: what is in memory, and what is known of the front, which the queue holds.
///
/// Everything stored that is not here precedes everything that is here. Entries leave from the front when they are
/// confirmed, or once they are stored.
#[derive(Debug, Default)]
pub(crate) struct Log {
    back: VecDeque<LogEntry>,
    back_bytes: usize,
    /// Position and sequence of entries that left memory for the queue and are not confirmed: what a session that
    /// was given them from memory confirms by position has to be acknowledged by sequence.
    moved: VecDeque<(u64, Seq)>,
    last_pos: u64,
    /// The last stored entry before `back`; `None` until the queue has been asked.
    stored_tail: Option<Seq>,
    /// What it was when it was forgotten last.
    tail_was: Option<Seq>,
    /// What other nodes said that they have stored. A reading of the queue may be older than that.
    told_tail: Seq,
    /// How often the end was forgotten.
    forgotten: u64,
    /// How many of the last entries wait to be stored or accepted, and their bytes.
    waiting: usize,
    waiting_bytes: usize,
    /// Bytes of entries that are accepted and not stored.
    unstored_bytes: usize,
    /// What the queue holds, once it has been asked.
    stored_size: Option<QueueSize>,
    confirmed: Cursor,
    acked: Seq,
}

/// The end of the stored part as it was known when a page was asked for: what is stored while it is read may not be on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) tail: Option<Seq>,
    forgotten: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct LogEntry {
    pub(crate) pos: u64,
    pub(crate) seq: Option<Seq>,
    /// The sender has been told that the message is kept.
    pub(crate) accepted: bool,
    pub(crate) packet: Arc<Packet>,
}

impl LogEntry {
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { seq: self.seq.unwrap_or_default(), pos: self.pos }
    }
}

impl Log {
    /// Appends a message and returns its position.
    pub(crate) fn append(&mut self, packet: Arc<Packet>, accepted: bool) -> u64 {
        self.last_pos += 1;
        let cost = packet.cost();
        self.back_bytes += cost;
        if accepted {
            self.unstored_bytes += cost;
        } else {
            self.waiting += 1;
            self.waiting_bytes += cost;
        }
        self.back.push_back(LogEntry { pos: self.last_pos, seq: None, accepted, packet });
        self.last_pos
    }

    /// What a message that is sent here now follows.
    pub(crate) fn end(&self) -> After {
        // While the queue is looked into again, which can take as long as it is away: what others may have stored without
        // a word, senders here do not follow.
        let tail = self.stored_tail.or(self.tail_was).unwrap_or(Seq::new(u64::MAX));
        // Not the last position given, which may have been refused since.
        let last = self.back.back().map(|entry| entry.pos).or(self.moved.back().map(|(pos, _)| *pos));
        After::Here(Cursor { seq: tail, pos: last.unwrap_or_default() })
    }

    pub(crate) fn confirmed(&self) -> Cursor {
        self.confirmed
    }

    /// What is kept for the user, in memory and in the queue; `None` until the queue has been asked.
    pub(crate) fn kept(&self) -> Option<QueueSize> {
        self.stored_size.map(|stored| QueueSize {
            messages: stored.messages + (self.unstored() - self.waiting) as u64,
            bytes: stored.bytes + self.unstored_bytes as u64,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.back_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.back.is_empty()
    }

    /// How many messages wait to be stored or accepted, and their bytes. They are the last of the log.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.waiting, self.waiting_bytes)
    }

    /// The messages whose senders wait to learn that they are stored.
    pub(crate) fn all_waiting(&self) -> Vec<LogEntry> {
        self.back.range(self.back.len() - self.waiting..).cloned().collect()
    }

    pub(crate) fn first_waiting(&self) -> Option<&LogEntry> {
        self.back.get(self.back.len() - self.waiting).filter(|_| self.waiting > 0)
    }

    /// Whether a session that has been given all up to `fed` has everything before the first message that waits.
    pub(crate) fn is_given_all(&self, fed: Cursor) -> bool {
        let last = (self.back.len() - self.waiting).checked_sub(1).and_then(|index| self.back.get(index));
        !self.has_stored_after(fed.seq) && last.is_none_or(|last| last.pos <= fed.pos)
    }

    /// The first message that waits is kept in memory.
    pub(crate) fn accept_first(&mut self) {
        let index = self.back.len() - self.waiting;
        if let Some(entry) = self.back.get_mut(index) {
            entry.accepted = true;
            let cost = entry.packet.cost();
            self.waiting -= 1;
            self.waiting_bytes -= cost;
            self.unstored_bytes += cost;
        }
    }

    /// Whether there are messages in memory that are accepted and not stored.
    pub(crate) fn has_accepted(&self) -> bool {
        self.unstored() > self.waiting
    }

    pub(crate) fn unstored(&self) -> usize {
        // Stored entries come first.
        self.back.len() - self.back.partition_point(|entry| entry.seq.is_some())
    }

    /// Whether the queue may hold entries after `seq` that precede memory.
    pub(crate) fn has_stored_after(&self, seq: Seq) -> bool {
        self.stored_tail.is_none_or(|tail| tail > seq)
    }

    pub(crate) fn stored_tail(&self) -> Option<Seq> {
        self.stored_tail
    }

    /// The queue has been read to its end from a place before or at `tail`. What was known when the reading began says
    /// whether it is recent enough to count.
    pub(crate) fn know_stored_tail(&mut self, tail: Seq, begun: Known) {
        if begun.forgotten != self.forgotten {
            return;
        }
        let tail = tail.max(self.told_tail);
        self.stored_tail = Some(self.stored_tail.map_or(tail, |known| known.max(tail)));
    }

    /// Another node has stored up to `tail`. Where the end is not known yet, reading will find it.
    pub(crate) fn raise_stored_tail(&mut self, tail: Seq) {
        self.told_tail = self.told_tail.max(tail);
        self.stored_tail = self.stored_tail.map(|known| known.max(tail));
    }

    /// Somebody may have stored more without a word: reading will find the end.
    pub(crate) fn forget_stored_tail(&mut self) {
        self.tail_was = self.stored_tail.or(self.tail_was);
        self.stored_tail = None;
        self.forgotten += 1;
    }

    /// What a reading of the queue that begins now can count on.
    pub(crate) fn known(&self) -> Known {
        Known { tail: self.stored_tail, forgotten: self.forgotten }
    }

    /// The highest sequence that is known to be stored, `START` if none is known.
    pub(crate) fn last_known_seq(&self) -> Seq {
        let in_memory = self.back.iter().rev().find_map(|entry| entry.seq);
        let moved = self.moved.back().map(|(_, seq)| *seq);
        let known = [in_memory, moved, self.stored_tail, self.tail_was];
        known.into_iter().flatten().fold(self.confirmed.seq, Seq::max)
    }

    /// Where memory starts, if what is there is stored too: pages of the queue end before it.
    pub(crate) fn first_seq(&self) -> Option<Seq> {
        self.back.front().and_then(|entry| entry.seq)
    }

    pub(crate) fn know_stored_size(&mut self, size: QueueSize) {
        self.stored_size = Some(size);
    }

    pub(crate) fn knows_stored_size(&self) -> bool {
        self.stored_size.is_some()
    }

    /// The queue may hold more than was known: it has to be asked.
    pub(crate) fn forget_stored_size(&mut self) {
        self.stored_size = None;
    }

    /// Entries in memory after `pos`, oldest first.
    pub(crate) fn after(&self, pos: u64) -> impl Iterator<Item = &LogEntry> {
        let start = match self.back.back() {
            Some(last) if last.pos <= pos => self.back.len(),
            Some(_) => self.back.partition_point(|entry| entry.pos <= pos),
            None => 0,
        };
        self.back.range(start..)
    }

    /// The next entries to store, all accepted or none: at most `messages`, and as many as fit in `bytes`.
    pub(crate) fn unstored_batch(&self, messages: usize, bytes: usize) -> Vec<LogEntry> {
        let start = self.back.len() - self.unstored();
        let mut left = bytes;
        let mut batch: Vec<LogEntry> = Vec::new();
        for entry in self.back.range(start..).take(messages) {
            let cost = entry.packet.cost();
            let same = batch.first().is_none_or(|first| first.accepted == entry.accepted);
            if !same || (cost > left && !batch.is_empty()) {
                break;
            }
            left = left.saturating_sub(cost);
            batch.push(entry.clone());
        }
        batch
    }

    /// Notes that entries are stored now. Those that were confirmed meanwhile are due to be acknowledged. `is_handed` says
    /// which of the others sessions were given all the same.
    pub(crate) fn stored(&mut self, batch: &[LogEntry], seqs: &[Seq], is_handed: impl Fn(u64) -> bool) {
        let stored = batch.iter().zip(seqs);
        if let Some(size) = &mut self.stored_size {
            size.messages += seqs.len() as u64;
            size.bytes += stored.clone().map(|(entry, _)| entry.packet.cost() as u64).sum::<u64>();
        }
        for (entry, seq) in stored {
            let index = self.back.partition_point(|other| other.pos < entry.pos);
            match self.back.get(index) {
                Some(here) if here.pos == entry.pos => {
                    let here = here.clone();
                    self.uncount(&here);
                    self.back_bytes += here.packet.cost();
                    self.back[index].seq = Some(*seq);
                }
                // All before it is stored, too.
                _ if is_handed(entry.pos) => {
                    self.back_bytes += entry.packet.cost();
                    self.back.insert(index, LogEntry { seq: Some(*seq), accepted: true, ..entry.clone() });
                }
                // It was confirmed while it was being stored.
                _ if entry.pos <= self.confirmed.pos => {
                    self.confirmed.seq = self.confirmed.seq.max(*seq);
                }
                // It expired while it was being stored, and the queue's sweep will find it.
                _ => {}
            }
        }
    }

    /// Takes entries out that will never be stored or delivered.
    pub(crate) fn remove(&mut self, pos: u64) -> Option<LogEntry> {
        let index = self.back.partition_point(|entry| entry.pos < pos);
        self.back.get(index).filter(|entry| entry.pos == pos)?;
        let entry = self.back.remove(index)?;
        self.uncount(&entry);
        Some(entry)
    }

    /// Takes out of memory what has expired and is not stored.
    pub(crate) fn remove_expired(&mut self, now: Instant) -> Vec<LogEntry> {
        let expired = |entry: &LogEntry| entry.seq.is_none() && entry.packet.is_expired(now);
        if !self.back.iter().any(expired) {
            return Vec::new();
        }
        let (gone, back): (Vec<_>, _) = std::mem::take(&mut self.back).into_iter().partition(expired);
        self.back = back.into();
        gone.iter().for_each(|entry| self.uncount(entry));
        gone
    }

    /// Drops stored entries from memory, oldest first, until `keep` bytes are left.
    pub(crate) fn evict(&mut self, keep: usize) {
        while self.back_bytes > keep || keep == 0 {
            let Some(LogEntry { pos, seq: Some(seq), .. }) = self.back.front() else { break };
            let (pos, seq) = (*pos, *seq);
            self.moved.push_back((pos, seq));
            self.stored_tail = self.stored_tail.map(|tail| tail.max(seq));
            self.pop_front();
        }
        if self.back.is_empty() {
            self.back = VecDeque::new();
        }
    }

    /// Whether an entry that left memory for the queue had this position.
    pub(crate) fn pos_of(&self, seq: Seq) -> Option<u64> {
        let index = self.moved.binary_search_by_key(&seq, |(_, seq)| *seq).ok()?;
        self.moved.get(index).map(|(pos, _)| *pos)
    }

    /// Everything up to `cursor` is confirmed: it leaves memory, and the queue as soon as it is told.
    pub(crate) fn confirm(&mut self, cursor: Cursor) {
        self.confirmed.advance(cursor);
        while let Some(&(pos, seq)) = self.moved.front() {
            if pos > self.confirmed.pos && seq > self.confirmed.seq {
                break;
            }
            self.confirmed.advance(Cursor { seq, pos });
            self.moved.pop_front();
        }
        while let Some(front) = self.back.front() {
            let here = front.cursor();
            if here.pos > self.confirmed.pos && front.seq.is_none_or(|seq| seq > self.confirmed.seq) {
                break;
            }
            self.confirmed.advance(here);
            self.pop_front();
        }
        shrink_queue(&mut self.moved);
        shrink_queue(&mut self.back);
    }

    /// What the queue has yet to be told.
    pub(crate) fn ack_due(&self) -> Option<Seq> {
        (self.confirmed.seq > self.acked).then_some(self.confirmed.seq)
    }

    pub(crate) fn acked(&mut self, upto: Seq) {
        self.acked = self.acked.max(upto);
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.back.pop_front() {
            self.uncount(&entry);
        }
    }

    /// An entry leaves memory, or is stored from now on.
    fn uncount(&mut self, entry: &LogEntry) {
        let cost = entry.packet.cost();
        self.back_bytes -= cost;
        if entry.seq.is_none() {
            if entry.accepted {
                self.unstored_bytes -= cost;
            } else {
                self.waiting -= 1;
                self.waiting_bytes -= cost;
            }
            entry.packet.unreserve();
        }
    }
}
