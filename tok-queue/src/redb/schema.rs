//! What is in the file. A change that other programs would misread raises [`SCHEMA`].
//!
//! | table | key | value |
//! |---|---|---|
//! | `tok-queue` | name | number: see [`Total`], [`Meta`] and [`Mark`](super::time::Mark) |
//! | `log` | length of the uid `u8`, uid, seq `u64` | [the record](crate::record) of a message; at seq 0 the user's [`Head`] |
//! | `due` | deadline `u64`, seq `u64` | the uid of the message at seq, which expires then |
//!
//! Numbers in keys and heads are big-endian. A user's head and messages lie side by side, so that storing a message
//! changes one leaf of `log` and not two of different tables. A user without messages has no head: positions are
//! counted for all users together, so none has to be remembered for its positions never to come again.

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use tok_core::{Epoch, Uid, queue::QueueSize};

use super::error::Failure;

/// The version of this form.
pub(super) const SCHEMA: u64 = 1;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("tok-queue");
pub(super) const LOG: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("log");
pub(super) const DUE: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("due");

/// Numbers that say what the file is, and how often it has been opened.
pub(super) struct Meta;

impl Meta {
    pub(super) const SCHEMA: &'static str = "schema";
    pub(super) const OPENING: &'static str = "opening";
}

/// Numbers about all users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) last_seq: u64,
    pub(super) users: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Total {
    pub(super) fn read(meta: &impl ReadableTable<&'static str, u64>) -> Result<Self, Failure> {
        let number = |name| Ok::<_, Failure>(meta.get(name)?.map_or(0, |number| number.value()));
        Ok(Self {
            last_seq: number("last_seq")?,
            users: number("users")?,
            messages: number("messages")?,
            bytes: number("bytes")?,
        })
    }

    pub(super) fn write(self, meta: &mut Table<'_, &'static str, u64>) -> Result<(), Failure> {
        let Self { last_seq, users, messages, bytes } = self;
        for (name, number) in
            [("last_seq", last_seq), ("users", users), ("messages", messages), ("bytes", bytes)]
        {
            meta.insert(name, number)?;
        }
        Ok(())
    }
}

/// The tables of a write transaction.
pub(super) struct Tables<'txn> {
    pub(super) meta: Table<'txn, &'static str, u64>,
    pub(super) log: Table<'txn, &'static [u8], &'static [u8]>,
    pub(super) due: Table<'txn, u128, &'static [u8]>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, Failure> {
        Ok(Self { meta: txn.open_table(META)?, log: txn.open_table(LOG)?, due: txn.open_table(DUE)? })
    }
}

/// The keys of one user's rows in `log`.
pub(super) struct Keys(Vec<u8>);

impl Keys {
    /// `None` for a uid that operations refuse: it has no rows.
    pub(super) fn of(uid: &Uid) -> Option<Self> {
        uid.check().ok()?;
        let length = u8::try_from(uid.as_str().len()).ok()?;
        let mut key = Vec::with_capacity(1 + uid.as_str().len() + 8);
        key.push(length);
        key.extend_from_slice(uid.as_str().as_bytes());
        Some(Self(key))
    }

    pub(super) fn head(&self) -> Vec<u8> {
        self.at(0)
    }

    pub(super) fn at(&self, seq: u64) -> Vec<u8> {
        [self.0.as_slice(), &seq.to_be_bytes()].concat()
    }
}

/// The position in a key of `log`.
pub(super) fn seq_of(key: &[u8]) -> Result<u64, Failure> {
    let bytes = key.last_chunk().ok_or(Failure::Row("log", "a key that is too short"))?;
    Ok(u64::from_be_bytes(*bytes))
}

/// A key of `due`.
pub(super) fn due_key(at: u64, seq: u64) -> u128 {
    u128::from(at) << 64 | u128::from(seq)
}

/// The position in a key of `due`.
pub(super) fn seq_of_due(key: u128) -> u64 {
    // The lower half.
    key as u64
}

/// What is known about a user who has messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) messages: u64,
    /// What they cost together.
    pub(super) bytes: u64,
    /// The highest epoch that an acknowledgement carried, in this opening of the file.
    pub(super) fence: Epoch,
    /// That opening.
    pub(super) opening: u64,
}

impl Head {
    pub(super) fn read(
        log: &impl ReadableTable<&'static [u8], &'static [u8]>,
        keys: &Keys,
    ) -> Result<Option<Self>, Failure> {
        let key = keys.head();
        log.get(key.as_slice())?.map(|value| Self::decode(value.value())).transpose()
    }

    pub(super) fn size(self) -> QueueSize {
        QueueSize { messages: self.messages, bytes: self.bytes }
    }

    pub(super) fn encode(self) -> [u8; 32] {
        let mut row = [0; 32];
        let numbers = [self.messages, self.bytes, self.fence.get(), self.opening];
        for (bytes, number) in row.chunks_exact_mut(8).zip(numbers) {
            bytes.copy_from_slice(&number.to_be_bytes());
        }
        row
    }

    fn decode(row: &[u8]) -> Result<Self, Failure> {
        let (numbers, rest) = row.as_chunks::<8>();
        let &[messages, bytes, fence, opening] = numbers else {
            return Err(Failure::Row("log", "a head of the wrong length"));
        };
        if !rest.is_empty() {
            return Err(Failure::Row("log", "a head of the wrong length"));
        }
        let [messages, bytes, fence, opening] = [messages, bytes, fence, opening].map(u64::from_be_bytes);
        Ok(Self { messages, bytes, fence: Epoch::new(fence), opening })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_and_others_are_errors() {
        let head = Head { messages: 1, bytes: u64::MAX, fence: Epoch::new(3), opening: 4 };
        let row = head.encode();
        assert_eq!(Head::decode(&row).unwrap(), head);
        for wrong in [&row[..31], &row[..24], &[], &[row.as_slice(), &[0]].concat()] {
            assert!(Head::decode(wrong).is_err(), "{} bytes", wrong.len());
        }
    }

    #[test]
    fn keys_keep_users_apart_and_positions_in_order() {
        let keys = |uid: &str| Keys::of(&Uid::from(uid)).unwrap();
        assert!(keys("a").at(u64::MAX) < keys("b").at(0));
        assert!(keys("a").at(1) < keys("a").at(256));
        // A uid that looks like another's key is shorter or longer, and so elsewhere.
        assert!(!keys("a\0").at(0).starts_with(&keys("a").0));
        assert_eq!(seq_of(&keys("a").at(7)).unwrap(), 7);
        assert!(seq_of(&[0; 7]).is_err());
        assert_eq!(seq_of_due(due_key(u64::MAX, 9)), 9);
        assert!(Keys::of(&Uid::from("")).is_none());
        assert!(Keys::of(&Uid::from("x".repeat(256))).is_none());
    }
}
