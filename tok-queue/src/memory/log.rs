use std::{collections::VecDeque, mem, time::Duration};

use bytes::Bytes;
use tok_core::{
    Epoch, MessageId, MessageKind,
    queue::{Entry, Limit, Page, QueueSize, Seq},
};

/// One user's entries, by position.
///
/// What expires among others leaves a gap, so that taking it moves nothing. Gaps are never first or last, and never
/// more than the entries and a few: clearing them is paid for by those that made them.
#[derive(Default)]
pub(super) struct Log {
    slots: VecDeque<(Seq, Option<Item>)>,
    messages: usize,
    bytes: u64,
    pub(super) fence: Epoch,
}

/// An entry as it is kept.
pub(super) struct Item {
    id: MessageId,
    kind: MessageKind,
    data: Bytes,
    /// When it expires, in nanoseconds on the queue's clock.
    pub(super) expires: Option<u64>,
}

impl Item {
    /// `now` is the time on the queue's clock, in nanoseconds.
    pub(super) fn new(entry: &Entry, now: u64) -> Self {
        let expires = entry.ttl.map(|ttl| now.saturating_add(super::nanos(ttl)));
        Self { id: entry.id, kind: entry.kind, data: entry.data.clone(), expires }
    }

    /// The entry with the time that is left.
    pub(super) fn at(&self, now: u64) -> Entry {
        let ttl = self.expires.map(|at| Duration::from_nanos(at.saturating_sub(now)));
        Entry { id: self.id, kind: self.kind, data: self.data.clone(), ttl }
    }

    pub(super) fn cost(&self) -> u64 {
        (self.data.len() + Entry::OVERHEAD) as u64
    }
}

/// Gaps, and unused places, that are not worth clearing up.
const SLACK: usize = 16;

impl Log {
    pub(super) fn messages(&self) -> u64 {
        self.messages as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn size(&self) -> QueueSize {
        QueueSize { messages: self.messages(), bytes: self.bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(super) fn oldest(&self) -> Option<Seq> {
        self.slots.front().map(|(seq, _)| *seq)
    }

    /// Appends an entry; `seq` is higher than all before.
    pub(super) fn push(&mut self, seq: Seq, item: Item) {
        if self.slots.is_empty() {
            // Most users who are away have one message waiting; growth would begin with room for four.
            self.slots.reserve_exact(1);
        }
        self.messages += 1;
        self.bytes += item.cost();
        self.slots.push_back((seq, Some(item)));
    }

    pub(super) fn page(&self, after: Seq, limit: Limit, now: u64) -> Page {
        let mut page = Page::default();
        let mut room = limit.bytes as u64;
        let items = self.slots.range(self.end_of(after)..);
        for (seq, item) in items.filter_map(|(seq, item)| Some((*seq, item.as_ref()?))) {
            let left = room.checked_sub(item.cost());
            let fits = left.is_some() && page.entries.len() < limit.messages;
            if !fits && !page.entries.is_empty() {
                page.more = true;
                break;
            }
            room = left.unwrap_or(0);
            page.entries.push((seq, item.at(now)));
        }
        page
    }

    /// Takes out the entries up to and including `upto`.
    pub(super) fn take_upto(&mut self, upto: Seq) -> Vec<(Seq, Item)> {
        let end = self.end_of(upto);
        let taken: Vec<_> = self.slots.drain(..end).filter_map(|(seq, item)| Some((seq, item?))).collect();
        self.messages -= taken.len();
        self.bytes -= taken.iter().map(|(_, item)| item.cost()).sum::<u64>();
        self.tidy();
        taken
    }

    /// Takes out the entry at `seq`.
    pub(super) fn take(&mut self, seq: Seq) -> Option<Item> {
        let index = self.slots.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        let item = mem::take(&mut self.slots[index].1)?;
        self.messages -= 1;
        self.bytes -= item.cost();
        self.tidy();
        Some(item)
    }

    /// How many slots are at or before `seq`.
    fn end_of(&self, seq: Seq) -> usize {
        self.slots.partition_point(|(at, _)| *at <= seq)
    }

    fn tidy(&mut self) {
        while self.slots.front().is_some_and(|(_, item)| item.is_none()) {
            self.slots.pop_front();
        }
        while self.slots.back().is_some_and(|(_, item)| item.is_none()) {
            self.slots.pop_back();
        }
        if self.slots.len() > 2 * self.messages + SLACK {
            self.slots.retain(|(_, item)| item.is_some());
        }
        if self.slots.capacity() > 4 * self.slots.len() + SLACK {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }
}
