//! How a durable queue writes an [`Entry`] down: one form for all engines.
//!
//! ```text
//! version u8 = 1 | kind u8 | flags u8 | id u128 | time u64 | data
//! ```
//! Numbers are big-endian. The time is in milliseconds. It is the deadline on the queue's clock (redb, Redis), or the TTL
//! that began when the server took the record (NATS). Whether the entry expires is a flag and not a reserved time, since
//! every `u64` is a time that an entry may have. Without the flag the eight bytes are 0.
//!
//! A change that older programs would misread gets a new version; they refuse it.

use std::time::Duration;

use bytes::Bytes;
use tok_core::{MessageId, MessageKind, queue::Entry};

const VERSION: u8 = 1;

const TEXT: u8 = 0;
const BINARY: u8 = 1;

const EXPIRES: u8 = 1;

/// Bytes before the data.
pub(crate) const HEADER: usize = 3 + 16 + 8;

/// What was read is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRecord {
    /// It ends within the header.
    #[error("a stored message has {bytes} bytes and needs at least {HEADER}: it is damaged")]
    Short { bytes: usize },
    /// A newer program wrote it, or it is damaged.
    #[error(
        "a stored message is of version {0}, this program reads version {VERSION}: it is newer or damaged"
    )]
    Version(u8),
    /// The version is ours, its contents are not.
    #[error("a stored message has {field} {value}, which does not exist: it is damaged")]
    Field { field: &'static str, value: u8 },
}

/// The record of an entry, with the time that stands for its TTL.
///
/// A kind that this crate does not know yet (the enum is open) is written as binary, the one that changes no byte.
pub(crate) fn encode(entry: &Entry, time: Option<u64>) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER + entry.data.len());
    let kind = if entry.kind == MessageKind::Text { TEXT } else { BINARY };
    let flags = if time.is_some() { EXPIRES } else { 0 };
    record.extend([VERSION, kind, flags]);
    record.extend(entry.id.as_u128().to_be_bytes());
    record.extend(time.unwrap_or(0).to_be_bytes());
    record.extend_from_slice(&entry.data);
    record
}

/// What a record says about its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: MessageId,
    pub(crate) kind: MessageKind,
    pub(crate) time: Option<u64>,
}

impl Header {
    /// Reads the header of a record.
    pub(crate) fn of(record: &[u8]) -> Result<Self, BadRecord> {
        let Some((header, _)) = record.split_first_chunk::<HEADER>() else {
            // A short record of another version is that before all.
            return Err(match record.first() {
                Some(&version) if version != VERSION => BadRecord::Version(version),
                _ => BadRecord::Short { bytes: record.len() },
            });
        };
        let &[version, kind, flags, ref numbers @ ..] = header;
        if version != VERSION {
            return Err(BadRecord::Version(version));
        }
        let kind = match kind {
            TEXT => MessageKind::Text,
            BINARY => MessageKind::Binary,
            value => return Err(BadRecord::Field { field: "kind", value }),
        };
        let (mut id, mut time) = ([0; 16], [0; 8]);
        id.copy_from_slice(&numbers[..16]);
        time.copy_from_slice(&numbers[16..]);
        let time = match flags {
            0 => None,
            EXPIRES => Some(u64::from_be_bytes(time)),
            value => return Err(BadRecord::Field { field: "flags", value }),
        };
        Ok(Self { id: MessageId::from_u128(u128::from_be_bytes(id)), kind, time })
    }
}

/// The entry of a record. Its data is a part of `record`, not a copy. `left` makes of the time what is left of the TTL.
pub(crate) fn decode(record: &Bytes, left: impl FnOnce(u64) -> Duration) -> Result<Entry, BadRecord> {
    let Header { id, kind, time } = Header::of(record)?;
    Ok(Entry { id, kind, data: record.slice(HEADER..), ttl: time.map(left) })
}

/// Milliseconds, of which the last may be longer than what it stands for.
pub(crate) fn millis_up(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: MessageKind, data: &'static [u8], ttl: Option<Duration>) -> Entry {
        let id = MessageId::from_u128(0x0102 << 112 | 0x0f);
        Entry { id, kind, data: Bytes::from_static(data), ttl }
    }

    fn decode(record: &Bytes) -> Result<Entry, BadRecord> {
        super::decode(record, Duration::from_millis)
    }

    #[test]
    fn entries_come_back_as_they_were() {
        for kind in [MessageKind::Text, MessageKind::Binary] {
            for data in [&b""[..], b"hello", b"\xff\0\x01"] {
                for time in [None, Some(0), Some(1), Some(u64::MAX)] {
                    let entry = entry(kind, data, time.map(Duration::from_millis));
                    assert_eq!(decode(&Bytes::from(encode(&entry, time))), Ok(entry));
                }
            }
        }
    }

    #[test]
    fn the_form_does_not_change() {
        // Files and servers hold it: a new form is a new version, and this test stays.
        let record = encode(&entry(MessageKind::Binary, b"hi", None), Some(0x0304));
        let expected = [
            &[1, 1, 1][..],
            &[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15],
            &[0, 0, 0, 0, 0, 0, 3, 4],
            b"hi",
        ];
        assert_eq!(record, expected.concat());
    }

    #[test]
    fn data_is_not_copied() {
        let record = Bytes::from(encode(&entry(MessageKind::Text, b"hello", None), None));
        let data = decode(&record).unwrap().data;
        assert_eq!(data.as_ptr(), record[HEADER..].as_ptr());
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        let good = encode(&entry(MessageKind::Text, b"", None), None);
        for len in 0..HEADER {
            let short = Bytes::copy_from_slice(&good[..len]);
            assert_eq!(decode(&short), Err(BadRecord::Short { bytes: len }));
        }
        let with = |index: usize, value: u8| {
            let mut record = good.clone();
            record[index] = value;
            decode(&Bytes::from(record))
        };
        for version in [0, 2, 255] {
            assert_eq!(with(0, version), Err(BadRecord::Version(version)));
            assert_eq!(decode(&Bytes::from(vec![version])), Err(BadRecord::Version(version)));
        }
        for value in [2, 255] {
            assert_eq!(with(1, value), Err(BadRecord::Field { field: "kind", value }));
            assert_eq!(with(2, value), Err(BadRecord::Field { field: "flags", value }));
        }
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        for (nanos, millis) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(millis_up(Duration::from_nanos(nanos)), millis);
        }
        assert_eq!(millis_up(Duration::MAX), u64::MAX);
    }
}
