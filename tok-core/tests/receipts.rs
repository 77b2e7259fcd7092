//! What a receipt says of a message, at once and in the end.
#![cfg(feature = "tokio")]

mod common;

use std::{future::IntoFuture, sync::Arc};

use common::*;
use tok_core::{
    Confirm, Epoch, MessageId, Outcome, Queue, SendError, Sso, Uid, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    testkit::queue::ReferenceQueue,
};

#[tokio::test(start_paused = true)]
async fn confirmed_after_the_peer_answered_and_not_before() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let receipt = keep(&hub, "alice", "one").await;
    assert_eq!(client.text().await, "one");
    pass(secs(20)).await;
    assert_eq!(now_or_never(receipt.outcome()), None);
    let waiting = tokio::spawn(async move { receipt.outcome().await });
    settle().await;
    assert!(!waiting.is_finished());
    client.peer.answer(1);
    settle().await;
    assert!(waiting.is_finished());
    assert_eq!(waiting.await.unwrap(), Outcome::Confirmed);
    client.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn lapsed_when_its_ttl_runs_out_online_and_offline() {
    let hub = keeping().ping_interval(secs(0)).build().unwrap();
    let mut client = login(&hub, "online").await;
    client.peer.answers(false);
    for uid in ["online", "offline"] {
        let receipt = hub.send(uid, "short").ttl(secs(5)).await.unwrap();
        let waiting = tokio::spawn(async move { receipt.outcome().await });
        pass(secs(4)).await;
        assert!(!waiting.is_finished(), "{uid}");
        pass(secs(2)).await;
        assert!(waiting.is_finished(), "{uid}");
        assert_eq!(waiting.await.unwrap(), Outcome::Lapsed, "{uid}");
    }
    client.reset().await;
    pass(secs(60)).await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn an_expired_message_is_not_delivered_and_those_behind_it_are() {
    let hub = keeping().build().unwrap();
    let _ = hub.send("alice", "short").ttl(secs(5)).await.unwrap();
    keep(&hub, "alice", "long").await;
    pass(secs(6)).await;
    let mut client = login(&hub, "alice").await;
    assert_eq!(client.drain().await, ["long"]);
}

#[tokio::test(start_paused = true)]
async fn unknown_for_what_is_not_kept() {
    let hub = keeping().build().unwrap();
    let offline = hub.send("alice", "one").await.unwrap();
    assert!(offline.is_offline() && !offline.is_stored());
    assert_eq!(now_or_never(offline.outcome()), Some(Outcome::Unknown));
    let mut client = login(&hub, "alice").await;
    let online = hub.send("alice", "two").ttl(secs(0)).await.unwrap();
    assert!(!online.is_offline() && !online.is_stored());
    assert_eq!(online.sessions(), 1);
    assert_eq!(client.drain().await, ["two"]);
    assert_eq!(now_or_never(online.outcome()), Some(Outcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn says_how_many_sessions_and_whether_it_is_stored() {
    let hub = keeping().sso(Sso::Off).build().unwrap();
    let offline = keep(&hub, "alice", "one").await;
    assert_eq!((offline.sessions(), offline.is_stored(), offline.is_offline()), (0, true, true));
    drop(offline);
    let clients = [login(&hub, "alice").await, login(&hub, "alice").await];
    let online = keep(&hub, "alice", "two").await;
    assert_eq!((online.sessions(), online.is_stored(), online.is_offline()), (2, false, false));
    drop(clients);

    let hub = builder().queue(durable()).build().unwrap();
    let _client = login(&hub, "alice").await;
    let ahead = keep(&hub, "alice", "one").await;
    assert_eq!((ahead.sessions(), ahead.is_stored(), ahead.is_offline()), (1, true, false));
}

#[tokio::test(start_paused = true)]
async fn every_message_has_an_id_of_its_own_or_the_chosen_one() {
    let hub = keeping().build().unwrap();
    let first = keep(&hub, "alice", "one").await;
    let second = keep(&hub, "alice", "two").await;
    assert_ne!(first.id(), MessageId::NONE);
    assert_ne!(first.id(), second.id());
    let chosen = hub.send("alice", "three").ttl(LONG).id(MessageId::from_u128(42)).await.unwrap();
    assert_eq!(chosen.id(), MessageId::from_u128(42));
}

#[tokio::test(start_paused = true)]
async fn confirmed_across_offline_and_a_later_login() {
    let hub = keeping().build().unwrap();
    let offline = keep(&hub, "alice", "one").await;
    let waiting = tokio::spawn(async move { offline.outcome().await });
    pass(secs(60)).await;
    assert!(!waiting.is_finished());
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let online = keep(&hub, "alice", "two").await;
    client.expect(["one", "two"]).await;
    client.reset().await;
    pass(secs(60)).await;
    assert!(!waiting.is_finished());
    let mut client = login(&hub, "alice").await;
    assert_eq!(client.drain().await, ["one", "two"]);
    assert_eq!(waiting.await.unwrap(), Outcome::Confirmed);
    assert_eq!(now_or_never(online.outcome()), Some(Outcome::Confirmed));
    drop(online);
    client.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_was_dropped_can_be_asked_for_again() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let receipt = keep(&hub, "alice", "one").await;
    for _ in 0..3 {
        assert_eq!(now_or_never(receipt.outcome()), None);
    }
    settle().await;
    client.peer.answer(1);
    assert_eq!(receipt.outcome().await, Outcome::Confirmed);
    assert_eq!(receipt.outcome().await, Outcome::Confirmed);
}

/// As std's futures do, in place of waiting for ever.
#[tokio::test(start_paused = true)]
async fn a_send_that_is_polled_after_it_is_ready_panics() {
    let hub = keeping().build().unwrap();
    for ttl in [secs(0), LONG] {
        let mut send = hub.send("alice", "one").ttl(ttl).into_future();
        let sent = (&mut send).await.unwrap();
        assert_eq!(sent.is_stored(), ttl == LONG);
        let again = std::panic::AssertUnwindSafe(|| now_or_never(&mut send).is_some());
        let panic = std::panic::catch_unwind(again).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"`SendFuture` polled after completion"), "{ttl:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_send_that_was_polled_does_not_withdraw_the_message() {
    for queue in [Moody::new(durable()), Moody::new(Default::default())] {
        let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
        queue.pause();
        // It waits for the queue, and is dropped there.
        assert!(now_or_never(hub.send("alice", "one").ttl(LONG).into_future()).is_none());
        queue.resume();
        settle().await;
        assert_eq!(queue.kept("alice").await, 1);
        let mut client = login(&hub, "alice").await;
        assert_eq!(client.drain().await, ["one"]);
        client.leave().await;
        assert_eq!(hub.stats(), Default::default());
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_never_polled_sends_nothing() {
    let hub = keeping().build().unwrap();
    drop(hub.send("alice", "one").ttl(LONG).into_future());
    settle().await;
    let mut client = login(&hub, "alice").await;
    assert_eq!(client.drain().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn sends_take_their_place_when_they_are_polled_first() {
    let hub = builder().queue(durable()).build().unwrap();
    let mut client = login(&hub, "alice").await;
    let mut first = Box::pin(hub.send("alice", "one").ttl(LONG).into_future());
    assert!(now_or_never(first.as_mut()).is_none());
    let second = keep(&hub, "alice", "two").await;
    drop(first.await.unwrap());
    assert_eq!(client.drain().await, ["one", "two"]);
    assert_eq!(second.outcome().await, Outcome::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn an_unusable_uid_and_an_endless_ttl_are_errors() {
    let hub = keeping().build().unwrap();
    for uid in ["".to_owned(), "x".repeat(256)] {
        assert!(matches!(hub.send(&uid, "one").await, Err(SendError::InvalidUid(_))));
        assert!(matches!(hub.send(&uid, "one").ttl(LONG).await, Err(SendError::InvalidUid(_))));
    }
    let endless = hub.send("alice", "one").ttl(std::time::Duration::MAX).await;
    assert!(matches!(endless, Err(SendError::TtlTooLong)));
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_who_is_offline_cannot_be_kept_for() {
    let hub = builder().build().unwrap();
    assert!(matches!(hub.send("alice", "one").ttl(LONG).await, Err(SendError::NotKept)));
    assert_eq!(hub.stats(), Default::default());
}

/// Has limits as a queue does, and keeps nothing.
struct Forgetful(ReferenceQueue);

#[async_trait]
impl Queue for Forgetful {
    async fn enqueue(&self, _: &Uid, _: &[Entry], _: Admit) -> Result<Stored, QueueError> {
        Err(QueueError::NotKept)
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        self.0.peek(uid, after, limit).await
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        self.0.ack(uid, upto, fence).await
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        self.0.size(uid).await
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        self.0.sweep(budget).await
    }

    fn caps(&self) -> Caps {
        self.0.caps()
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_receipts_are_woken_when_the_queue_does_not_keep_the_messages() {
    let hub = builder().queue(Forgetful(ReferenceQueue::new())).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let receipts = [keep(&hub, "alice", "one").await, keep(&hub, "alice", "two").await];
    let waiting = receipts.map(|receipt| tokio::spawn(async move { receipt.outcome().await }));
    client.expect(["one", "two"]).await;
    client.reset().await;
    settle().await;
    for waiting in waiting {
        assert!(waiting.is_finished(), "it waits for the TTL");
        assert_eq!(waiting.await.unwrap(), Outcome::Lapsed);
    }
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fails_is_the_senders_error() {
    let queue = Moody::new(durable());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    queue.fail(true);
    assert!(matches!(hub.send("alice", "one").ttl(LONG).await, Err(SendError::Queue(_))));
    queue.fail(false);
    pass(secs(60)).await;
    assert!(keep(&hub, "alice", "two").await.is_stored());
    let mut client = login(&hub, "alice").await;
    assert_eq!(client.drain().await, ["two"]);
    client.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn send_many_answers_for_each_user_in_their_order() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "online").await;
    let results = hub.send_many(["online", "", "offline"], "news", LONG).await;
    let users: Vec<_> = results.iter().map(|(uid, _)| uid.as_str()).collect();
    assert_eq!(users, ["online", "", "offline"]);
    let mut results = results.into_iter().map(|(_, result)| result);
    assert_eq!(results.next().unwrap().unwrap().sessions(), 1);
    assert!(matches!(results.next().unwrap(), Err(SendError::InvalidUid(_))));
    assert!(results.next().unwrap().unwrap().is_stored());
    assert_eq!(client.drain().await, ["news"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_users_whose_receipts_and_sessions_are_gone() {
    let hub = keeping().confirm(Confirm::Written).build().unwrap();
    let mut receipts = Vec::new();
    for user in 0..100 {
        receipts.push(keep(&hub, &user.to_string(), "one").await);
    }
    // Their messages are in the queue; the hub has an entry while somebody may ask.
    assert_eq!(hub.stats().user_entries, 100);
    drop(receipts);
    settle().await;
    assert_eq!(hub.stats(), Default::default());
    for user in 0..100 {
        let mut client = login(&hub, &user.to_string()).await;
        assert_eq!(client.drain().await, ["one"]);
        client.leave().await;
    }
    settle().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn messages_that_expire_while_the_queue_fails_leave_nothing() {
    let queue = Moody::new(Default::default());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let _ = hub.send("alice", "short").ttl(secs(5)).await.unwrap();
    client.expect(["short"]).await;
    queue.fail(true);
    client.reset().await;
    pass(secs(30)).await;
    queue.fail(false);
    pass(secs(30)).await;
    assert_eq!(hub.stats(), Default::default());
    let mut again = login(&hub, "alice").await;
    assert_eq!(again.drain().await, Vec::<String>::new());
}
