use std::{sync::Arc, task::Waker, time::Duration};

use super::{
    builder::Settings,
    hooks::{Hooks, Undelivered},
    lane::LaneGuard,
    packet::Budget,
    recent::Recent,
    registry::Registry,
    room::{Room, Rooms},
    timers::Timers,
};
use crate::{
    Actor, MessageId,
    queue::{Epoch, Queue},
    relay::Relay,
    rt::{Instant, Runtime},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    trace::event,
};

/// What every handle of a hub shares.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) relay: Option<Arc<dyn Relay>>,
    pub(crate) actor: Arc<dyn Actor>,
    pub(crate) hooks: Hooks,
    pub(crate) budget: Arc<Budget>,
    pub(crate) registry: Registry,
    pub(crate) recent: Recent,
    pub(crate) rooms: Rooms,
    /// The room that every session is in.
    pub(crate) everyone: Room,
    pub(crate) timers: Timers,
    /// Seeds the maps, so that nobody outside can choose ids that collide.
    pub(crate) seed: u64,
    pub(crate) users_online: AtomicUsize,
    /// Sessions that can be sent something.
    pub(crate) sessions_live: AtomicUsize,
    /// Sessions whose tasks run.
    sessions: AtomicUsize,
    pub(crate) next_session: AtomicU64,
    draining: AtomicBool,
    /// Tasks with queue operations under way.
    lanes: AtomicUsize,
    /// Whoever waits for sessions or lanes to end.
    idle_waiters: Mutex<Vec<Waker>>,
    message_ids: (u64, AtomicU64),
    epochs: AtomicU64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

/// Entries that one call of a queue's sweep may remove.
const SWEEP_BUDGET: usize = 1024;

impl Inner {
    pub(crate) fn new(
        settings: Settings,
        runtime: Arc<dyn Runtime>,
        queue: Arc<dyn Queue>,
        relay: Option<Arc<dyn Relay>>,
        actor: Arc<dyn Actor>,
        hooks: Hooks,
    ) -> Self {
        let seed = runtime.random();
        Self {
            budget: Arc::new(Budget::new(settings.max_memory)),
            registry: Registry::new(seed),
            recent: Recent::new(seed),
            rooms: Rooms::new(seed),
            everyone: Room::new("", seed),
            timers: Timers::default(),
            seed,
            users_online: AtomicUsize::new(0),
            sessions_live: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            next_session: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            lanes: AtomicUsize::new(0),
            idle_waiters: Mutex::default(),
            message_ids: (runtime.random() | 1, AtomicU64::new(0)),
            // Epochs rise over restarts too, as far as the wall clock does.
            epochs: AtomicU64::new(runtime.unix_time().saturating_mul(1000)),
            settings,
            runtime,
            queue,
            relay,
            actor,
            hooks,
        }
    }

    pub(crate) fn next_message_id(&self) -> MessageId {
        let (prefix, counter) = &self.message_ids;
        let count = counter.fetch_add(1, Ordering::Relaxed);
        MessageId::from_u128(u128::from(*prefix) << 64 | u128::from(count))
    }

    pub(crate) fn next_epoch(&self) -> Epoch {
        Epoch::new(self.epochs.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether messages are stored before any session is given them.
    pub(crate) fn writes_ahead(&self) -> bool {
        // In a cluster the shared queue is the log.
        self.relay.is_some() || self.settings.durability == super::builder::Durability::WriteAhead
    }

    /// The stored messages of one user that stay in memory for sessions that are a little behind.
    pub(crate) fn log_memory(&self) -> usize {
        // In a cluster sessions read the shared queue alone: other nodes' messages stand between this node's.
        if self.relay.is_some() { 0 } else { self.settings.backlog.max_bytes }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// A login that does not see this is one that [`poll_idle`](Self::poll_idle) sees: hence the strict order of the flag
    /// and the count.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn next_queue_sweep(&self) -> Instant {
        const EVERY: Duration = Duration::from_secs(30);
        self.runtime.now().saturating_add(EVERY)
    }

    /// Has the queue remove what has expired, and reports it.
    pub(crate) async fn sweep_queue(&self) {
        loop {
            match self.queue.sweep(SWEEP_BUDGET).await {
                Ok(swept) => {
                    for (uid, entry) in &swept.expired {
                        self.hooks.undelivered(uid, &entry.to_message(), Undelivered::Expired);
                    }
                    if !swept.more || swept.expired.is_empty() {
                        return;
                    }
                }
                Err(error) => {
                    event!(WARN, error = %error, "the queue cannot be swept");
                    return;
                }
            }
        }
    }

    pub(crate) fn lane_guard(self: &Arc<Self>) -> LaneGuard {
        self.lanes.fetch_add(1, Ordering::AcqRel);
        LaneGuard(Arc::clone(self))
    }

    pub(crate) fn lane_ended(&self) {
        self.lanes.fetch_sub(1, Ordering::AcqRel);
        self.wake_idle_waiters();
    }

    pub(crate) fn has_place(&self) -> bool {
        let max = self.settings.max_sessions;
        max == 0 || self.sessions_live.load(Ordering::Acquire) < max
    }

    /// Counts a session that begins, unless the limit is reached.
    pub(crate) fn count_session(&self) -> bool {
        let max = if self.settings.max_sessions == 0 { usize::MAX } else { self.settings.max_sessions };
        self.sessions_live
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |live| (live < max).then_some(live + 1))
            .is_ok()
    }

    pub(crate) fn uncount_session(&self) {
        self.sessions_live.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn session_started(&self) {
        self.sessions.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn session_ended(&self) {
        self.sessions.fetch_sub(1, Ordering::AcqRel);
        self.wake_idle_waiters();
    }

    /// Whether no session and no queue operation is left; if not, `waker` is woken when one ends.
    pub(crate) fn poll_idle(&self, waker: &Waker) -> bool {
        self.idle_waiters.lock().push(waker.clone());
        self.sessions.load(Ordering::SeqCst) == 0 && self.lanes.load(Ordering::Acquire) == 0
    }

    fn wake_idle_waiters(&self) {
        // Only a shutdown waits here.
        if self.is_draining() {
            let waiters = std::mem::take(&mut *self.idle_waiters.lock());
            waiters.into_iter().for_each(Waker::wake);
        }
    }
}
