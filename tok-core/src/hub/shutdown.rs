use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use super::{Hub, effects::Effects, session::Core};
use crate::CloseReason;

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

impl Hub {
    /// Ends all sessions in good order: no new logins, every session gets its goodbye and
    /// [`CloseReason::Draining`], what is unconfirmed goes to the queue. Messages that are to be kept are still
    /// stored, others are refused.
    ///
    /// The closes are spread over the first half of `deadline`, so that clients do not all reconnect at once. It
    /// returns when everything has ended, at the latest at the deadline, at which the rest is cut off. Calling it
    /// again waits for the same end.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let hub = &self.inner;
        let start = hub.runtime.now();
        let end = start.saturating_add(deadline);
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

        if !self.idle_before(end).await {
            for core in hub.everyone.members() {
                report.forced += 1;
                core.aborted.store(true, Ordering::Release);
                core.wake();
            }
            // What was cut off still goes to the queue, if that answers at once.
            self.idle_before(hub.runtime.now().saturating_add(Duration::from_millis(200))).await;
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
    async fn idle_before(&self, end: crate::rt::Instant) -> bool {
        let mut timer = pin!(self.inner.runtime.sleep_until(end));
        poll_fn(|cx: &mut Context<'_>| {
            if self.inner.poll_idle(cx.waker()) {
                return Poll::Ready(true);
            }
            Pin::new(&mut timer).poll(cx).map(|()| false)
        })
        .await
    }
}
