use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use super::SimRuntime;
use crate::{
    rt::{BoxFuture, Runtime},
    sync::Mutex,
};

/// Whichever ends first; `None` if that is `other`.
pub(super) async fn race<T>(future: impl Future<Output = T>, other: impl Future<Output = ()>) -> Option<T> {
    let (mut future, mut other) = (pin!(future), pin!(other));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => other.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Runs a future for at most so long.
pub(super) async fn within<T>(
    rt: &SimRuntime,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    race(future, rt.sleep_until(rt.now().saturating_add(limit))).await
}

/// Runs all of them to their ends.
pub(super) async fn all(futures: Vec<BoxFuture<'_, ()>>) {
    let mut left: Vec<Option<Pin<Box<_>>>> = futures.into_iter().map(Some).collect();
    poll_fn(|cx| {
        for slot in &mut left {
            if slot.as_mut().is_some_and(|future| future.as_mut().poll(cx).is_ready()) {
                *slot = None;
            }
        }
        if left.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Something that happens once, and that others wait for.
#[derive(Debug, Default)]
pub(super) struct Flag(Mutex<(bool, Vec<std::task::Waker>)>);

impl Flag {
    pub(super) fn is_set(&self) -> bool {
        self.0.lock().0
    }

    pub(super) fn set(&self) {
        let waiting = {
            let mut flag = self.0.lock();
            flag.0 = true;
            std::mem::take(&mut flag.1)
        };
        waiting.into_iter().for_each(std::task::Waker::wake);
    }

    /// Waits until it is set.
    pub(super) async fn wait(&self) {
        poll_fn(|cx| {
            let mut flag = self.0.lock();
            if flag.0 {
                return Poll::Ready(());
            }
            flag.1.retain(|waker| !waker.will_wake(cx.waker()));
            flag.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
