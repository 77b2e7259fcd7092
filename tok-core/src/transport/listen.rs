use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use super::{Accept, PeerAddr, stream::user_timeout};
use crate::{
    rt::{BoxFuture, Runtime},
    sync::Mutex,
    trace::event,
};

/// Accepts connections for as long as it is polled, and runs `handle` for each in a task of its own.
///
/// `max_handshakes` bounds the connections that have not finished their login: at the bound no more are accepted until
/// one has, so that further ones wait in the operating system's backlog. `handle` says that a login is over by
/// dropping the [`Handshake`] that it is given.
///
/// `write_timeout` is the hub's ([`Hub::write_timeout`](crate::Hub::write_timeout)). Where it is not zero, TCP breaks a
/// connection whose peer acknowledges nothing for three minutes, or for 15 seconds more than the write timeout where that
/// is longer. So a peer that vanished is found also where nobody else asks for it. Zero leaves the operating system's own
/// limit, which is about 15 minutes on Linux.
///
/// Errors of the listener (out of file descriptors, say) are met with a pause that doubles from 5 ms to 1 s, so that
/// they neither end the loop nor make it spin.
pub async fn listen<A, F>(
    runtime: Arc<dyn Runtime>,
    listener: A,
    max_handshakes: usize,
    write_timeout: Duration,
    handle: F,
) where
    A: Accept,
    F: Fn(A::Stream, PeerAddr, Handshake) -> BoxFuture<'static, ()> + Send + Sync,
{
    const FIRST_PAUSE: Duration = Duration::from_millis(5);
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    let gate = Arc::new(Gate { open: AtomicUsize::new(0), waiter: Mutex::new(None) });
    let user_timeout = user_timeout(write_timeout);
    let mut pause = FIRST_PAUSE;
    loop {
        let permit = gate.enter(max_handshakes.max(1)).await;
        match listener.accept().await {
            Ok((stream, addr)) => {
                pause = FIRST_PAUSE;
                if let Some(timeout) = user_timeout {
                    listener.set_user_timeout(&stream, timeout);
                }
                runtime.spawn("connection", handle(stream, addr, permit));
            }
            Err(error) => {
                event!(WARN, error = %error, "cannot accept connections");
                runtime.sleep_until(runtime.now().saturating_add(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// A login under way; dropping it makes room for another. See [`listen`].
#[derive(Debug)]
#[must_use]
pub struct Handshake(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    open: AtomicUsize,
    waiter: Mutex<Option<Waker>>,
}

impl Gate {
    async fn enter(self: &Arc<Self>, max: usize) -> Handshake {
        poll_fn(|cx| {
            // The waker first: a handshake that ends between the check and the registration would be missed.
            *self.waiter.lock() = Some(cx.waker().clone());
            if self.open.load(Ordering::Acquire) < max { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.open.fetch_add(1, Ordering::AcqRel);
        Handshake(Arc::clone(self))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        let waiter = self.0.waiter.lock().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}
