//! How sessions end, and that nothing is left of them.
#![cfg(feature = "tokio")]

mod common;

use std::sync::Arc;

use common::*;
use tok_core::{
    CloseReason, Device, Message, Outcome, SendError, Session,
    testkit::{Read, memory_pair},
};

#[tokio::test(start_paused = true)]
async fn what_a_peer_sent_before_it_closed_is_handled_and_answered() {
    let hub = builder().build().unwrap();
    let mut client = login(&hub, "alice").await;
    for n in numbers(0..1000) {
        client.send(&n);
    }
    client.peer.close();
    client.expect(numbers(0..1000)).await;
    assert_eq!(client.peer.recv().await, Read::End);
    assert_eq!(client.session.await.unwrap(), CloseReason::PeerClosed);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_peer_gets_the_answers_of_slow_handlers() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone()).build().unwrap();
    let mut client = login(&hub, "held").await;
    client.send("one");
    client.send("two");
    client.peer.close();
    for text in ["one", "two"] {
        pass(secs(1)).await;
        actor.release(1);
        assert_eq!(client.text().await, text);
    }
    assert_eq!(client.session.await.unwrap(), CloseReason::PeerClosed);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_left_has_its_messages_handled_however_long_that_takes() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone()).close_timeout(secs(3)).build().unwrap();
    let client = login(&hub, "held").await;
    client.send("one");
    client.send("two");
    client.peer.close();
    pass(secs(60)).await;
    // It does not count as online meanwhile.
    assert_eq!(hub.stats().sessions, 0);
    assert!(!client.session.is_finished());
    actor.release(2);
    assert_eq!(client.session.await.unwrap(), CloseReason::PeerClosed);
    assert_eq!(actor.journal.lines(), ["begin one", "end one", "begin two", "end two"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_the_connection_broke_is_handled() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone()).build().unwrap();
    let client = login(&hub, "held").await;
    client.send("one");
    client.send("two");
    settle().await;
    client.peer.reset();
    settle().await;
    assert_eq!(hub.stats().sessions, 0);
    actor.release(2);
    assert_eq!(client.session.await.unwrap(), CloseReason::Disconnected);
    assert_eq!(actor.journal.lines(), ["begin one", "end one", "begin two", "end two"]);
}

#[tokio::test(start_paused = true)]
async fn a_login_and_its_messages_that_are_there_at_once_are_served() {
    let hub = builder().build().unwrap();
    let (transport, mut peer) = memory_pair(BUFFER, true);
    peer.send("one");
    peer.close();
    assert_eq!(hub.serve(Device::new("alice"), transport).await, CloseReason::PeerClosed);
    assert_eq!(text(peer.recv().await), "one");
    assert_eq!(peer.recv().await, Read::End);
}

#[tokio::test(start_paused = true)]
async fn dropping_serves_future_ends_the_session_and_keeps_what_is_kept() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let receipt = keep(&hub, "alice", "one").await;
    client.expect(["one"]).await;
    client.session.abort();
    assert_eq!(client.peer.recv().await, Read::End);
    settle().await;
    assert!(!hub.is_online("alice").await.unwrap());
    assert_eq!(hub.stats().sessions, 0);
    let mut again = login(&hub, "alice").await;
    assert_eq!(again.drain().await, ["one"]);
    assert_eq!(receipt.outcome().await, Outcome::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn a_hub_lives_while_a_session_does_and_is_gone_afterwards() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let actor = Act(move |session: Session, message: Message| {
        let _held = &held;
        let _ = session.send(message);
        std::future::ready(())
    });
    let hub = builder_of(actor).build().unwrap();
    let mut client = login(&hub, "alice").await;
    drop(hub);
    settle().await;
    client.send("one");
    assert_eq!(client.text().await, "one");
    client.leave().await;
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_handle_that_outlives_its_session_does_nothing() {
    let journal = Journal::default();
    let (open, notes) = (Arc::new(std::sync::OnceLock::new()), journal.clone());
    let kept = Arc::clone(&open);
    let hub = keeping()
        .open(move |session| drop(kept.set(session.clone())))
        .undelivered(move |_, message, why| notes.note(format!("{why:?} {}", message.as_text().unwrap())))
        .build()
        .unwrap();
    login(&hub, "alice").await.leave().await;
    let session = open.get().unwrap();
    assert!(!session.is_open());
    assert!(matches!(session.send("late"), Err(SendError::Ended)));
    session.close(CloseReason::Kicked);
    session.writable().await;
    assert!(session.join("room").is_err());
    assert_eq!(session.leave("room"), 0);
    assert!(!session.ack(tok_core::MessageId::from_u128(1)));
    assert_eq!(hub.stats(), Default::default());
    assert_eq!(journal.lines(), Vec::<String>::new());
}

/// A connection's task is one future: what it takes is what an idle connection costs at least.
#[tokio::test]
async fn a_sessions_future_is_small() {
    let hub = builder().build().unwrap();
    let (transport, _peer) = memory_pair(BUFFER, true);
    let size = size_of_val(&hub.serve(Device::new("alice"), transport));
    // 416 when this was written: the session's state and its handler, and the transport once.
    assert!(size <= 448, "{size} bytes");
}

/// Handlers await these in every branch that sends something, and so every handled message's box has room for the largest.
#[tokio::test]
async fn futures_that_handlers_await_are_small() {
    let hub = builder().build().unwrap();
    let sizes = [
        size_of_val(&hub.send("alice", "x").into_future()),
        size_of_val(&hub.broadcast("x")),
        size_of_val(&hub.publish("tea", "x")),
        size_of_val(&hub.kick("alice").into_future()),
        size_of_val(&hub.is_online("alice")),
    ];
    assert!(sizes.iter().all(|size| *size <= 320), "{sizes:?}");
}
