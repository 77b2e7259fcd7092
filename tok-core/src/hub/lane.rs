//! Queue operations of one user: a task that exists only while there are some, and runs one at a time.

mod page;
mod store;

use std::{sync::Arc, time::Duration};

use super::{
    effects::Effects,
    fence,
    inner::Inner,
    log::{Known, LogEntry},
    session::Core,
    user::{Fenced, Left, Obstacle, Spilling, State, User},
};
use crate::{
    queue::{Admit, Epoch, Limit, QueueError, Seq},
    trace::event,
};

/// One group commit's worth.
const BATCH_MESSAGES: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

/// What is read at once for reports. Many users may leave together.
const LEFT_PAGE: Limit = Limit { messages: 64, bytes: 64 * 1024 };

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
    /// Reads what the last session left, to report it.
    Left {
        left: Left,
        limit: Limit,
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
        || state.left().is_some()
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
    let mut failed = false;
    while let Some(job) = next_job(&hub, &user, turn, failed) {
        turn += 1;
        let result = match job {
            Job::Recheck { batch } => store::recheck(&hub, &user, &batch).await,
            Job::Store { batch, admit } => store::store(&hub, &user, &batch, admit).await,
            Job::Ack { upto, fence } => ack(&hub, &user, upto, fence).await,
            Job::Page { core, after, limit, known } => {
                page::page(&hub, &user, &core, after, limit, known).await
            }
            Job::Left { left, limit } => page::left(&hub, &user, left, limit).await,
        };
        failed = result.is_err();
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

/// The queue is away. Where work that goes before every store does not get through, those who wait for a store and have no
/// session to go to are told now, and not when the queue is back.
fn refuse_waiting(hub: &Arc<Inner>, user: &Arc<User>) {
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock() {
        state.storing = None;
        if state.live() == 0 && (state.unsure.is_some() || state.fence_due) {
            let waiting = state.log.all_waiting();
            state.refused(hub, &waiting, &mut fx, || Obstacle::Away.error());
        }
        state.set_away(hub, true, &mut fx);
    }
    fx.run(hub);
}

/// `failed`: the last job did, and the queue counts as away until one goes well.
fn next_job(hub: &Arc<Inner>, user: &Arc<User>, turn: usize, failed: bool) -> Option<Job> {
    let mut fx = Effects::default();
    let job = {
        let mut state = user.lock()?;
        state.storing = None;
        state.spilling = None;
        state.drop_expired(hub, &mut fx);
        state.set_away(hub, failed, &mut fx);
        let recheck = state.unsure.clone().map(|batch| Job::Recheck { batch });
        let fence = state.fence_due.then_some(Job::Ack { upto: Seq::START, fence: state.epoch });
        let job = recheck.or(fence).or_else(|| {
            (0..4).find_map(|kind| match (turn + kind) % 4 {
                0 => store_job(&state, hub),
                1 => state.ack_due().map(|upto| Job::Ack { upto, fence: state.epoch }),
                2 => page_job(&state, hub),
                _ => state.left().map(|left| Job::Left { left, limit: limit(hub, LEFT_PAGE) }),
            })
        });
        if let Some(Job::Store { batch, admit: Admit::WithinLimits }) = &job {
            state.storing = batch.first().zip(batch.last()).map(|(first, last)| (first.pos, last.pos));
        }
        if let Some(Job::Store { batch, admit: Admit::AlreadyAccepted }) = &job
            && let (Some(first), Some(last)) = (batch.first(), batch.last())
        {
            state.spilling = Some(Spilling { first: first.pos, last: last.pos, messages: batch.len() });
        }
        state.lane = job.is_some();
        job
    };
    fx.run(hub);
    job
}

fn must_store(state: &State, hub: &Inner) -> bool {
    if state.log.waiting().0 > 0 && !state.is_stuck() {
        return true;
    }
    let due = hub.writes_ahead()
        || state.live() == 0
        || (hub.queue.caps().durable && state.log.bytes() > hub.log_memory());
    due && state.log.has_accepted()
}

fn store_job(state: &State, hub: &Inner) -> Option<Job> {
    if !must_store(state, hub) {
        return None;
    }
    // What the queue takes as one message it takes as a batch, too.
    let bytes = hub.queue.caps().max_message.map_or(BATCH_BYTES, |most| most.min(BATCH_BYTES));
    let batch = state.log.unstored_batch(BATCH_MESSAGES, bytes);
    let accepted = batch.first()?.accepted;
    Some(Job::Store { batch, admit: if accepted { Admit::AlreadyAccepted } else { Admit::WithinLimits } })
}

fn hungry(state: &State) -> Option<&Arc<Core>> {
    state.sessions.iter().find(|session| session.slot.lock().wants_page)
}

fn page_job(state: &State, hub: &Inner) -> Option<Job> {
    let core = hungry(state)?;
    let after = core.slot.lock().fed.seq;
    let limit = limit(hub, Limit::default());
    Some(Job::Page { core: Arc::clone(core), after, limit, known: state.log.known() })
}

/// Over the hub's budget the queue is still read, a message at a time.
fn limit(hub: &Inner, limit: Limit) -> Limit {
    if hub.budget.is_over() { Limit { messages: 1, bytes: 0 } } else { limit }
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
                state.log.know_stored_size(remains);
                state.unstick();
            }
            // Nobody else has this user: the fence was set by an earlier run whose wall clock was ahead.
            Err(_) if hub.relay.is_none() => {
                if state.epoch <= fence {
                    state.epoch = hub.next_epoch();
                }
            }
            Err(current) => state.fenced = Some(Fenced { refused: fence, current }),
        }
    }
    if acked.is_err() {
        fence::refused(hub, user);
    }
    Ok(())
}

/// Counts lanes, so that a shutdown can wait for the last.
#[derive(Debug)]
pub(crate) struct LaneGuard(pub(crate) Arc<Inner>);

impl Drop for LaneGuard {
    fn drop(&mut self) {
        self.0.lane_ended();
    }
}
