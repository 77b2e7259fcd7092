use std::{convert::Infallible, sync::Arc};

use futures_channel::oneshot;

use super::{
    builder::Settings, everyone::Everyone, hooks::Hooks, lane::LaneGuard, packet::Budget, recent::Recent,
    registry::Registry, room::Rooms, timers::Timers, waiters::Waiters,
};
use crate::{
    Actor, MessageId,
    queue::{Epoch, Queue},
    relay::Relay,
    rt::Runtime,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
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
    /// Up to where stored messages of users were reported as left.
    pub(crate) left: Recent,
    pub(crate) rooms: Rooms,
    pub(crate) everyone: Everyone,
    pub(crate) timers: Timers,
    /// Seeds the maps, so that nobody outside can choose ids that collide.
    pub(crate) seed: u64,
    pub(crate) users_online: AtomicUsize,
    /// Sessions that can be sent something, and places that logins have reserved.
    pub(crate) places_taken: AtomicUsize,
    /// Of these, the places of logins that wait for the cluster.
    pub(crate) places_reserved: AtomicUsize,
    /// Sessions whose tasks run.
    sessions: AtomicUsize,
    pub(crate) next_session: AtomicU64,
    draining: AtomicBool,
    /// Tasks with queue operations under way.
    lanes: AtomicUsize,
    /// Shutdowns that wait for sessions or lanes to end.
    pub(crate) idle_waiters: Mutex<Waiters>,
    message_ids: (u64, AtomicU64),
    epochs: AtomicU64,
    /// When a full queue asked for a sweep last, in nanoseconds of the runtime's clock; 0 for never.
    pub(crate) swept_for_room: AtomicU64,
    /// Dropped with the hub, which ends the task that sweeps the queue.
    _alive: oneshot::Sender<Infallible>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn new(
        settings: Settings,
        runtime: Arc<dyn Runtime>,
        queue: Arc<dyn Queue>,
        relay: Option<Arc<dyn Relay>>,
        actor: Arc<dyn Actor>,
        hooks: Hooks,
        alive: oneshot::Sender<Infallible>,
    ) -> Self {
        let seed = runtime.random();
        Self {
            budget: Arc::new(Budget::new(settings.max_memory)),
            registry: Registry::new(seed),
            recent: Recent::new(seed),
            left: Recent::new(seed),
            rooms: Rooms::new(seed),
            everyone: Everyone::new(seed),
            timers: Timers::default(),
            seed,
            users_online: AtomicUsize::new(0),
            places_taken: AtomicUsize::new(0),
            places_reserved: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            next_session: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            lanes: AtomicUsize::new(0),
            idle_waiters: Mutex::default(),
            message_ids: (runtime.random() | 1, AtomicU64::new(0)),
            // A guess that mostly lies above the epochs of earlier runs. A queue that remembers higher ones says so: see
            // `raise_epochs`.
            epochs: AtomicU64::new(runtime.unix_time().saturating_mul(1000)),
            swept_for_room: AtomicU64::new(0),
            _alive: alive,
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
        let next = |last: u64| Some(last.saturating_add(1));
        let last = self.epochs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        Epoch::new(last.saturating_add(1))
    }

    /// The queue has seen this epoch: those that follow are above it.
    pub(crate) fn raise_epochs(&self, seen: Epoch) {
        self.epochs.fetch_max(seen.get(), Ordering::Relaxed);
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

    /// A login that does not see this is one that [`is_idle`](Self::is_idle) sees: hence the strict order of the flag
    /// and the count.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn lane_guard(self: &Arc<Self>) -> LaneGuard {
        self.lanes.fetch_add(1, Ordering::AcqRel);
        LaneGuard(Arc::clone(self))
    }

    pub(crate) fn lane_ended(&self) {
        self.lanes.fetch_sub(1, Ordering::AcqRel);
        self.wake_idle_waiters();
    }

    /// Sessions that can be sent something.
    pub(crate) fn sessions_live(&self) -> usize {
        let reserved = self.places_reserved.load(Ordering::Acquire);
        self.places_taken.load(Ordering::Acquire).saturating_sub(reserved)
    }

    pub(crate) fn has_place(&self) -> bool {
        let max = self.settings.max_sessions;
        max == 0 || self.places_taken.load(Ordering::Acquire) < max
    }

    /// Counts a session that begins, unless the limit is reached.
    pub(crate) fn count_session(&self) -> bool {
        let max = if self.settings.max_sessions == 0 { usize::MAX } else { self.settings.max_sessions };
        self.places_taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |live| (live < max).then_some(live + 1))
            .is_ok()
    }

    pub(crate) fn uncount_sessions(&self, sessions: usize) {
        if sessions > 0 {
            self.places_taken.fetch_sub(sessions, Ordering::AcqRel);
        }
    }

    pub(crate) fn session_started(&self) {
        self.sessions.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn session_ended(&self) {
        self.sessions.fetch_sub(1, Ordering::AcqRel);
        self.wake_idle_waiters();
    }

    /// Whether no session and no queue operation is left. A shutdown waits before it looks.
    pub(crate) fn is_idle(&self) -> bool {
        self.sessions.load(Ordering::SeqCst) == 0 && self.lanes.load(Ordering::Acquire) == 0
    }

    fn wake_idle_waiters(&self) {
        // Only a shutdown waits here.
        if self.is_draining() {
            let waiters = self.idle_waiters.lock().take();
            waiters.wake();
        }
    }
}
