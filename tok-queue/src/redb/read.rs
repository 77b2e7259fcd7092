//! What read transactions answer.

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction};
use tok_core::{
    Uid,
    queue::{Entry, Limit, Page, Seq},
};

use super::{
    change::record_cost,
    error::Failure,
    schema::{DUE, Head, Keys, LOG, META, Total, due_key, seq_of},
};
use crate::{memory::Usage, record};

type Log = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Entries after `after`, within `limit` but at least one.
pub(super) fn page(txn: &ReadTransaction, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, Failure> {
    let mut page = Page::default();
    let (Some(keys), Some(first)) = (Keys::of(uid), after.get().checked_add(1)) else { return Ok(page) };
    let log: Log = txn.open_table(LOG)?;
    let (first, last) = (keys.at(first), keys.at(u64::MAX));
    let mut room = limit.bytes as u64;
    for row in log.range(first.as_slice()..=last.as_slice())? {
        let (key, record) = row?;
        let left = room.checked_sub(record_cost(record.value()));
        let fits = left.is_some() && page.entries.len() < limit.messages;
        if !fits && !page.entries.is_empty() {
            page.more = true;
            break;
        }
        room = left.unwrap_or(0);
        page.entries.push((Seq::new(seq_of(key.value())?), entry(record.value())?));
    }
    Ok(page)
}

/// The entry of a record, copied out of the file's page.
pub(super) fn entry(record: &[u8]) -> Result<Entry, Failure> {
    Ok(record::decode(&Bytes::copy_from_slice(record))?)
}

/// How many entries the user has.
pub(super) fn len(txn: &ReadTransaction, uid: &Uid) -> Result<u64, Failure> {
    let Some(keys) = Keys::of(uid) else { return Ok(0) };
    let log: Log = txn.open_table(LOG)?;
    Ok(Head::read(&log, &keys)?.map_or(0, |head| head.messages))
}

/// Whether an entry expired at or before `now`.
pub(super) fn is_due(txn: &ReadTransaction, now: u64) -> Result<bool, Failure> {
    let due = txn.open_table(DUE)?;
    Ok(due.range(..=due_key(now, u64::MAX))?.next().transpose()?.is_some())
}

pub(super) fn usage(txn: &ReadTransaction) -> Result<Usage, Failure> {
    let Total { users, messages, bytes, .. } = Total::read(&txn.open_table(META)?)?;
    Ok(Usage { users, messages, bytes })
}
