//! Reading the queue: for sessions, and for reports.

use std::sync::Arc;

use super::TryLater;
use crate::{
    hub::{
        effects::Effects,
        hooks::Undelivered,
        inner::Inner,
        log::{Cursor, Known},
        packet::Packet,
        session::Core,
        user::{Left, State, User},
    },
    queue::{Limit, Page, QueueSize, Seq},
    trace::event,
};

/// Reads a page of the log for a session.
pub(super) async fn page(
    hub: &Arc<Inner>,
    user: &Arc<User>,
    core: &Arc<Core>,
    after: Seq,
    limit: Limit,
    known: Known,
) -> Result<(), TryLater> {
    let page = match hub.queue.peek(user.uid(), after, limit).await {
        Ok(page) => page,
        Err(error) => {
            event!(ERROR, error = %error, "the queue cannot be read; trying again");
            return Err(TryLater);
        }
    };
    let size = measure(hub, user, after, &page).await;
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock() {
        if let Some(size) = size {
            state.log.know_stored_size(size);
        }
        give(&mut state, hub, core, after, known, &page, &mut fx);
    }
    fx.run(hub);
    Ok(())
}

/// What the queue holds for the user, where messages are accepted before they are stored and nobody has asked yet.
async fn measure(hub: &Inner, user: &User, after: Seq, page: &Page) -> Option<QueueSize> {
    if hub.writes_ahead() || user.lock()?.log.knows_stored_size() {
        return None;
    }
    if page.more || after > Seq::START {
        // If it cannot be had, messages are stored before they are accepted.
        return hub.queue.size(user.uid()).await.ok();
    }
    let bytes = page.entries.iter().map(|(_, entry)| entry.cost() as u64).sum();
    Some(QueueSize { messages: page.entries.len() as u64, bytes })
}

/// Gives a session a page of its log, as far as that precedes what memory holds.
fn give(
    state: &mut State,
    hub: &Inner,
    core: &Arc<Core>,
    after: Seq,
    known: Known,
    page: &Page,
    fx: &mut Effects,
) {
    let now = hub.runtime.now();
    // What follows the known end of the stored part is in memory, or was refused to its sender.
    let end = state.log.first_seq().map(|first| Seq::new(first.get() - 1));
    let end = [end, state.log.stored_tail()].into_iter().flatten().min();
    let mut last = after;
    let mut reached_end = !page.more || page.entries.is_empty();
    {
        let mut slot = core.slot.lock();
        if !slot.is_live() || slot.fed.seq != after {
            slot.wants_page = false;
            return;
        }
        for (seq, entry) in &page.entries {
            if end.is_some_and(|end| *seq > end) {
                reached_end = true;
                break;
            }
            last = *seq;
            let pos = state.log.pos_of(*seq).unwrap_or_default();
            slot.release_held(Some(Cursor { seq: *seq, pos }));
            if *seq <= state.log.confirmed().seq {
                continue;
            }
            let packet = Packet::from_entry(entry, now, &hub.budget);
            if packet.is_expired(now) {
                fx.report(core.user.uid(), packet, Undelivered::Expired);
                slot.fed.advance(Cursor { seq: *seq, pos });
            } else {
                slot.push_kept(&packet, Cursor { seq: *seq, pos });
            }
        }
        slot.fed.seq = slot.fed.seq.max(last);
        slot.wants_page = false;
        if reached_end {
            // No further than was known when the page was asked for: what others stored meanwhile is not on it.
            let read = known.tail.map_or(last, |tail| tail.max(last));
            last = end.map_or(read, |end| end.min(read)).max(last);
            slot.fed.seq = slot.fed.seq.max(last);
        }
    }
    if reached_end {
        state.log.know_stored_tail(last, known);
    }
    fx.wake(core.slot.lock().unpark());
    state.feed(hub, core, fx);
    state.backlog_read(fx);
}

/// Reads some of what the last session left unconfirmed, and reports it.
pub(super) async fn left(
    hub: &Arc<Inner>,
    user: &Arc<User>,
    left: Left,
    limit: Limit,
) -> Result<(), TryLater> {
    match read_left(hub, user, left, limit).await {
        Ok(Some(page)) => {
            let mut fx = Effects::default();
            if let Some(mut state) = user.lock() {
                state.report_left(hub, left, &page, &mut fx);
            }
            fx.run(hub);
            Ok(())
        }
        Ok(None) => {
            forget_left(user);
            Ok(())
        }
        // A shutdown does not wait for a queue or a cluster that are away.
        Err(TryLater) if hub.is_draining() => {
            event!(WARN, "what the last session of a user left could not be read, and is not reported");
            forget_left(user);
            Ok(())
        }
        Err(TryLater) => Err(TryLater),
    }
}

/// A page, or `None` if the user is online on another node.
async fn read_left(
    hub: &Arc<Inner>,
    user: &Arc<User>,
    left: Left,
    limit: Limit,
) -> Result<Option<Page>, TryLater> {
    if let Some(relay) = &hub.relay {
        // Of two last sessions that end at once on two nodes, one finds that it was the last.
        relay.release(user.uid(), left.epoch).await.map_err(|_| TryLater)?;
        if relay.is_online(user.uid()).await.map_err(|_| TryLater)? {
            return Ok(None);
        }
    }
    match hub.queue.peek(user.uid(), left.after, limit).await {
        Ok(page) => Ok(Some(page)),
        Err(error) => {
            event!(ERROR, error = %error, "the queue cannot be read for reports; retrying");
            Err(TryLater)
        }
    }
}

fn forget_left(user: &User) {
    if let Some(mut state) = user.lock() {
        state.forget_left();
    }
}
