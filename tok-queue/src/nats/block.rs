//! What a message of the stream holds: one batch, so that a batch is stored as a whole or not at all.
//!
//! ```text
//! version u8 = 2 | blocks u64 | messages u64 | bytes u64 | (length u32 | record)...
//! ```
//! Numbers are big-endian. The three count what the user's blocks before this one held, since the first of a row
//! without a gap: from the last block and the first one follows how much there is, without reading those between.
//!
//! The time of a record is the entry's TTL, which begins at the time that the server gives the message. In version 1,
//! which is read and not written any more, it is the deadline, in milliseconds since the Unix epoch.

use std::time::Duration;

use bytes::{Buf, Bytes};
use tok_core::queue::{Entry, Seq};

use super::rpc::Failure;
use crate::record;

const VERSION: u8 = 2;
const WITH_DEADLINES: u8 = 1;
const HEADER: usize = 1 + 3 * 8;

/// What a block has beside the data of its one entry.
pub(super) const OVERHEAD: usize = HEADER + 4 + record::HEADER;

/// Positions of one block. Those of its entries are the last of them, so that the last entry of any block has the
/// highest: whether a position ends its block is known without reading it.
pub(super) const MAX_ENTRIES: u64 = 4096;

/// A batch in the stream.
#[derive(Debug)]
pub(super) struct Block {
    /// Its place in the stream.
    pub(super) seq: u64,
    /// What came before it.
    pub(super) before: Totals,
    /// With their whole TTLs.
    pub(super) entries: Vec<Entry>,
    /// When the TTLs began, by the server's clock, since the Unix epoch.
    begun: Duration,
}

/// Running sums over a user's blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) blocks: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Totals {
    pub(super) fn with(self, batch: &[Entry]) -> Self {
        Self { blocks: self.blocks.saturating_add(1), ..self.and(batch) }
    }

    /// As many entries more, without their block.
    pub(super) fn and<'a>(self, entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        entries.into_iter().fold(self, |sum, entry| Self {
            messages: sum.messages.saturating_add(1),
            bytes: sum.bytes.saturating_add(entry.cost() as u64),
            ..sum
        })
    }
}

impl Block {
    pub(super) fn encode(before: Totals, batch: &[Entry]) -> Result<Vec<u8>, Failure> {
        let mut block = vec![VERSION];
        for number in [before.blocks, before.messages, before.bytes] {
            block.extend(number.to_be_bytes());
        }
        for entry in batch {
            let record = record::encode(entry, entry.ttl.map(record::millis_up));
            let length = u32::try_from(record.len()).map_err(|_| Failure::BatchTooBig)?;
            block.extend(length.to_be_bytes());
            block.extend(record);
        }
        Ok(block)
    }

    /// Reads what the server took at `stored`, which is the time since the Unix epoch on its clock.
    pub(super) fn decode(seq: u64, stored: Duration, mut block: Bytes) -> Result<Self, Failure> {
        let damaged = || Failure::Answer(format!("the block at {seq} is newer or damaged").into());
        if block.len() < HEADER {
            return Err(damaged());
        }
        let begun = match block.get_u8() {
            VERSION => stored,
            WITH_DEADLINES => Duration::ZERO,
            _ => return Err(damaged()),
        };
        let before = Totals { blocks: block.get_u64(), messages: block.get_u64(), bytes: block.get_u64() };
        let mut entries = Vec::new();
        while !block.is_empty() {
            let length = block.try_get_u32().map_err(|_| damaged())? as usize;
            if length > block.len() {
                return Err(damaged());
            }
            let record = block.split_to(length);
            let entry = record::decode(&record, Duration::from_millis);
            entries.push(entry.map_err(|error| Failure::Answer(error.into()))?);
        }
        if entries.is_empty() || entries.len() as u64 > MAX_ENTRIES {
            return Err(damaged());
        }
        Ok(Self { seq, before, entries, begun })
    }

    /// A block without entries, for tests of places.
    #[cfg(test)]
    pub(super) fn at_place(seq: u64) -> Self {
        Self { seq, before: Totals::default(), entries: Vec::new(), begun: Duration::ZERO }
    }

    pub(super) fn after(&self) -> Totals {
        self.before.with(&self.entries)
    }

    /// Returns true if an entry expires.
    pub(super) fn expires(&self) -> bool {
        self.entries.iter().any(|entry| entry.ttl.is_some())
    }

    /// One of the entries with the time that is left, when it is `now` on the server.
    pub(super) fn at(&self, entry: &Entry, now: Duration) -> Entry {
        let left = |ttl: Duration| ttl.min(self.begun.saturating_add(ttl).saturating_sub(now));
        Entry { ttl: entry.ttl.map(left), ..entry.clone() }
    }

    /// The entries with their positions.
    pub(super) fn positions(&self) -> impl Iterator<Item = (Seq, &Entry)> {
        positions(self.seq, self.entries.len()).zip(&self.entries)
    }
}

/// Where the entries of a block are.
pub(super) fn positions(seq: u64, entries: usize) -> impl Iterator<Item = Seq> {
    let end = end_of(seq).get();
    let first = (end + 1).saturating_sub(entries as u64);
    (first..=end).map(Seq::new)
}

/// The last position of a block.
pub(super) fn end_of(seq: u64) -> Seq {
    Seq::new(seq.saturating_mul(MAX_ENTRIES).saturating_add(MAX_ENTRIES - 1))
}

/// The first block that can have something after a position.
pub(super) fn block_after(position: Seq) -> u64 {
    position.get().saturating_add(1) / MAX_ENTRIES
}

#[cfg(test)]
mod tests {
    use tok_core::{MessageId, MessageKind};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn entry(data: &'static str) -> Entry {
        let data = Bytes::from_static(data.as_bytes());
        Entry { id: MessageId::from_u128(7), kind: MessageKind::Text, data, ttl: Some(SECOND * 9) }
    }

    #[test]
    fn blocks_come_back_as_they_were() {
        let before = Totals { blocks: 1, messages: 2, bytes: 3 };
        let batch = [entry(""), entry("hello")];
        let encoded = Bytes::from(Block::encode(before, &batch).unwrap());
        let block = Block::decode(5, SECOND, encoded.clone()).unwrap();
        assert_eq!((block.seq, block.before, block.entries.as_slice()), (5, before, batch.as_slice()));
        assert_eq!(block.after(), Totals { blocks: 2, messages: 4, bytes: 3 + 128 + 133 });
        for length in 0..encoded.len() {
            let part = Block::decode(5, SECOND, encoded.slice(..length));
            // Records are whole or not there.
            assert!(part.is_err() || part.unwrap().entries.len() == 1, "{length} bytes");
        }
        let mut newer = encoded.to_vec();
        newer[0] = 3;
        assert!(Block::decode(5, SECOND, newer.into()).is_err());
    }

    #[test]
    fn a_ttl_begins_when_the_server_takes_the_block() {
        let encoded = Block::encode(Totals::default(), &[entry("hello")]).unwrap();
        assert_eq!(encoded.len(), OVERHEAD + 5);
        let left = |encoded: &[u8], stored: Duration, now: Duration| {
            let block = Block::decode(5, stored, Bytes::copy_from_slice(encoded)).unwrap();
            assert!(block.expires());
            block.at(&block.entries[0], now).ttl
        };
        let stored = SECOND * 1000;
        // An answer may have been read before the server took it.
        for (now, expected) in [(0, 9), (1000, 9), (1004, 5), (1009, 0), (5000, 0)] {
            assert_eq!(left(&encoded, stored, SECOND * now), Some(SECOND * expected), "at {now}");
        }
        assert_eq!(left(&encoded, Duration::MAX, Duration::MAX), Some(Duration::ZERO));

        // As older programs wrote it: a deadline.
        let mut old = encoded;
        old[0] = WITH_DEADLINES;
        for (now, expected) in [(0, 9), (4, 5), (9, 0), (5000, 0)] {
            assert_eq!(left(&old, stored, SECOND * now), Some(SECOND * expected), "at {now}");
        }
    }

    #[test]
    fn the_last_position_of_a_block_ends_it() {
        for entries in [1, 2, MAX_ENTRIES as usize] {
            let of: Vec<_> = positions(5, entries).collect();
            assert_eq!((of.len(), of.last()), (entries, Some(&end_of(5))));
            assert!(of[0] > end_of(4) && of[0].get() / MAX_ENTRIES == 5);
            assert_eq!(block_after(of[entries - 1]), 6);
            assert!(entries == 1 || block_after(of[0]) == 5);
        }
        assert_eq!(block_after(Seq::START), 0);
        assert_eq!(block_after(Seq::new(u64::MAX)), u64::MAX / MAX_ENTRIES);
    }
}
