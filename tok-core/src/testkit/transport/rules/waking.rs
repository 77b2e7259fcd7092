use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{Pair, Wakes, message, poll_once};
use crate::{
    CloseReason,
    transport::{Incoming, Outgoing},
};

/// A recv that is pending wakes its task when the peer sends or closes, also when a flush was polled after it.
pub async fn pending_recv_registers_the_waker(pair: &mut Pair) {
    for number in 0..3 {
        pair.recv_nothing().await;
        let (wakes, written) = wait(pair);
        assert!(written, "nothing is unwritten, and a flush is pending");
        pair.peer.send(&message(number, 10));
        assert!(wakes.take() > 0, "the peer sent, and the task that waits for it was not woken");
        pair.recv_message().await;
    }
    pair.recv_nothing().await;
    let (wakes, _) = wait(pair);
    pair.peer.close();
    assert!(wakes.take() > 0, "the peer closed, and the task that waits for it was not woken");
}

/// A flush that is pending wakes its task when the peer reads, and the latest waker is the one that counts.
pub async fn pending_flush_registers_the_waker(pair: &mut Pair) {
    for with_recv in [false, true] {
        pair.fill().await;
        let (wakes, waker) = Wakes::new();
        let flushed = pair.transport().poll_flush(&mut Context::from_waker(&waker));
        assert!(flushed.is_pending(), "a flush is ready, and the peer has not read");
        let wakes = if with_recv { wait(pair).0 } else { wakes };
        wakes.take();
        pair.peer_read().await;
        assert!(wakes.take() > 0, "the peer read, and the task that waits to write was not woken");
        pair.deliver().await;
    }
}

/// Polls both directions as a session does, whose one task waits for both: the task's wakes from then on, and whether
/// all is written.
fn wait(pair: &mut Pair) -> (Arc<Wakes>, bool) {
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    assert!(pair.transport().poll_recv(&mut cx).is_pending(), "nothing was sent");
    let flushed = pair.transport().poll_flush(&mut cx);
    assert!(pair.transport().poll_recv(&mut cx).is_pending(), "nothing was sent");
    wakes.take();
    (wakes, flushed.is_ready())
}

/// A close that is pending wakes its task when the peer is done.
pub async fn pending_close_registers_the_waker(pair: &mut Pair) {
    pair.start(Outgoing::Close(CloseReason::Draining));
    pair.close().await;
    pair.peer_read().await;
    let (wakes, waker) = Wakes::new();
    let closed = pair.transport().poll_close(&mut Context::from_waker(&waker));
    assert!(closed.is_pending(), "the peer is not done, and the close is {closed:?}");
    wakes.take();
    pair.peer.close();
    assert!(wakes.take() > 0, "the peer is done, and the task that closes was not woken");
}

/// However much there is to read, a poll comes back soon, with something or with the task woken to go on.
pub async fn a_flooding_peer_does_not_hold_the_task(pair: &mut Pair) {
    pair.peer.flood();
    for _ in 0..16 {
        match poll_once(|cx| pair.transport().poll_recv(cx)) {
            (Poll::Ready(Ok(Incoming::Message(_) | Incoming::Alive)), _) => {}
            (Poll::Ready(other), _) => panic!("the peer floods, and the transport gave {other:?}"),
            (Poll::Pending, woken) => assert!(woken, "a poll came to the end of a flood"),
        }
    }
}

/// The same while it closes.
pub async fn a_flooding_peer_does_not_hold_the_task_that_closes(pair: &mut Pair) {
    pair.start(Outgoing::Close(CloseReason::Kicked));
    pair.peer.flood();
    for _ in 0..16 {
        let (closed, woken) = poll_once(|cx| pair.transport().poll_close(cx));
        assert!(closed.is_pending(), "the peer floods and is not done, and the close is {closed:?}");
        assert!(woken, "a poll came to the end of a flood");
    }
}
