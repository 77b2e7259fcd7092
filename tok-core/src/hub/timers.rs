use std::{
    cmp::Ordering,
    collections::BTreeSet,
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Poll, Waker},
    time::Duration,
};

use super::{inner::Inner, session::Core};
use crate::{
    rt::{BoxFuture, Instant},
    sync::Mutex,
};

/// The hub's one clockwork: sessions ask to be looked at, and one task wakes those that are due.
///
/// Deadlines are rounded up to a tick, so that thousands of sessions share a timer. A session that was active since
/// it asked finds nothing due and asks again; so an idle session costs two looks per ping interval, and a busy one no
/// more.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    wheel: Mutex<Wheel>,
}

#[derive(Debug, Default)]
struct Wheel {
    /// At most one for each session: it goes when the session asks for another time, or ends.
    alarms: BTreeSet<Alarm>,
    sweeper: Option<Waker>,
    /// What the sweeper sleeps until.
    sleeping: Option<u64>,
}

/// When a session is to be looked at.
#[derive(Debug)]
struct Alarm {
    tick: u64,
    core: Weak<Core>,
}

impl Alarm {
    fn new(tick: u64, core: &Arc<Core>) -> Self {
        Self { tick, core: Arc::downgrade(core) }
    }

    fn key(&self) -> (u64, usize) {
        (self.tick, self.core.as_ptr().addr())
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Alarm {}

/// How coarse deadlines are.
pub(crate) const TICK: Duration = Duration::from_millis(50);

fn tick_of(deadline: Instant) -> u64 {
    deadline.as_nanos().div_ceil(TICK.as_nanos() as u64)
}

fn start_of(tick: u64) -> Instant {
    Instant::from_nanos(tick.saturating_mul(TICK.as_nanos() as u64))
}

impl Timers {
    /// Wakes `core`'s task at `deadline` or up to a tick later, and not at `armed`, which this returned before. Returns
    /// when that will be.
    pub(crate) fn arm(&self, deadline: Instant, core: &Arc<Core>, armed: Option<Instant>) -> Instant {
        let tick = tick_of(deadline);
        let sweeper = {
            let mut wheel = self.wheel.lock();
            if let Some(armed) = armed {
                wheel.alarms.remove(&Alarm::new(tick_of(armed), core));
            }
            wheel.alarms.insert(Alarm::new(tick, core));
            if wheel.sleeping.is_none_or(|sleeping| tick < sleeping) { wheel.sweeper.take() } else { None }
        };
        if let Some(sweeper) = sweeper {
            sweeper.wake();
        }
        start_of(tick)
    }

    /// Forgets a session that has ended, whose last [`arm`](Self::arm) returned `armed`.
    pub(crate) fn disarm(&self, armed: Instant, core: &Arc<Core>) {
        self.wheel.lock().alarms.remove(&Alarm::new(tick_of(armed), core));
    }

    /// The sessions that wait for a time.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.wheel.lock().alarms.len()
    }

    fn due(&self, now: Instant) -> Vec<Arc<Core>> {
        let mut due = Vec::new();
        {
            let mut wheel = self.wheel.lock();
            while wheel.alarms.first().is_some_and(|alarm| start_of(alarm.tick) <= now) {
                due.extend(wheel.alarms.pop_first());
            }
        }
        let mut due: Vec<_> = due.iter().filter_map(|alarm| alarm.core.upgrade()).collect();
        // In an order that no address decides: a simulation takes the same steps each time.
        due.sort_unstable_by_key(|core| core.id);
        due
    }
}

/// Wakes sessions that are due, until the hub is gone. It waits for nothing but time: whatever else is done now and then
/// has a task of its own.
pub(crate) async fn run(hub: Weak<Inner>) {
    loop {
        let Some(strong) = hub.upgrade() else { return };
        let now = strong.runtime.now();
        strong.timers.due(now).iter().for_each(|session| session.wake());
        let runtime = Arc::clone(&strong.runtime);
        drop(strong);
        // While it waits it holds no hub, so that the last handle's drop ends it.
        let mut sleep: Option<(Instant, BoxFuture<'static, ()>)> = None;
        poll_fn(|cx| {
            let Some(hub) = hub.upgrade() else { return Poll::Ready(()) };
            let wake_at = {
                let mut wheel = hub.timers.wheel.lock();
                let first = wheel.alarms.first().map(|alarm| alarm.tick);
                wheel.sleeping = first;
                wheel.sweeper = Some(cx.waker().clone());
                first.map(start_of)
            };
            if sleep.as_ref().map(|(at, _)| *at) != wake_at {
                sleep = wake_at.map(|at| (at, runtime.sleep_until(at)));
            }
            // Without a deadline it waits for one.
            sleep.as_mut().map_or(Poll::Pending, |(_, sleep)| sleep.as_mut().poll(cx))
        })
        .await;
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        if let Some(sweeper) = self.wheel.get_mut().sweeper.take() {
            sweeper.wake();
        }
    }
}
