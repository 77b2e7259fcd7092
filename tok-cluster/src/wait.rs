//! Waiting, always with an end: time limits, and a bell.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Poll, Waker},
    time::Duration,
};

use futures_util::future::{Either, select};
use tok_core::rt::Runtime;

use crate::sync::Mutex;

/// Runs a future for at most so long; `None` when the time was up, and then the future is dropped.
pub(crate) async fn within<T>(
    runtime: &dyn Runtime,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let timer = runtime.sleep_until(runtime.now().saturating_add(limit));
    match select(pin!(future), timer).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

pub(crate) async fn sleep(runtime: &dyn Runtime, duration: Duration) {
    runtime.sleep_until(runtime.now().saturating_add(duration)).await;
}

/// Wakes one task that waits for work. What is rung while it works is heard when it waits next.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<(bool, Option<Waker>)>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        let waker = {
            let mut rung = self.rung.lock();
            rung.0 = true;
            rung.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) async fn heard(&self) {
        poll_fn(|cx| {
            let mut rung = self.rung.lock();
            if std::mem::take(&mut rung.0) {
                return Poll::Ready(());
            }
            rung.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join;
    use tok_core::testkit::sim::Sim;

    use super::*;

    #[test]
    fn a_bell_that_rang_before_is_heard() {
        let sim = Sim::new(1);
        let bell = Bell::default();
        bell.ring();
        let result = sim.run(async {
            bell.heard().await;
            join(bell.heard(), async { bell.ring() }).await;
        });
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn what_takes_too_long_is_dropped() {
        let sim = Sim::new(1);
        let runtime = sim.runtime();
        let result = sim.run(async {
            let limit = Duration::from_secs(1);
            let never = within(&runtime, limit, std::future::pending::<()>()).await;
            (never, within(&runtime, limit, async { 7 }).await)
        });
        assert_eq!(result, Ok((None, Some(7))));
    }
}
