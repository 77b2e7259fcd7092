//! Storing messages, and finding out whether a store that failed was done all the same.

use std::sync::Arc;

use super::TryLater;
use crate::{
    SendError,
    hub::{
        effects::Effects,
        hooks::Undelivered,
        inner::Inner,
        log::LogEntry,
        user::{Obstacle, User},
    },
    queue::{Admit, Caps, Entry, Limit, QueueError, QueueSize, Seq},
    relay::Delivery,
    trace::event,
};

pub(super) async fn store(
    hub: &Arc<Inner>,
    user: &Arc<User>,
    batch: &[LogEntry],
    admit: Admit,
) -> Result<(), TryLater> {
    let mut result = enqueue(hub, user, batch, admit).await;
    if matches!(result, Err(QueueError::Full)) && hub.sweep_for_room().await {
        result = enqueue(hub, user, batch, admit).await;
    }
    match result {
        Err(QueueError::Full | QueueError::TooBig { .. }) if admit == Admit::WithinLimits => {
            store_what_fits(hub, user, batch).await
        }
        result => {
            finish(hub, user, batch, admit, result).await?;
            measure(hub, user).await;
            Ok(())
        }
    }
}

/// Asks what the queue holds for the user, where messages are accepted in memory once that is known.
async fn measure(hub: &Inner, user: &User) {
    let is_known =
        |user: &User| user.lock().is_none_or(|state| state.log.knows_stored_size() || state.live() == 0);
    if hub.writes_ahead() || is_known(user) {
        return;
    }
    if let (Ok(size), Some(mut state)) = (hub.queue.size(user.uid()).await, user.lock()) {
        state.log.know_stored_size(size);
    }
}

async fn enqueue(hub: &Inner, user: &User, batch: &[LogEntry], admit: Admit) -> Result<Vec<Seq>, QueueError> {
    // What other users' senders were told is kept takes room, too.
    let has_room = |entry: &LogEntry| entry.packet.reserve(&*hub.queue);
    if admit == Admit::WithinLimits && !batch.iter().all(has_room) {
        batch.iter().for_each(|entry| entry.packet.unreserve());
        return Err(QueueError::Full);
    }
    let now = hub.runtime.now();
    let entries: Vec<Entry> = batch.iter().map(|entry| entry.packet.entry(now)).collect();
    let result = hub.queue.enqueue(user.uid(), &entries, admit).await;
    if result.is_err() && admit == Admit::WithinLimits {
        batch.iter().for_each(|entry| entry.packet.unreserve());
    }
    result.map(|stored| stored.seqs)
}

/// The queue did not take a batch, which it refuses as a whole. Stores those messages that are within the user's limits:
/// where the user is offline the others are refused, in two queue operations however many there are. Where a session is
/// there they wait, and so do those behind them.
async fn store_what_fits(hub: &Arc<Inner>, user: &Arc<User>, batch: &[LogEntry]) -> Result<(), TryLater> {
    let admit = Admit::WithinLimits;
    let caps = hub.queue.caps();
    let size = match hub.queue.size(user.uid()).await {
        Ok(size) => size,
        Err(error) => return finish(hub, user, batch, admit, Err(error)).await,
    };
    let is_online = user.lock().is_some_and(|mut state| {
        state.log.know_stored_size(size);
        state.live() > 0
    });
    let mut room = Room { size, caps };
    if !is_online {
        let (fitting, others): (Vec<_>, Vec<_>) = batch.iter().cloned().partition(|entry| room.takes(entry));
        finish(hub, user, &others, admit, Err(QueueError::Full)).await?;
        if fitting.is_empty() {
            return Ok(());
        }
        let result = enqueue(hub, user, &fitting, admit).await;
        return finish(hub, user, &fitting, admit, result).await;
    }
    let mut fitting = batch.iter().take_while(|entry| room.takes(entry)).count();
    if fitting == batch.len() {
        // It is the queue as a whole that is full. There may be room for one.
        fitting = usize::from(batch.len() > 1);
    }
    let Some(first) = batch.first() else { return Ok(()) };
    let (fitting, obstacle) = match batch.get(..fitting).filter(|fitting| !fitting.is_empty()) {
        Some(fitting) => (fitting, Obstacle::Full),
        None if Room { size, caps }.takes(first) => return stick(hub, user, first, Obstacle::Full),
        None => return stick(hub, user, first, Obstacle::Room),
    };
    match enqueue(hub, user, fitting, admit).await {
        Err(QueueError::Full | QueueError::TooBig { .. }) => stick(hub, user, first, obstacle),
        result => finish(hub, user, fitting, admit, result).await,
    }
}

/// What a user's part of the queue can still take.
struct Room {
    size: QueueSize,
    caps: Caps,
}

impl Room {
    /// Whether this message fits, too.
    fn takes(&mut self, entry: &LogEntry) -> bool {
        let cost = entry.packet.cost() as u64;
        let fits = self.size.messages < self.caps.max_messages
            && self.size.bytes.saturating_add(cost) <= self.caps.max_bytes;
        if fits {
            self.size.messages += 1;
            self.size.bytes += cost;
        }
        fits
    }
}

/// The first message that waits is not stored, and finds out what it can do instead.
fn stick(hub: &Arc<Inner>, user: &User, first: &LogEntry, obstacle: Obstacle) -> Result<(), TryLater> {
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock() {
        state.storing = None;
        state.stick(first.pos, obstacle);
        state.admit(hub, &mut fx);
    }
    fx.run(hub);
    Ok(())
}

/// Draws the consequences of a store: here, then on other nodes, then for those who wait for it.
async fn finish(
    hub: &Arc<Inner>,
    user: &Arc<User>,
    batch: &[LogEntry],
    admit: Admit,
    result: Result<Vec<Seq>, QueueError>,
) -> Result<(), TryLater> {
    let last = result.as_ref().ok().map(|seqs| seqs.last().copied());
    let was_online = settle(hub, user, batch, admit, result)?;
    let Some(last) = last else { return Ok(()) };
    let elsewhere = tell(hub, user, last).await;
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock() {
        // What was accepted before is what the last session has left.
        let is_new = admit == Admit::WithinLimits && !was_online;
        state.answer(batch, elsewhere, is_new, &mut fx);
    }
    fx.run(hub);
    Ok(())
}

/// Looks for a batch whose store failed, and settles whether it was stored. Storing it again would deliver it twice.
pub(super) async fn recheck(hub: &Arc<Inner>, user: &Arc<User>, batch: &[LogEntry]) -> Result<(), TryLater> {
    // Nothing of the batch lies before what was known to be stored when it was sent to the queue.
    let mut after = match (&hub.relay, user.lock()) {
        (None, Some(state)) => state.log.last_known_seq(),
        // What other nodes stored may lie behind the batch.
        _ => Seq::START,
    };
    let mut found: Vec<(LogEntry, Seq)> = Vec::new();
    let mut rest = batch;
    loop {
        let Ok(page) = hub.queue.peek(user.uid(), after, Limit::default()).await else {
            return Err(TryLater);
        };
        for (seq, entry) in &page.entries {
            after = *seq;
            if let Some(index) = rest.iter().position(|next| next.packet.message().id() == entry.id) {
                found.push((rest[index].clone(), *seq));
                rest = &rest[index + 1..];
            }
        }
        if !page.more || page.entries.is_empty() {
            break;
        }
    }
    // A store takes effect as a whole or not at all. So if one message is there, all were stored, and those that are
    // missing have expired since: whoever removed them from the queue reported them.
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock() {
        state.unsure = None;
        if !found.is_empty() {
            let is_missing = |entry: &&LogEntry| found.iter().all(|(other, _)| other.pos != entry.pos);
            let missing = batch.iter().filter(is_missing);
            let missing: Vec<u64> =
                missing.map(|entry| entry.pos).filter(|pos| !state.is_handed(*pos)).collect();
            missing.into_iter().for_each(|pos| state.expired(pos, &mut fx));
        }
    }
    fx.run(hub);
    let (stored, seqs): (Vec<LogEntry>, Vec<Seq>) = found.into_iter().unzip();
    finish(hub, user, &stored, Admit::AlreadyAccepted, Ok(seqs)).await
}

/// Returns whether a session was there.
fn settle(
    hub: &Arc<Inner>,
    user: &Arc<User>,
    batch: &[LogEntry],
    admit: Admit,
    result: Result<Vec<Seq>, QueueError>,
) -> Result<bool, TryLater> {
    let mut fx = Effects::default();
    let mut later = false;
    let mut was_online = false;
    if let Some(mut state) = user.lock() {
        state.queue_failing = false;
        was_online = state.live() > 0;
        match result {
            Ok(seqs) => {
                if admit == Admit::WithinLimits && !was_online {
                    state.left_before(seqs.first());
                }
                state.stored(hub, batch, &seqs, &mut fx);
            }
            Err(QueueError::NotKept) => {
                for entry in batch.iter().filter(|entry| entry.accepted) {
                    fx.report(user.uid(), Arc::clone(&entry.packet), Undelivered::NotKept);
                }
                state.refused(hub, batch, &mut fx, || SendError::NotKept);
            }
            Err(error) if admit == Admit::AlreadyAccepted => {
                event!(ERROR, error = %error, "the queue cannot take messages that were accepted; trying again");
                state.queue_failing = true;
                state.unsure = Some(batch.to_vec());
                later = true;
            }
            Err(QueueError::Full) => state.refused(hub, batch, &mut fx, || SendError::Full),
            Err(error) => {
                event!(ERROR, error = %error, "the queue failed");
                let shared = Arc::new(error);
                state.storing = None;
                let asks = state.store_failed(hub, batch, &mut fx, || {
                    SendError::Queue(QueueError::Unavailable(Box::new(Arc::clone(&shared))))
                });
                state.unsure = asks.then(|| batch.to_vec());
            }
        }
    }
    fx.run(hub);
    if later { Err(TryLater) } else { Ok(was_online) }
}

/// Tells other nodes that the shared queue has more; returns how many sessions there it is for. Should it be lost, the
/// next one says it too.
async fn tell(hub: &Inner, user: &User, last: Option<Seq>) -> usize {
    let (Some(relay), Some(last)) = (&hub.relay, last) else { return 0 };
    hub.recent.stored(user.uid(), last);
    relay.deliver(user.uid(), &Delivery::Stored(last)).await.unwrap_or_else(|error| {
        event!(WARN, error = %error, "other nodes were not told of a stored message");
        0
    })
}
