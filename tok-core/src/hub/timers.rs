use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use super::{inner::Inner, session::Core};
use crate::{
    collections::shrink_list,
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
    /// The sessions to look at in each tick, in any order. Each has one place at most, and knows its index: it leaves the
    /// place when it asks for another time, or ends.
    ticks: BTreeMap<u64, Vec<Arc<Core>>>,
    sweeper: Option<Waker>,
    /// What the sweeper sleeps until.
    sleeping: Option<u64>,
}

impl Wheel {
    fn add(&mut self, tick: u64, core: &Arc<Core>) {
        let places = self.ticks.entry(tick).or_default();
        core.timer.set(places.len());
        places.push(Arc::clone(core));
    }

    fn remove(&mut self, tick: u64, core: &Arc<Core>) {
        let Some(places) = self.ticks.get_mut(&tick) else { return };
        let index = core.timer.get();
        // Its time may have come, and the tick may be another's since.
        if !places.get(index).is_some_and(|here| Arc::ptr_eq(here, core)) {
            return;
        }
        places.swap_remove(index);
        if let Some(moved) = places.get(index) {
            moved.timer.set(index);
        }
        shrink_list(places);
        if places.is_empty() {
            self.ticks.remove(&tick);
        }
    }
}

/// A session's index among those of its tick. It changes only under the wheel's lock.
#[derive(Debug, Default)]
pub(crate) struct TimerIndex(AtomicU32);

impl TimerIndex {
    fn get(&self) -> usize {
        usize::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    fn set(&self, index: usize) {
        self.0.store(u32::try_from(index).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
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
    /// Wakes `core`'s task at `deadline` or up to a tick later, and not at `armed`, which this returned before. Returns
    /// when that will be.
    pub(crate) fn arm(&self, deadline: Instant, core: &Arc<Core>, armed: Option<Instant>) -> Instant {
        let tick = tick_of(deadline);
        let sweeper = {
            let mut wheel = self.wheel.lock();
            if let Some(armed) = armed {
                wheel.remove(tick_of(armed), core);
            }
            wheel.add(tick, core);
            if wheel.sleeping.is_none_or(|sleeping| tick < sleeping) { wheel.sweeper.take() } else { None }
        };
        if let Some(sweeper) = sweeper {
            sweeper.wake();
        }
        start_of(tick)
    }

    /// Forgets a session that has ended, whose last [`arm`](Self::arm) returned `armed`.
    pub(crate) fn disarm(&self, armed: Instant, core: &Arc<Core>) {
        self.wheel.lock().remove(tick_of(armed), core);
    }

    /// The sessions that wait for a time.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.wheel.lock().ticks.values().map(Vec::len).sum()
    }

    fn due(&self, now: Instant) -> Vec<Arc<Core>> {
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
        strong.timers.due(now).iter().for_each(|session| session.wake());
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
