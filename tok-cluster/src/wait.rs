//! Waiting, always with an end: time limits, a bell, and permits.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
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

/// So many at once, and of those who wait for their turn so many; who comes then is refused.
#[derive(Debug)]
pub(crate) struct Permits {
    state: Mutex<State>,
    max_waiting: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: VecDeque<Arc<Turn>>,
}

#[derive(Debug)]
struct Turn {
    granted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Permits {
    pub(crate) fn new(permits: usize, max_waiting: usize) -> Self {
        Self { state: Mutex::new(State { free: permits, waiting: VecDeque::new() }), max_waiting }
    }

    /// A permit, at once or when it is this caller's turn; `None` if too many wait already.
    pub(crate) fn acquire(&self) -> Option<Acquire<'_>> {
        let mut state = self.state.lock();
        let turn = Arc::new(Turn { granted: AtomicBool::new(false), waker: Mutex::default() });
        if state.free > 0 {
            state.free -= 1;
            turn.granted.store(true, Ordering::Release);
        } else if state.waiting.len() < self.max_waiting {
            state.waiting.push_back(Arc::clone(&turn));
        } else {
            return None;
        }
        Some(Acquire { permits: self, turn: Some(turn) })
    }

    fn give_back(&self) {
        let next = {
            let mut state = self.state.lock();
            let next = state.waiting.pop_front();
            match &next {
                Some(turn) => turn.granted.store(true, Ordering::Release),
                None => state.free += 1,
            }
            next
        };
        let waker = next.and_then(|turn| turn.waker.lock().take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Waits for a permit. Dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct Acquire<'a> {
    permits: &'a Permits,
    turn: Option<Arc<Turn>>,
}

impl<'a> Future for Acquire<'a> {
    type Output = Permit<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<'a>> {
        if let Some(turn) = &self.turn {
            *turn.waker.lock() = Some(cx.waker().clone());
            if !turn.granted.load(Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        self.turn = None;
        Poll::Ready(Permit(self.permits))
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let granted = {
            let mut state = self.permits.state.lock();
            state.waiting.retain(|other| !Arc::ptr_eq(other, &turn));
            turn.granted.load(Ordering::Acquire)
        };
        if granted {
            self.permits.give_back();
        }
    }
}

/// Gives its place to the next when dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Permits);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{join, poll_immediate};
    use tok_core::testkit::sim::Sim;

    use super::*;

    #[test]
    fn permits_go_round_in_order_and_none_is_lost() {
        let sim = Sim::new(1);
        sim.run(async {
            let permits = Permits::new(1, 2);
            let first = permits.acquire().unwrap().await;
            let mut second = Box::pin(permits.acquire().unwrap());
            let mut third = Box::pin(permits.acquire().unwrap());
            assert!(permits.acquire().is_none(), "two may wait");
            assert!(
                poll_immediate(&mut second).await.is_none() && poll_immediate(&mut third).await.is_none()
            );
            drop(first);
            // Whoever is granted a permit and leaves without it passes it on.
            drop(second);
            drop(third.await);
            drop(permits.acquire().unwrap().await);
        })
        .unwrap();
    }

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
