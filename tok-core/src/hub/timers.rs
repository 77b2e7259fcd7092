use std::{
    collections::BTreeMap,
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
    // Weak: a session that has ended leaves its entry behind until the tick.
    ticks: BTreeMap<u64, Vec<Weak<Core>>>,
    sweeper: Option<Waker>,
    /// What the sweeper sleeps until.
    sleeping: Option<u64>,
}

/// How coarse deadlines are.
pub(crate) const TICK: Duration = Duration::from_millis(50);

fn tick_of(deadline: Instant) -> u64 {
    deadline.as_nanos().div_ceil(TICK.as_nanos() as u64)
}

fn start_of(tick: u64) -> Instant {
    Instant::from_nanos(tick.saturating_mul(TICK.as_nanos() as u64))
}

impl Timers {
    /// Wakes `core`'s task at `deadline` or up to a tick later. Returns when that will be.
    pub(crate) fn arm(&self, deadline: Instant, core: &Arc<Core>) -> Instant {
        let tick = tick_of(deadline);
        let sweeper = {
            let mut wheel = self.wheel.lock();
            wheel.ticks.entry(tick).or_default().push(Arc::downgrade(core));
            if wheel.sleeping.is_none_or(|sleeping| tick < sleeping) { wheel.sweeper.take() } else { None }
        };
        if let Some(sweeper) = sweeper {
            sweeper.wake();
        }
        start_of(tick)
    }

    fn due(&self, now: Instant) -> Vec<Weak<Core>> {
        let mut wheel = self.wheel.lock();
        let mut due = Vec::new();
        while let Some(first) = wheel.ticks.first_entry() {
            if start_of(*first.key()) > now {
                break;
            }
            due.append(&mut first.remove());
        }
        due
    }
}

/// Wakes sessions that are due, until the hub is gone. It waits for nothing but time: whatever else is done now and then
/// has a task of its own.
pub(crate) async fn run(hub: Weak<Inner>) {
    loop {
        let Some(strong) = hub.upgrade() else { return };
        let now = strong.runtime.now();
        for session in strong.timers.due(now) {
            if let Some(session) = session.upgrade() {
                session.wake();
            }
        }
        let runtime = Arc::clone(&strong.runtime);
        drop(strong);
        // While it waits it holds no hub, so that the last handle's drop ends it.
        let mut sleep: Option<(Instant, BoxFuture<'static, ()>)> = None;
        poll_fn(|cx| {
            let Some(hub) = hub.upgrade() else { return Poll::Ready(()) };
            let wake_at = {
                let mut wheel = hub.timers.wheel.lock();
                let first = wheel.ticks.keys().next().copied();
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
