//! One user's rows: one message, which is read, changed, and stored if it is still the newest.

use tok_core::{Epoch, Uid, relay::Claim};

use super::{ATTEMPTS, MOMENT};
use crate::{
    Claimed, NodeId, Restored, SessionRow,
    nats::{
        failure::Failure,
        record::{self, Row},
        stream::{Stored, Stream},
    },
};

pub(super) async fn claim(stream: &Stream, claim: &Claim, node: &NodeId) -> Result<Claimed, Failure> {
    let change = |mut rows: Vec<Row>| {
        let highest = rows.iter().map(|row| row.epoch).chain([claim.above.get()]).max().unwrap_or(0);
        let Some(lowest) = highest.checked_add(1) else { return (None, None) };
        let displaced = |row: &Row| row.node == *node && row.class.is_some() && row.class == claim.class;
        rows.retain(|row| !displaced(row));
        let others: Vec<_> = rows.iter().map(|row| row.named(&claim.uid)).collect();
        rows.push(Row { node: node.clone(), class: claim.class.clone(), epoch: lowest, is_new: true });
        (Some(rows), Some((others, lowest)))
    };
    let (seq, claimed) = update(stream, &claim.uid, change).await?;
    let (others, lowest) = claimed.ok_or(Failure::NoEpoch)?;
    Ok(Claimed { epoch: Epoch::new(seq.max(lowest)), others })
}

pub(super) async fn restore(stream: &Stream, row: &SessionRow) -> Result<Restored, Failure> {
    let change = |mut rows: Vec<Row>| {
        let others = rows.iter().filter(|other| other.epoch != row.epoch.get());
        let others: Vec<_> = others.map(|other| other.named(&row.uid)).collect();
        let added = others.len() == rows.len();
        rows.push(Row::of(row));
        (added.then_some(rows), Restored { added, others })
    };
    Ok(update(stream, &row.uid, change).await?.1)
}

/// Removes rows of a user; says how many.
pub(super) async fn remove(
    stream: &Stream,
    uid: &Uid,
    which: impl Fn(&Row) -> bool,
) -> Result<usize, Failure> {
    let change = |mut rows: Vec<Row>| {
        let before = rows.len();
        rows.retain(|row| !which(row));
        let removed = before - rows.len();
        ((removed > 0).then_some(rows), removed)
    };
    Ok(update(stream, uid, change).await?.1)
}

pub(super) async fn lookup(stream: &Stream, uid: &Uid) -> Result<Vec<SessionRow>, Failure> {
    let stored = stream.last(&stream.user(uid)?).await?;
    Ok(rows(stored.as_ref())?.iter().map(|row| row.named(uid)).collect())
}

/// Reads the user's rows and stores what `change` makes of them, again and again until nobody has come between.
/// Returns the place of what is stored now.
async fn update<T>(
    stream: &Stream,
    uid: &Uid,
    change: impl Fn(Vec<Row>) -> (Option<Vec<Row>>, T),
) -> Result<(u64, T), Failure> {
    let subject = stream.user(uid)?;
    for _ in 0..ATTEMPTS {
        let stored = stream.last(&subject).await?;
        let last = stored.as_ref().map_or(0, |stored| stored.seq);
        let (changed, result) = change(rows(stored.as_ref())?);
        let Some(changed) = changed else { return Ok((last, result)) };
        // It says that there are none, and expires: whoever deletes the rows instead could delete what came meanwhile.
        let seconds = changed.is_empty().then_some(MOMENT);
        if let Some(seq) = stream.put(subject.clone(), last, record::encode(&changed), seconds).await? {
            if changed.is_empty() {
                // What says "none" still counts as a user. It goes by its place, at which nothing else can be; if it
                // stays, then for a moment.
                let _ = stream.remove(seq).await;
            }
            return Ok((seq, result));
        }
    }
    Err(Failure::Contended)
}

fn rows(stored: Option<&Stored>) -> Result<Vec<Row>, Failure> {
    stored.map_or(Ok(Vec::new()), |stored| record::decode(stored.seq, &stored.data))
}
