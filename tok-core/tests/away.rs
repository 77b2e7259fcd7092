//! Sends while the queue cannot be read or written: they wait for a bounded time, and nothing overtakes what is stored.
#![cfg(feature = "tokio")]

mod common;

use std::{future::IntoFuture, sync::Arc};

use common::*;
use tok_core::{Device, Hub, Overflow, Receipt, SendError, Sso};
use tokio::task::JoinHandle;

/// A hub over a queue in which one message waits for alice.
async fn with_backlog(builder: tok_core::HubBuilder) -> (Hub, Arc<Moody>) {
    let queue = Moody::new(durable());
    let hub = builder.queue(Arc::clone(&queue)).build().unwrap();
    keep(&hub, "alice", "stored").await;
    settle().await;
    (hub, queue)
}

fn sending(hub: &Hub, uid: &str, text: &str) -> JoinHandle<Result<Receipt, SendError>> {
    tokio::spawn(hub.send(uid, text).into_future())
}

#[tokio::test(start_paused = true)]
async fn transient_send_fails_after_two_seconds_while_the_backlog_cannot_be_read() {
    let (hub, queue) = with_backlog(builder()).await;
    queue.fail(true);
    let mut client = login(&hub, "alice").await;
    let send = sending(&hub, "alice", "transient");
    pass(secs(1)).await;
    assert!(!send.is_finished());
    pass(secs(1)).await;
    settle().await;
    assert!(send.is_finished());
    assert!(matches!(send.await.unwrap(), Err(SendError::BacklogUnread)));
    queue.fail(false);
    pass(secs(10)).await;
    // What failed is not delivered later.
    assert_eq!(client.drain().await, ["stored"]);
    let receipt = hub.send("alice", "after").await.unwrap();
    assert_eq!(receipt.sessions(), 1);
    assert_eq!(client.drain().await, ["after"]);
    client.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn transient_sends_wait_for_a_backlog_that_becomes_readable_and_follow_it() {
    let (hub, queue) = with_backlog(builder()).await;
    queue.fail(true);
    let mut client = login(&hub, "alice").await;
    let sends = ["one", "two", "three"].map(|text| sending(&hub, "alice", text));
    pass(secs(1)).await;
    assert!(sends.iter().all(|send| !send.is_finished()));
    queue.fail(false);
    pass(secs(1)).await;
    for send in sends {
        assert!(send.is_finished());
        assert_eq!(send.await.unwrap().unwrap().sessions(), 1);
    }
    assert_eq!(client.drain().await, ["stored", "one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn transient_send_fails_while_the_queue_does_not_answer() {
    let (hub, queue) = with_backlog(builder().send_timeout(secs(1))).await;
    queue.pause();
    let mut client = login(&hub, "alice").await;
    let first = sending(&hub, "alice", "too early");
    pass(secs(1)).await;
    assert!(matches!(first.await.unwrap(), Err(SendError::BacklogUnread)));
    let second = sending(&hub, "alice", "in time");
    settle().await;
    queue.resume();
    assert_eq!(second.await.unwrap().unwrap().sessions(), 1);
    assert_eq!(client.drain().await, ["stored", "in time"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_send_timeout_a_transient_send_fails_at_once() {
    let (hub, queue) = with_backlog(builder().send_timeout(secs(0))).await;
    queue.pause();
    let mut client = login(&hub, "alice").await;
    let send = sending(&hub, "alice", "transient");
    settle().await;
    assert!(matches!(send.await.unwrap(), Err(SendError::BacklogUnread)));
    queue.resume();
    assert_eq!(client.drain().await, ["stored"]);
}

#[tokio::test(start_paused = true)]
async fn transient_send_to_a_session_that_ends_unread_is_offline() {
    let journal = Journal::default();
    let notes = journal.clone();
    let builder = builder()
        .undelivered(move |_, message, why| notes.note(format!("{why:?} {}", message.as_text().unwrap())));
    let (hub, queue) = with_backlog(builder).await;
    queue.fail(true);
    let client = login(&hub, "alice").await;
    let send = sending(&hub, "alice", "transient");
    settle().await;
    client.reset().await;
    settle().await;
    assert!(send.is_finished());
    let receipt = send.await.unwrap().unwrap();
    assert_eq!((receipt.is_offline(), receipt.sessions()), (true, 0));
    assert_eq!(journal.lines(), ["Stored stored", "Offline transient"]);
}

#[tokio::test(start_paused = true)]
async fn transient_send_is_not_moved_to_a_session_that_takes_over() {
    let (hub, queue) = with_backlog(builder()).await;
    queue.fail(true);
    let _old = login(&hub, "alice").await;
    let send = sending(&hub, "alice", "transient");
    settle().await;
    let mut new = login(&hub, "alice").await;
    settle().await;
    assert!(matches!(send.await.unwrap(), Err(SendError::BacklogUnread)));
    queue.fail(false);
    pass(secs(10)).await;
    assert_eq!(new.drain().await, ["stored"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_read_everything_makes_no_sender_wait() {
    let (hub, queue) = with_backlog(builder().sso(Sso::Off)).await;
    let mut reads = login(&hub, "alice").await;
    reads.peer.answers(false);
    reads.expect(["stored"]).await;
    queue.fail(true);
    let mut unread = login(&hub, "alice").await;
    let receipt = now_or_never(hub.send("alice", "transient").into_future());
    assert_eq!(receipt.unwrap().unwrap().sessions(), 2);
    assert_eq!(reads.text().await, "transient");
    queue.fail(false);
    pass(secs(10)).await;
    assert_eq!(unread.drain().await, ["stored", "transient"]);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_transient_send_that_waits_does_not_withdraw_it() {
    let (hub, queue) = with_backlog(builder()).await;
    queue.pause();
    let mut client = login(&hub, "alice").await;
    assert!(now_or_never(hub.send("alice", "transient").into_future()).is_none());
    queue.resume();
    assert_eq!(client.drain().await, ["stored", "transient"]);
    client.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn transient_sends_that_wait_count_against_the_backlog_until_they_fail() {
    let (hub, queue) = with_backlog(builder().max_backlog(1000).overflow(Overflow::Refuse)).await;
    queue.fail(true);
    let mut client = login_with(&hub, Device::new("alice"), BUFFER).await;
    let big = "x".repeat(500);
    let waiting = sending(&hub, "alice", &big);
    settle().await;
    assert_eq!(hub.send("alice", big.clone()).await.unwrap().sessions(), 0);
    assert!(waiting.await.unwrap().is_err());
    queue.fail(false);
    pass(secs(10)).await;
    assert_eq!(hub.send("alice", big.clone()).await.unwrap().sessions(), 1);
    assert_eq!(client.drain().await, ["stored", &big]);
}
