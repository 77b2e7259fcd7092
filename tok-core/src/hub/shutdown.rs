use std::{
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use super::{Hub, Inner, effects::Effects, session::Core, waiters::Waiter};
use crate::{
    CloseReason,
    rt::{BoxFuture, Instant},
};

/// What a [`Hub::shutdown`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Sessions that were told and ended.
    pub sessions: usize,
    /// Sessions whose goodbye or handler was not done by the deadline, and that were cut off.
    pub forced: usize,
    /// Kept messages that the queue had not taken by the deadline. They are lost when the process ends.
    pub unstored: usize,
}

/// How many closes share a moment when they are spread out.
const STEPS: u32 = 50;

/// The end of the deadline, in which sessions are cut off: a tenth of it, and no more than this.
const CUT_OFF: Duration = Duration::from_millis(200);

impl Hub {
    /// Ends all sessions in good order: no new logins, every session gets its goodbye and
    /// [`CloseReason::Draining`], what is unconfirmed goes to the queue. Messages that are to be kept are still
    /// stored, others are refused.
    ///
    /// The closes are spread over the first half of `deadline`, so that clients do not all reconnect at once.
    /// Sessions that are not done shortly before the deadline (a tenth of it, at most 200 ms) are cut off: their handlers
    /// are dropped where they wait. It returns when everything has ended, at the latest at the deadline, which a timer of
    /// the runtime can overrun by its own precision. Zero cuts everything off and waits for nothing.
    ///
    /// Calling it again waits for the same end. Dropping the future stops the waiting and cuts nothing off; the hub
    /// goes on refusing logins, and sessions that were not told yet stay.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let hub = &self.inner;
        let start = hub.runtime.now();
        hub.drain();
        let mut report = ShutdownReport::default();

        let sessions = hub.everyone.members();
        report.sessions = sessions.len();
        let step = (deadline / 2) / STEPS;
        let per_step = sessions.len().div_ceil(STEPS as usize).max(1);
        for (count, batch) in sessions.chunks(per_step).enumerate() {
            let at = start.saturating_add(step * u32::try_from(count).unwrap_or(STEPS));
            // A handful needs no spreading.
            if count > 0 && sessions.len() > STEPS as usize && self.idle_before(at).await {
                break;
            }
            batch.iter().for_each(|core| self.drain(core));
        }
        // Logins that passed the check before the flag was set.
        hub.everyone.members().iter().for_each(|core| self.drain(core));

        let cut_off = deadline.saturating_sub((deadline / 10).min(CUT_OFF));
        if !self.idle_before(start.saturating_add(cut_off)).await {
            for core in hub.everyone.members() {
                report.forced += 1;
                core.aborted.store(true, Ordering::Release);
                core.wake();
            }
            // What was cut off still goes to the queue, if that answers at once.
            self.idle_before(start.saturating_add(deadline)).await;
        }
        report.sessions = report.sessions.saturating_sub(report.forced);
        report.unstored =
            hub.registry.all().filter_map(|user| user.lock().map(|state| state.log.unstored())).sum();
        report
    }

    fn drain(&self, core: &Core) {
        let mut fx = Effects::default();
        if let Some(mut state) = core.user.lock() {
            state.detach(&self.inner, core, CloseReason::Draining, &mut fx);
        }
        fx.run(&self.inner);
    }

    /// Whether all sessions and queue operations ended before `end`.
    async fn idle_before(&self, end: Instant) -> bool {
        let timer = self.inner.runtime.sleep_until(end);
        IdleBefore { hub: &self.inner, waiter: Waiter::default(), timer }.await
    }
}

/// Waits until the hub is idle, or the time is over. Dropped, it leaves nothing with the hub.
struct IdleBefore<'a> {
    hub: &'a Inner,
    waiter: Waiter,
    timer: BoxFuture<'static, ()>,
}

impl Future for IdleBefore<'_> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        // Before the look: an end that the look misses wakes this task.
        let replaced = self.hub.idle_waiters.lock().add(&mut self.waiter, cx.waker());
        drop(replaced);
        if self.hub.is_idle() {
            return Poll::Ready(true);
        }
        self.timer.as_mut().poll(cx).map(|()| false)
    }
}

impl Drop for IdleBefore<'_> {
    fn drop(&mut self) {
        let waker = self.hub.idle_waiters.lock().remove(&mut self.waiter);
        drop(waker);
    }
}
