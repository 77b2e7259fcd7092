//! What read transactions answer.

use std::time::Duration;

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction};
use tok_core::{
    Uid,
    queue::{Entry, Limit, Page, QueueSize, Seq},
};

use super::{
    change::record_cost,
    error::Failure,
    schema::{DUE, Head, Keys, LOG, META, Total, due_key, seq_of},
    time::{left, millis},
};
use crate::{memory::Usage, record};

type Log = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Entries after `after`, within `limit` but at least one. `now` is the time in the file.
pub(super) fn page(
    txn: &ReadTransaction,
    uid: &Uid,
    after: Seq,
    limit: Limit,
    now: Duration,
) -> Result<Page, Failure> {
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
        page.entries.push((Seq::new(seq_of(key.value())?), entry(record.value(), now)?));
    }
    Ok(page)
}

/// The entry of a record, copied out of the file's page.
pub(super) fn entry(record: &[u8], now: Duration) -> Result<Entry, Failure> {
    Ok(record::decode(&Bytes::copy_from_slice(record), |deadline| left(deadline, now))?)
}

/// What the user's entries amount to.
pub(super) fn size(txn: &ReadTransaction, uid: &Uid) -> Result<QueueSize, Failure> {
    let Some(keys) = Keys::of(uid) else { return Ok(QueueSize::default()) };
    let log: Log = txn.open_table(LOG)?;
    Ok(Head::read(&log, &keys)?.unwrap_or_default().size())
}

/// Returns true if an entry has expired.
pub(super) fn is_due(txn: &ReadTransaction, now: Duration) -> Result<bool, Failure> {
    let due = txn.open_table(DUE)?;
    Ok(due.range(..=due_key(millis(now), u64::MAX))?.next().transpose()?.is_some())
}

pub(super) fn usage(txn: &ReadTransaction) -> Result<Usage, Failure> {
    let Total { users, messages, bytes, .. } = Total::read(&txn.open_table(META)?)?;
    Ok(Usage { users, messages, bytes })
}
