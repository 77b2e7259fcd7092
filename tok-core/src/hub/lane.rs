//! Queue operations of one user: a task that exists only while there are some, and runs one at a time.

use std::{sync::Arc, time::Duration};

use super::{
    effects::Effects,
    fence,
    hooks::Undelivered,
    inner::Inner,
    log::{Cursor, Known, LogEntry},
    packet::Packet,
    session::Core,
    user::{State, User},
};
use crate::{
    SendError,
    queue::{Admit, Entry, Epoch, Limit, Page, QueueError, Seq},
    relay::Delivery,
    trace::event,
};

/// One group commit's worth.
const BATCH_MESSAGES: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

enum Job {
    /// Finds out whether a store that failed was done all the same.
    Recheck {
        batch: Vec<LogEntry>,
    },
    Store {
        batch: Vec<LogEntry>,
        admit: Admit,
    },
    Ack {
        upto: Seq,
        fence: Epoch,
    },
    Page {
        core: Arc<Core>,
        after: Seq,
        limit: Limit,
        known: Known,
    },
}

/// What senders are told while the lane cannot do what has to be done first.
pub(crate) const TRYING_AGAIN: &str = "an earlier operation failed and is being tried again";

/// A job failed in a way that passes.
struct TryLater;

pub(crate) fn has_work(state: &State, hub: &Inner) -> bool {
    state.unsure.is_some()
        || state.fence_due
        || state.ack_due().is_some()
        || must_store(state, hub)
        || hungry(state).is_some()
}

/// The caller has set `state.lane`.
pub(crate) fn start(hub: &Arc<Inner>, user: Arc<User>) {
    let lane = run(hub.lane_guard(), Arc::clone(hub), user);
    hub.runtime.spawn("user queue", Box::pin(lane));
}

async fn run(_guard: LaneGuard, hub: Arc<Inner>, user: Arc<User>) {
    let mut pause = FIRST_PAUSE;
    // Which kind of work comes first changes from round to round, so that none starves the others.
    let mut turn = 0;
    while let Some(job) = next_job(&hub, &user, turn) {
        turn += 1;
        let result = match job {
            Job::Recheck { batch } => recheck(&hub, &user, &batch).await,
            Job::Store { batch, admit } => store(&hub, &user, &batch, admit).await,
            Job::Ack { upto, fence } => ack(&hub, &user, upto, fence).await,
            Job::Page { core, after, limit, known } => page(&hub, &user, &core, after, limit, known).await,
        };
        match result {
            Ok(()) => pause = FIRST_PAUSE,
            Err(TryLater) => {
                refuse_waiting(&hub, &user);
                hub.runtime.sleep_until(hub.runtime.now().saturating_add(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    user.retire_if_idle(&hub);
}

/// Where work that goes before every store does not get through, those who wait for a store are told now, and not when
/// the queue is back.
fn refuse_waiting(hub: &Arc<Inner>, user: &Arc<User>) {
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock()
        && (state.unsure.is_some() || state.fence_due)
    {
        let waiting = state.log.unaccepted();
        state.refused(&waiting, &mut fx, || SendError::Queue(QueueError::Unavailable(TRYING_AGAIN.into())));
    }
    fx.run(hub);
}

fn next_job(hub: &Arc<Inner>, user: &Arc<User>, turn: usize) -> Option<Job> {
    let mut fx = Effects::default();
    let job = {
        let mut state = user.lock()?;
        state.drop_expired(hub, &mut fx);
        let recheck = state.unsure.clone().map(|batch| Job::Recheck { batch });
        let fence = state.fence_due.then_some(Job::Ack { upto: Seq::START, fence: state.epoch });
        let job = recheck.or(fence).or_else(|| {
            (0..3).find_map(|kind| match (turn + kind) % 3 {
                0 => store_job(&state, hub),
                1 => state.ack_due().map(|upto| Job::Ack { upto, fence: state.epoch }),
                _ => page_job(&state, hub),
            })
        });
        state.lane = job.is_some();
        job
    };
    fx.run(hub);
    job
}

fn must_store(state: &State, hub: &Inner) -> bool {
    let due = hub.writes_ahead()
        || state.live() == 0
        || (hub.queue.caps().durable && state.log.bytes() > hub.log_memory())
        || state.log.has_unaccepted();
    due && state.log.has_unstored()
}

fn store_job(state: &State, hub: &Inner) -> Option<Job> {
    if !must_store(state, hub) {
        return None;
    }
    let batch = state.log.unstored_batch(BATCH_MESSAGES, BATCH_BYTES);
    let accepted = batch.first()?.accepted;
    Some(Job::Store { batch, admit: if accepted { Admit::AlreadyAccepted } else { Admit::WithinLimits } })
}

fn hungry(state: &State) -> Option<&Arc<Core>> {
    state.sessions.iter().find(|session| session.slot.lock().wants_page)
}

fn page_job(state: &State, hub: &Inner) -> Option<Job> {
    let core = hungry(state)?;
    let after = core.slot.lock().fed.seq;
    // Over the hub's budget sessions still catch up, a message at a time.
    let limit = if hub.budget.is_over() { Limit { messages: 1, bytes: 0 } } else { Limit::default() };
    Some(Job::Page { core: Arc::clone(core), after, limit, known: state.log.known() })
}

async fn store(hub: &Arc<Inner>, user: &Arc<User>, batch: &[LogEntry], admit: Admit) -> Result<(), TryLater> {
    let mut result = enqueue(hub, user, batch, admit).await;
    if matches!(result, Err(QueueError::Full)) && hub.sweep_for_room().await {
        result = enqueue(hub, user, batch, admit).await;
    }
    if matches!(result, Err(QueueError::Full)) && batch.len() > 1 {
        // The queue refuses a batch as a whole; the messages that still fit are stored.
        return store_what_fits(hub, user, batch, admit).await;
    }
    finish(hub, user, batch, admit, result).await
}

async fn enqueue(hub: &Inner, user: &User, batch: &[LogEntry], admit: Admit) -> Result<Vec<Seq>, QueueError> {
    let now = hub.runtime.now();
    let entries: Vec<Entry> = batch.iter().map(|entry| entry.packet.entry(now)).collect();
    hub.queue.enqueue(user.uid(), &entries, admit).await.map(|stored| stored.seqs)
}

/// Stores those messages of a batch that are within the user's limits and refuses the others, in two queue operations
/// however many there are.
async fn store_what_fits(
    hub: &Arc<Inner>,
    user: &Arc<User>,
    batch: &[LogEntry],
    admit: Admit,
) -> Result<(), TryLater> {
    let caps = hub.queue.caps();
    let (mut messages, mut bytes) = match hub.queue.size(user.uid()).await {
        Ok(size) => (size.messages, size.bytes),
        Err(error) => return finish(hub, user, batch, admit, Err(error)).await,
    };
    let (fitting, others): (Vec<LogEntry>, Vec<LogEntry>) = batch.iter().cloned().partition(|entry| {
        let cost = entry.packet.cost() as u64;
        let fits = messages < caps.max_messages && bytes.saturating_add(cost) <= caps.max_bytes;
        if fits {
            messages += 1;
            bytes += cost;
        }
        fits
    });
    finish(hub, user, &others, admit, Err(QueueError::Full)).await?;
    if fitting.is_empty() {
        return Ok(());
    }
    let result = enqueue(hub, user, &fitting, admit).await;
    finish(hub, user, &fitting, admit, result).await
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
    settle(hub, user, batch, admit, result)?;
    let Some(last) = last else { return Ok(()) };
    let elsewhere = tell(hub, user, last).await;
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock() {
        state.answer(batch, elsewhere, &mut fx);
    }
    fx.run(hub);
    Ok(())
}

/// Looks for a batch whose store failed, and settles whether it was stored. Storing it again would deliver it twice.
async fn recheck(hub: &Arc<Inner>, user: &Arc<User>, batch: &[LogEntry]) -> Result<(), TryLater> {
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
            for entry in batch.iter().filter(|entry| found.iter().all(|(other, _)| other.pos != entry.pos)) {
                state.expired(entry.pos, &mut fx);
            }
        }
    }
    fx.run(hub);
    let (stored, seqs): (Vec<LogEntry>, Vec<Seq>) = found.into_iter().unzip();
    finish(hub, user, &stored, Admit::AlreadyAccepted, Ok(seqs)).await
}

fn settle(
    hub: &Arc<Inner>,
    user: &Arc<User>,
    batch: &[LogEntry],
    admit: Admit,
    result: Result<Vec<Seq>, QueueError>,
) -> Result<(), TryLater> {
    let mut fx = Effects::default();
    let mut later = false;
    if let Some(mut state) = user.lock() {
        state.queue_failing = false;
        match result {
            Ok(seqs) => state.stored(hub, batch, &seqs, &mut fx),
            Err(QueueError::NotKept) => {
                for entry in batch.iter().filter(|entry| entry.accepted) {
                    fx.report(user.uid(), Arc::clone(&entry.packet), Undelivered::NotKept);
                }
                state.refused(batch, &mut fx, || SendError::NotKept);
            }
            Err(error) if admit == Admit::AlreadyAccepted => {
                event!(ERROR, error = %error, "the queue cannot take messages that were accepted; trying again");
                state.queue_failing = true;
                state.unsure = Some(batch.to_vec());
                later = true;
            }
            Err(QueueError::Full) => state.refused(batch, &mut fx, || SendError::Full),
            Err(error) => {
                event!(ERROR, error = %error, "the queue failed");
                let shared = Arc::new(error);
                state.refused(batch, &mut fx, || {
                    SendError::Queue(QueueError::Unavailable(Box::new(Arc::clone(&shared))))
                });
            }
        }
    }
    fx.run(hub);
    if later { Err(TryLater) } else { Ok(()) }
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

async fn ack(hub: &Arc<Inner>, user: &Arc<User>, upto: Seq, fence: Epoch) -> Result<(), TryLater> {
    let acked = match hub.queue.ack(user.uid(), upto, fence).await {
        Ok(remains) => Ok(remains),
        Err(QueueError::Fenced { current }) => Err(current),
        Err(error) => {
            event!(ERROR, error = %error, "acknowledging to the queue failed; retrying");
            return Err(TryLater);
        }
    };
    if let Err(current) = acked {
        hub.raise_epochs(current);
    }
    if let Some(mut state) = user.lock() {
        // Unless a newer login came meanwhile.
        state.fence_due &= state.epoch > fence;
        match acked {
            Ok(remains) => {
                state.log.acked(upto);
                state.log.set_stored_len(remains.messages);
            }
            // Nobody else has this user: the fence was set by an earlier run whose wall clock was ahead.
            Err(_) if hub.relay.is_none() => {
                if state.epoch <= fence {
                    state.epoch = hub.next_epoch();
                }
            }
            Err(_) => state.fenced = state.fenced.max(Some(fence)),
        }
    }
    if acked.is_err() {
        fence::refused(hub, user);
    }
    Ok(())
}

async fn page(
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
    // What is there in all is only an early look at the limits, which the queue enforces: where it cannot be had, the last
    // one stays.
    let len = match page.more {
        true => hub.queue.size(user.uid()).await.ok().map(|size| size.messages),
        false => Some(page.entries.len() as u64),
    };
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock() {
        if let (None, Some(len)) = (state.log.stored_tail(), len) {
            state.log.set_stored_len(len);
        }
        give(&mut state, hub, core, after, known, &page, &mut fx);
    }
    fx.run(hub);
    Ok(())
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

/// Counts lanes, so that a shutdown can wait for the last.
#[derive(Debug)]
pub(crate) struct LaneGuard(pub(crate) Arc<Inner>);

impl Drop for LaneGuard {
    fn drop(&mut self) {
        self.0.lane_ended();
    }
}
