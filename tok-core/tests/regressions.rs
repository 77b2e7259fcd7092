//! Faults that were found once and must not come back.
#![cfg(feature = "tokio")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::*;
use tok_core::{
    Actor, CloseReason, Confirm, Device, Hub, Message, Outcome, Overflow, SendError, Sending, Session, Stats,
    async_trait, rt,
    testkit::{Read, memory_pair, queue::ReferenceQueue},
};

/// The second who asked took the first one's place, and the first slept until the TTL.
#[tokio::test(start_paused = true)]
async fn a_receipt_can_be_asked_by_several() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let receipt = Arc::new(keep(&hub, "alice", "one").await);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let receipt = Arc::clone(&receipt);
        waiting.push(tokio::spawn(async move { receipt.outcome().await }));
    }
    settle().await;
    client.peer.answer(1);
    settle().await;
    for waiting in waiting {
        assert!(waiting.is_finished());
        assert_eq!(waiting.await.unwrap(), Outcome::Confirmed);
    }
}

/// A user who is online and whose session had no room was reported as offline.
#[tokio::test(start_paused = true)]
async fn what_overflows_is_not_reported_as_offline() {
    let journal = Journal::default();
    let notes = journal.clone();
    let hub = builder()
        .max_backlog(1000)
        .overflow(Overflow::Refuse)
        .undelivered(move |_, _, why| notes.note(format!("{why:?}")))
        .build()
        .unwrap();
    let _client = login_with(&hub, Device::new("alice"), 1).await;
    for n in 0..3 {
        let _ = hub.send("alice", format!("{n}{}", "x".repeat(900))).await.unwrap();
        settle().await;
    }
    assert!(hub.is_online("alice").await.unwrap());
    assert_eq!(journal.lines(), ["Dropped"]);
}

/// A refused message waited for an acknowledgement that nobody could give, and filled the window.
#[tokio::test(start_paused = true)]
async fn refused_messages_hold_nothing_back_where_the_application_acknowledges() {
    let queue = tok_queue::MemoryQueue::builder().max_messages(5000).build().unwrap();
    let hub = builder()
        .queue(queue)
        .confirm(Confirm::Acknowledged)
        .before_send(|_, message| match message.as_text() {
            Some("spam") => Sending::Refuse,
            _ => Sending::Pass,
        })
        .build()
        .unwrap();
    let mut client = login(&hub, "alice").await;
    for _ in 0..1100 {
        keep(&hub, "alice", "spam").await;
    }
    keep(&hub, "alice", "real").await;
    assert_eq!(client.drain().await, ["real"]);
}

/// The same when nothing else was sent.
#[tokio::test(start_paused = true)]
async fn a_refused_message_alone_leaves_the_log_where_the_application_acknowledges() {
    let hub = keeping().confirm(Confirm::Acknowledged).before_send(|_, _| Sending::Refuse).build().unwrap();
    let mut client = login(&hub, "alice").await;
    let receipt = keep(&hub, "alice", "spam").await;
    assert_eq!(client.drain().await, [""; 0]);
    assert_eq!(now_or_never(receipt.outcome()), Some(Outcome::Confirmed));
}

/// Messages that expired unacknowledged were gone from the log, and still filled the window.
#[tokio::test(start_paused = true)]
async fn expired_messages_hold_nothing_back_where_the_application_acknowledges() {
    let queue = tok_queue::MemoryQueue::builder().max_messages(5000).build().unwrap();
    let hub = builder().queue(queue).confirm(Confirm::Acknowledged).build().unwrap();
    let mut client = login(&hub, "alice").await;
    for n in numbers(0..1024) {
        let _ = hub.send("alice", n).ttl(secs(5)).await.unwrap();
    }
    client.drain().await;
    pass(secs(10)).await;
    keep(&hub, "alice", "real").await;
    assert_eq!(client.drain().await, ["real"]);
}

/// The answer to a client that sent and closed at once, before the queue had said that nothing waits for it, was lost.
#[tokio::test(start_paused = true)]
async fn a_client_that_closes_at_once_still_gets_its_own_message_back() {
    let echo = Hub::builder(ToSelf).runtime(rt::Tokio).queue(tok_queue::MemoryQueue::new()).build().unwrap();
    let (transport, mut peer) = memory_pair(64 * 1024, true);
    peer.send("one");
    peer.send("two");
    peer.close();
    let session = tokio::spawn(echo.serve(Device::new("alice"), transport));
    for expected in ["one", "two"] {
        assert!(matches!(peer.recv().await, Read::Message(message) if message.as_text() == Some(expected)));
    }
    assert_eq!(session.await.unwrap(), CloseReason::PeerClosed);
}

struct ToSelf;

#[async_trait]
impl Actor for ToSelf {
    async fn on_receive(&self, session: &Session, message: Message) {
        session.hub().send(session.device().uid(), message).await.unwrap();
    }
}

/// What came right behind a login that was refused was handled all the same.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_refused_login_is_handled() {
    let handled = Arc::new(AtomicUsize::new(0));
    let hub = Hub::builder(Counting(Arc::clone(&handled))).runtime(rt::Tokio).build().unwrap();
    for device in [Device::new(""), Device::new("x".repeat(256))] {
        let (transport, mut peer) = memory_pair(64 * 1024, true);
        peer.send("one");
        peer.send("two");
        let session = tokio::spawn(hub.serve(device, transport));
        assert_eq!(peer.recv().await, Read::Close(CloseReason::Unauthorized));
        peer.close();
        assert_eq!(session.await.unwrap(), CloseReason::Unauthorized);
    }
    assert_eq!(handled.load(Ordering::SeqCst), 0);
    assert_eq!(hub.stats(), Stats::default());
}

struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl Actor for Counting {
    async fn on_receive(&self, _: &Session, _: Message) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// It waited behind a message whose store failed, for as long as the queue did, when the next one was refused at once.
#[tokio::test(start_paused = true)]
async fn a_send_behind_a_store_that_fails_is_answered_while_the_queue_is_away() {
    let queue = Moody::new(ReferenceQueue::new());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let client = login(&hub, "alice").await;
    queue.fail(true);
    let _receipt = keep(&hub, "alice", "one").await;
    client.reset().await;
    // "one" cannot be stored, which is tried again after a pause, and is to be stored before it.
    let send = hub.send("alice", "two").ttl(LONG).into_future();
    let result = tokio::time::timeout(secs(60), send).await.expect("an answer");
    assert!(matches!(result, Err(SendError::Queue(_))), "{result:?}");

    queue.fail(false);
    pass(secs(10)).await;
    assert_eq!(login(&hub, "alice").await.drain().await, ["one"]);
}

/// It was said to be stored.
#[tokio::test(start_paused = true)]
async fn a_message_whose_time_runs_out_before_it_is_stored_is_not_said_to_be_stored() {
    let queue = Moody::new(durable());
    queue.fail(true);
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let _client = login(&hub, "alice").await;
    // The queue cannot be read, and is asked again after pauses that have become long.
    pass(secs(20)).await;
    let receipt = hub.send("alice", "one").ttl(Duration::from_millis(10)).await.unwrap();
    assert!(!receipt.is_stored());
    assert_eq!(receipt.outcome().await, Outcome::Lapsed);
}
