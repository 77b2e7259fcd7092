//! Removes expired messages from the queue, in a task of its own: a slow queue delays nothing else.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Weak, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use futures_channel::oneshot;

use super::{hooks::Undelivered, inner::Inner};
use crate::{
    queue::{Queue, QueueError, Swept},
    rt::{Instant, Runtime, yield_now},
    trace::event,
};

/// The pause after a sweep that found nothing more.
const INTERVAL: Duration = Duration::from_secs(30);

/// Entries that one call of [`Queue::sweep`] may remove. Other tasks run between two calls.
const BUDGET: usize = 1024;

/// A call that takes longer is abandoned; the next one follows after [`INTERVAL`].
const DEADLINE: Duration = Duration::from_secs(60);

/// The least time between two sweeps that full queues ask for, of whatever users.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// The most calls of [`Queue::sweep`] that one full queue asks for.
const ROOM_CALLS: usize = 8;

/// Resolves when the hub is gone.
pub(crate) type HubEnded = oneshot::Receiver<Infallible>;

/// Sweeps until the hub is gone. While it waits it does not keep the hub alive.
pub(crate) async fn run(hub: Weak<Inner>, mut ended: HubEnded) {
    let Some((runtime, queue)) = parts(&hub) else { return };
    loop {
        let next = runtime.now().saturating_add(INTERVAL);
        if race(runtime.sleep_until(next), &mut ended).await.is_none() {
            return;
        }
        loop {
            let deadline = runtime.now().saturating_add(DEADLINE);
            let call = within(&*runtime, deadline, queue.sweep(BUDGET));
            let Some(result) = race(call, &mut ended).await else { return };
            let Some(hub) = hub.upgrade() else { return };
            if !hub.report_swept(result) {
                break;
            }
            drop(hub);
            yield_now().await;
        }
    }
}

fn parts(hub: &Weak<Inner>) -> Option<(Arc<dyn Runtime>, Arc<dyn Queue>)> {
    let hub = hub.upgrade()?;
    Some((Arc::clone(&hub.runtime), Arc::clone(&hub.queue)))
}

impl Inner {
    /// Sweeps because a queue is full: expired entries take up room until they are swept. Returns false, and does nothing,
    /// within [`ROOM_INTERVAL`] of the last such sweep.
    pub(crate) async fn sweep_for_room(&self) -> bool {
        let now = self.runtime.now();
        let is_due = |last: u64| {
            let due = last == 0 || now.saturating_since(Instant::from_nanos(last)) >= ROOM_INTERVAL;
            due.then_some(now.as_nanos().max(1))
        };
        if self.swept_for_room.fetch_update(Ordering::AcqRel, Ordering::Acquire, is_due).is_err() {
            return false;
        }
        for _ in 0..ROOM_CALLS {
            if !self.report_swept(Some(self.queue.sweep(BUDGET).await)) {
                break;
            }
        }
        true
    }

    /// Reports what a sweep removed, `None` if it was abandoned. Returns true if there is more to sweep.
    fn report_swept(&self, result: Option<Result<Swept, QueueError>>) -> bool {
        match result {
            Some(Ok(swept)) => {
                for (uid, entry) in &swept.expired {
                    self.hooks.undelivered(uid, &entry.to_message(), Undelivered::Expired);
                }
                swept.more && !swept.expired.is_empty()
            }
            Some(Err(error)) => {
                event!(WARN, error = %error, "sweeping the queue failed; retrying later");
                false
            }
            None => {
                event!(
                    WARN,
                    seconds = %DEADLINE.as_secs(),
                    "a sweep of the queue did not end; retrying later"
                );
                false
            }
        }
    }
}

/// The result of `future`, or `None` if the hub ends first.
async fn race<T>(future: impl Future<Output = T>, ended: &mut HubEnded) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        std::pin::Pin::new(&mut *ended).poll(cx).map(|_| None)
    })
    .await
}

/// The result of `future`, or `None` at the deadline.
async fn within<T>(runtime: &dyn Runtime, deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut timer = runtime.sleep_until(deadline);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
    })
    .await
}
