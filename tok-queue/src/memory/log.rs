use std::{collections::VecDeque, mem};

use tok_core::{
    Epoch,
    queue::{Entry, Limit, Page, Seq},
};

/// One user's entries, by position.
///
/// What expires among others leaves a gap, so that taking it moves nothing. Gaps are never first or last, and never
/// more than the entries and a few: clearing them is paid for by those that made them.
#[derive(Default)]
pub(super) struct Log {
    slots: VecDeque<(Seq, Option<Entry>)>,
    messages: usize,
    bytes: u64,
    pub(super) fence: Epoch,
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

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(super) fn oldest(&self) -> Option<Seq> {
        self.slots.front().map(|(seq, _)| *seq)
    }

    /// Appends an entry; `seq` is higher than all before.
    pub(super) fn push(&mut self, seq: Seq, entry: Entry) {
        if self.slots.is_empty() {
            // Most users who are away have one message waiting; growth would begin with room for four.
            self.slots.reserve_exact(1);
        }
        self.messages += 1;
        self.bytes += entry.cost() as u64;
        self.slots.push_back((seq, Some(entry)));
    }

    pub(super) fn page(&self, after: Seq, limit: Limit) -> Page {
        let mut page = Page::default();
        let mut room = limit.bytes;
        let entries = self.slots.range(self.end_of(after)..);
        for (seq, entry) in entries.filter_map(|(seq, entry)| Some((*seq, entry.as_ref()?))) {
            let left = room.checked_sub(entry.cost());
            let fits = left.is_some() && page.entries.len() < limit.messages;
            if !fits && !page.entries.is_empty() {
                page.more = true;
                break;
            }
            room = left.unwrap_or(0);
            page.entries.push((seq, entry.clone()));
        }
        page
    }

    /// Takes out the entries up to and including `upto`.
    pub(super) fn take_upto(&mut self, upto: Seq) -> Vec<(Seq, Entry)> {
        let end = self.end_of(upto);
        let taken: Vec<_> = self.slots.drain(..end).filter_map(|(seq, entry)| Some((seq, entry?))).collect();
        self.messages -= taken.len();
        self.bytes -= super::cost(taken.iter().map(|(_, entry)| entry));
        self.tidy();
        taken
    }

    /// Takes out the entry at `seq`.
    pub(super) fn take(&mut self, seq: Seq) -> Option<Entry> {
        let index = self.slots.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        let entry = mem::take(&mut self.slots[index].1)?;
        self.messages -= 1;
        self.bytes -= entry.cost() as u64;
        self.tidy();
        Some(entry)
    }

    /// How many slots are at or before `seq`.
    fn end_of(&self, seq: Seq) -> usize {
        self.slots.partition_point(|(at, _)| *at <= seq)
    }

    fn tidy(&mut self) {
        while self.slots.front().is_some_and(|(_, entry)| entry.is_none()) {
            self.slots.pop_front();
        }
        while self.slots.back().is_some_and(|(_, entry)| entry.is_none()) {
            self.slots.pop_back();
        }
        if self.slots.len() > 2 * self.messages + SLACK {
            self.slots.retain(|(_, entry)| entry.is_some());
        }
        if self.slots.capacity() > 4 * self.slots.len() + SLACK {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }
}
