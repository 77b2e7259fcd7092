use super::{Pair, PeerEvent, assert_messages, message, messages};
use crate::{
    CloseReason,
    transport::{Incoming, Outgoing},
};

/// Everything that was sent before the close reaches the peer, more than the connection's buffers hold too, and then
/// the end.
pub async fn close_flushes_what_was_sent(pair: &mut Pair) {
    let sent = pair.fill().await;
    pair.start(Outgoing::Close(CloseReason::Kicked));
    let mut closed = pair.close().await;
    assert!(closed.is_none(), "what was sent is not written, and the close is {closed:?}");
    let mut events = Vec::new();
    for _ in 0..20_000 {
        let read = pair.peer_read().await;
        if read.is_empty() && events.len() >= sent.len() {
            break;
        }
        events.extend(read);
        if closed.is_none() {
            closed = pair.close().await;
        }
    }
    pair.peer.close();
    if closed.is_none() {
        closed = pair.close().await;
    }
    assert!(matches!(closed, Some(Ok(()))), "the peer has read all and is done, and the close is {closed:?}");
    pair.transport = None;
    events.extend(pair.peer_read().await);
    assert_eq!(events.pop(), Some(PeerEvent::End), "what the peer reads last");
    events.retain(|event| !matches!(event, PeerEvent::Close(_) | PeerEvent::End));
    assert_messages(&events, &sent);
}

/// A peer that ends its direction between two messages has closed in good order, with or without a word. It may still
/// read: what it is sent after that reaches it.
pub async fn answers_reach_a_peer_that_ended_its_direction(pair: &mut Pair) {
    let sent = messages(3);
    sent.iter().for_each(|message| pair.peer.send(message));
    pair.peer.end();
    for message in &sent {
        assert_eq!(pair.recv_message().await.data(), message.data());
    }
    let end = pair.recv().await;
    assert!(
        matches!(end, Some(Ok(Incoming::Close))),
        "the peer ended its direction between two messages, and the transport gave {end:?}"
    );
    for message in &sent {
        pair.start_message(message);
        assert_messages(&pair.deliver().await, std::slice::from_ref(message));
    }
    assert_closed(pair).await;
}

/// A close waits for the peer, whose messages it discards, and ends when the peer has ended its direction.
pub async fn close_discards_what_the_peer_sends_and_ends_when_it_is_done(pair: &mut Pair) {
    pair.peer.send(&message(0, 10));
    pair.start(Outgoing::Close(CloseReason::Draining));
    for number in 0..20 {
        let closed = pair.close().await;
        assert!(closed.is_none(), "the peer is not done, and the close is {closed:?}");
        pair.peer_read().await;
        pair.peer.send(&message(number, 10_000));
    }
    pair.peer.close();
    assert_closed(pair).await;
}

/// After a close nothing is taken, and no message reaches the peer.
pub async fn nothing_is_sent_after_close(pair: &mut Pair) {
    let sent = messages(2);
    for message in &sent {
        pair.start_message(message);
    }
    pair.start(Outgoing::Close(CloseReason::Kicked));
    let accepted = pair.accepted;
    let mut closed = None;
    for number in 0..3 {
        let frame = pair.transport().framing().encode(&message(number, 10));
        for out in [Outgoing::Frame(frame), Outgoing::Barrier(9), Outgoing::Ping] {
            if let Ok(taken) = pair.transport().start_send(out) {
                assert_eq!(taken, accepted, "bytes taken after the close");
            }
        }
        if closed.is_none() {
            closed = pair.close().await;
        }
    }
    let mut events = pair.peer_read().await;
    events.retain(|event| matches!(event, PeerEvent::Message(_)));
    assert_messages(&events, &sent);
}

/// The peer is told the code of the reason, once, behind all that was sent.
pub async fn the_close_reason_reaches_the_peer(pair: &mut Pair) {
    let sent = messages(2);
    for message in &sent {
        pair.start_message(message);
    }
    pair.start(Outgoing::Close(CloseReason::Kicked));
    let closed = pair.close().await;
    assert!(closed.is_none(), "the peer is not done, and the close is {closed:?}");
    let mut events = pair.peer_read().await;
    pair.peer.close();
    assert_closed(pair).await;
    pair.transport = None;
    events.extend(pair.peer_read().await);
    let told = events.split_off(sent.len().min(events.len()));
    assert_messages(&events, &sent);
    let code = CloseReason::Kicked.code();
    assert_eq!(told.first(), Some(&PeerEvent::Close(code)), "what the peer reads behind the messages");
    assert!(
        told[1..].iter().all(|event| *event == PeerEvent::End),
        "behind its close the peer read {told:?}"
    );
}

/// After an error the session says goodbye, flushes and closes; none of these waits for a connection that is gone.
pub async fn a_broken_connection_can_be_closed(pair: &mut Pair) {
    pair.fill().await;
    pair.peer.abort();
    let got = pair.recv().await;
    assert!(matches!(got, Some(Err(_))), "the connection broke, and the transport gave {got:?}");
    let _ = pair.transport().start_send(Outgoing::Close(CloseReason::Disconnected));
    let flushed = super::settle(|cx| pair.transport().poll_flush(cx)).await;
    assert!(flushed.is_some(), "a flush waits for a connection that broke");
    assert!(pair.close().await.is_some(), "a close waits for a connection that broke");
}

async fn assert_closed(pair: &mut Pair) {
    let closed = pair.close().await;
    assert!(matches!(closed, Some(Ok(()))), "the peer is done, and the close is {closed:?}");
}
