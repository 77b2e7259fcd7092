use super::{Pair, assert_messages, message, messages};
use crate::transport::{Incoming, Outgoing};

/// The answer to a barrier does not come before the peer has read everything that was sent before it.
pub async fn barrier_is_answered_only_after_what_is_before_is_read(pair: &mut Pair) {
    assert!(pair.transport().confirms(), "a transport whose peers answer must say so");
    let sent = messages(3);
    for message in &sent {
        pair.start_message(message);
    }
    pair.start(Outgoing::Barrier(7));
    pair.recv_nothing().await;
    for message in &sent {
        let read = pair.deliver_next().await;
        pair.recv_nothing().await;
        assert_messages(&read, std::slice::from_ref(message));
    }
    // Only now the peer reads on, past the barrier.
    assert_eq!(pair.deliver_next().await, [], "what the peer reads behind the barrier");
    assert_barrier(pair, 7).await;
}

/// The answer has the number of the barrier, any number, in the order sent and once, with messages both ways in
/// between.
pub async fn barrier_number_comes_back(pair: &mut Pair) {
    for number in [1, 2, 3, 0, 1 << 32, u64::MAX] {
        pair.start_message(&message(1, 10));
        pair.start(Outgoing::Barrier(number));
        assert_messages(&pair.deliver().await, &[message(1, 10)]);
        pair.peer.send(&message(2, 20));
        assert_barrier(pair, number).await;
        assert_eq!(pair.recv_message().await, message(2, 20));
        pair.recv_nothing().await;
    }
}

/// Whatever the peer answers unasked, a number that was not sent does not come back, and none comes back twice.
pub async fn unsent_barrier_numbers_never_come_back(pair: &mut Pair) {
    for number in [0, 1, 7, u64::MAX] {
        pair.peer.answer(number);
    }
    pair.recv_nothing().await;
    pair.start(Outgoing::Barrier(3));
    pair.deliver().await;
    assert_barrier(pair, 3).await;
    for number in [3, 2, 4, 0] {
        pair.peer.answer(number);
    }
    pair.recv_nothing().await;
    // It goes on as before.
    pair.start(Outgoing::Barrier(4));
    pair.deliver().await;
    assert_barrier(pair, 4).await;
}

/// A ping is answered by a sign of life when the peer has read it, and not before.
pub async fn ping_gives_a_sign_of_life(pair: &mut Pair) {
    for _ in 0..3 {
        pair.start_message(&message(1, 10));
        pair.start(Outgoing::Ping);
        pair.flush().await;
        let early = pair.recv_any().await;
        assert!(early.is_none(), "the peer has not read the ping, and the transport gave {early:?}");
        pair.deliver().await;
        let alive = pair.recv_any().await;
        assert!(
            matches!(alive, Some(Ok(Incoming::Alive))),
            "the peer answered a ping, and the transport gave {alive:?}"
        );
        pair.recv_nothing().await;
    }
}

async fn assert_barrier(pair: &mut Pair, number: u64) {
    let got = pair.recv().await;
    assert!(
        matches!(got, Some(Ok(Incoming::Barrier(answered))) if answered == number),
        "the peer answered barrier {number}, and the transport gave {got:?}"
    );
}
