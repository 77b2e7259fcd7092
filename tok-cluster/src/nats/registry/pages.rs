//! The table as a whole, part by part. The cursor is a place in the stream: what is stored anew moves to its end, so that
//! nothing which changes meanwhile is passed over.

use futures_util::future::join_all;
use tok_core::Uid;

use super::rows;
use crate::{
    Cursor, NodeId, Page,
    collections::{HashMap, hash_map},
    nats::{
        failure::Failure,
        record,
        stream::{Info, Stored, Stream},
    },
    sync::Mutex,
};

/// A stream is read one message at a time, by so many readers at once, each for at least so many messages.
const READERS: usize = 32;
const EACH: usize = 8;

/// Messages that are read at once for rows of a dead node, how often in one call, and rows that are removed at once.
const REAPED: usize = 1024;
const PARTS: usize = 4;
const BATCH: usize = 64;

/// Nodes whose reaping may be under way.
const MAX_REAPED: usize = 1024;

pub(super) async fn page(stream: &Stream, after: Cursor, limit: usize) -> Result<Page, Failure> {
    let part = Part::read(stream, after.get(), limit).await?;
    let mut page = Page { rows: Vec::new(), next: part.next.map(Cursor::new) };
    for stored in &part.messages {
        let Some(uid) = uid(stored) else { continue };
        page.rows.extend(record::decode(stored.seq, &stored.data)?.iter().map(|row| row.named(&uid)));
    }
    Ok(page)
}

/// How far the rows of dead nodes have been looked for.
#[derive(Debug)]
pub(super) struct Reaping {
    places: Mutex<HashMap<NodeId, u64>>,
}

impl Default for Reaping {
    fn default() -> Self {
        Self { places: Mutex::new(hash_map(0)) }
    }
}

impl Reaping {
    /// Removes about `budget` rows of a node; whether there may be more.
    pub(super) async fn go_on(&self, stream: &Stream, node: &NodeId, budget: usize) -> Result<bool, Failure> {
        let mut after = self.places.lock().get(node).copied().unwrap_or(0);
        let (budget, mut removed) = (budget.max(1), 0);
        for _ in 0..PARTS {
            let limit = REAPED.min(budget - removed);
            let part = Part::read(stream, after, limit).await?;
            let mut users = Vec::new();
            for stored in &part.messages {
                let rows = record::decode(stored.seq, &stored.data)?;
                users.extend(uid(stored).filter(|_| rows.iter().any(|row| row.node == *node)));
            }
            for batch in users.chunks(BATCH) {
                let removing = batch.iter().map(|uid| rows::remove(stream, uid, |row| row.node == *node));
                for result in join_all(removing).await {
                    removed += result?;
                }
            }
            let Some(next) = part.next else {
                self.stop(node);
                return Ok(false);
            };
            after = next;
            let mut places = self.places.lock();
            if places.len() >= MAX_REAPED && !places.contains_key(node) {
                places.clear();
            }
            places.insert(node.clone(), after);
            drop(places);
            if removed >= budget {
                break;
            }
        }
        Ok(true)
    }

    /// Begins at the beginning, should the node have to be reaped again.
    pub(super) fn stop(&self, node: &NodeId) {
        self.places.lock().remove(node);
    }
}

/// Some users' messages, in their order.
struct Part {
    messages: Vec<Stored>,
    /// The place after which there may be more.
    next: Option<u64>,
}

impl Part {
    /// About `limit` messages after a place.
    async fn read(stream: &Stream, after: u64, limit: usize) -> Result<Self, Failure> {
        let info = stream.info("").await?;
        let after = after.max(info.first.saturating_sub(1));
        if after >= info.last {
            return Ok(Self { messages: Vec::new(), next: None });
        }
        let limit = limit.max(1);
        let until = after.saturating_add(span(&info, limit)).min(info.last);
        let readers = limit.div_ceil(EACH).min(READERS);
        let step = (until - after).div_ceil(readers as u64).max(1);
        let parts = (0..readers as u64).map(|number| {
            let from = after.saturating_add(number * step);
            walk(stream, from, from.saturating_add(step).min(until), limit.div_ceil(readers) * 2)
        });
        let mut messages = Vec::new();
        for part in join_all(parts).await {
            let part = part?;
            messages.extend(part.messages);
            if part.next.is_some() {
                // Denser than the rest: what the readers behind it have comes with the next part.
                return Ok(Self { messages, next: part.next });
            }
        }
        Ok(Self { messages, next: (until < info.last).then_some(until) })
    }
}

/// How far about `limit` messages reach, if they lie evenly.
fn span(info: &Info, limit: usize) -> u64 {
    let whole = u128::from(info.last - info.first.min(info.last)) + 1;
    let span = whole * limit as u128 / u128::from(info.messages.max(1));
    u64::try_from(span).unwrap_or(u64::MAX).max(1)
}

/// The messages after one place and not after another, at most so many.
async fn walk(stream: &Stream, mut after: u64, until: u64, limit: usize) -> Result<Part, Failure> {
    let mut messages = Vec::new();
    while after < until {
        if messages.len() == limit {
            return Ok(Part { messages, next: Some(after) });
        }
        let found = stream.next(&stream.all_users(), after.saturating_add(1)).await?;
        let Some(stored) = found.filter(|stored| stored.seq <= until) else { break };
        after = stored.seq;
        messages.push(stored);
    }
    Ok(Part { messages, next: None })
}

fn uid(stored: &Stored) -> Option<Uid> {
    Uid::from_token(stored.subject.rsplit('.').next()?)
}
