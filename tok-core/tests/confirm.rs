//! When a kept message counts as received, and what happens to it until then.
#![cfg(feature = "tokio")]

mod common;

use std::{future::IntoFuture, sync::Arc};

use common::*;
use tok_core::{CloseReason, Confirm, Device, MessageId, Outcome, Session, Sso, testkit::memory_pair};

const NOTHING: [&str; 0] = [];

fn id(id: u128) -> MessageId {
    MessageId::from_u128(id)
}

#[tokio::test(start_paused = true)]
async fn written_is_confirmed_when_the_bytes_are_taken_and_not_before() {
    let hub = keeping().confirm(Confirm::Written).build().unwrap();
    let mut client = login_with(&hub, Device::new("alice"), 1).await;
    client.peer.answers(false);
    let first = keep(&hub, "alice", "one").await;
    settle().await;
    let second = keep(&hub, "alice", "two").await;
    settle().await;
    // The connection holds one; the other is not written until that is read.
    assert_eq!(now_or_never(first.outcome()), Some(Outcome::Confirmed));
    assert_eq!(now_or_never(second.outcome()), None);
    assert_eq!(client.text().await, "one");
    settle().await;
    assert_eq!(now_or_never(second.outcome()), Some(Outcome::Confirmed));
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_cannot_ask_confirms_what_is_written() {
    let hub = keeping().build().unwrap();
    let journal = Journal::default();
    let (transport, peer) = memory_pair(BUFFER, false);
    let client = login_over(&hub, Device::new("alice"), Spied::new(transport, &journal), peer).await;
    let receipt = keep(&hub, "alice", "one").await;
    assert_eq!(receipt.outcome().await, Outcome::Confirmed);
    assert_eq!(journal.lines(), ["frame"]);
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn received_without_an_answer_comes_again_in_order_and_before_newer_ones() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    for n in numbers(0..20) {
        keep(&hub, "alice", &n).await;
    }
    client.expect(numbers(0..20)).await;
    client.reset().await;
    for n in numbers(20..30) {
        keep(&hub, "alice", &n).await;
    }
    let mut again = login(&hub, "alice").await;
    for n in numbers(30..40) {
        keep(&hub, "alice", &n).await;
    }
    again.expect(numbers(0..40)).await;
    assert_eq!(again.drain().await, NOTHING);
    again.leave().await;
    let mut last = login(&hub, "alice").await;
    assert_eq!(last.drain().await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_kept_stays_between_the_kept_ones() {
    let hub = keeping().build().unwrap();
    for n in numbers(0..10) {
        keep(&hub, "alice", &n).await;
    }
    // The login has to drain what was stored first; what comes meanwhile waits behind it.
    let (transport, peer) = memory_pair(BUFFER, true);
    let session = tokio::spawn(hub.serve(Device::new("alice"), transport));
    tokio::task::yield_now().await;
    let mut client = Client { peer, session };
    for n in 10..30 {
        let send = hub.send("alice", n.to_string());
        let send = if n % 2 == 0 { send } else { send.ttl(LONG) };
        assert_eq!(send.await.unwrap().sessions(), 1);
    }
    client.expect(numbers(0..30)).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_client_answered_does_not_come_again() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    keep(&hub, "alice", "one").await;
    assert_eq!(client.text().await, "one");
    client.peer.answer(1);
    settle().await;
    keep(&hub, "alice", "two").await;
    assert_eq!(client.text().await, "two");
    client.reset().await;
    let mut again = login(&hub, "alice").await;
    assert_eq!(again.drain().await, ["two"]);
}

#[tokio::test(start_paused = true)]
async fn one_barrier_at_most_is_in_flight() {
    let hub = keeping().build().unwrap();
    let journal = Journal::default();
    let (transport, peer) = memory_pair(BUFFER, true);
    let mut client = login_over(&hub, Device::new("alice"), Spied::new(transport, &journal), peer).await;
    client.peer.answers(false);
    for n in numbers(0..5) {
        keep(&hub, "alice", &n).await;
        settle().await;
    }
    client.expect(numbers(0..5)).await;
    assert_eq!(journal.lines(), ["frame", "barrier 1", "frame", "frame", "frame", "frame"]);
    client.peer.answer(1);
    settle().await;
    assert_eq!(journal.lines()[6..], ["barrier 2"]);
    client.peer.answer(2);
    settle().await;
    assert_eq!(journal.lines().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_not_kept_need_no_barrier() {
    let hub = keeping().build().unwrap();
    let journal = Journal::default();
    let (transport, peer) = memory_pair(BUFFER, true);
    let mut client = login_over(&hub, Device::new("alice"), Spied::new(transport, &journal), peer).await;
    let _ = hub.send("alice", "one").await.unwrap();
    assert_eq!(client.drain().await, ["one"]);
    assert_eq!(journal.lines(), ["frame"]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_or_an_old_number_confirms_nothing() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    // Before anything was asked.
    client.peer.answer(1);
    settle().await;
    let first = keep(&hub, "alice", "one").await;
    assert_eq!(client.text().await, "one");
    for wrong in [0, 2, 17, u64::MAX] {
        client.peer.answer(wrong);
    }
    settle().await;
    assert_eq!(now_or_never(first.outcome()), None);
    client.peer.answer(1);
    settle().await;
    assert_eq!(now_or_never(first.outcome()), Some(Outcome::Confirmed));
    let second = keep(&hub, "alice", "two").await;
    assert_eq!(client.text().await, "two");
    client.peer.answer(1);
    settle().await;
    assert_eq!(now_or_never(second.outcome()), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_confirms_what_was_sent_before_the_question_and_no_more() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let first = keep(&hub, "alice", "one").await;
    settle().await;
    let second = keep(&hub, "alice", "two").await;
    client.expect(["one", "two"]).await;
    client.peer.answer(1);
    settle().await;
    assert_eq!(now_or_never(first.outcome()), Some(Outcome::Confirmed));
    assert_eq!(now_or_never(second.outcome()), None);
}

#[tokio::test(start_paused = true)]
async fn while_the_queue_fails_what_is_sent_waits_behind_what_it_holds() {
    let queue = Moody::new(Default::default());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    for n in numbers(0..3) {
        keep(&hub, "alice", &n).await;
    }
    queue.fail(true);
    let mut client = login(&hub, "alice").await;
    let mut sends = Vec::new();
    for n in numbers(3..6) {
        sends.push(tokio::spawn(hub.send("alice", n).ttl(LONG).into_future()));
        settle().await;
    }
    sends.push(tokio::spawn(hub.send("alice", "6").into_future()));
    assert_eq!(client.drain().await, NOTHING);
    assert!(sends.iter().all(|send| !send.is_finished()));
    queue.fail(false);
    for send in sends {
        send.await.unwrap().unwrap();
    }
    client.expect(numbers(0..7)).await;
    pass(secs(20)).await;
    assert_eq!(client.drain().await, NOTHING);
    assert_eq!(queue.kept("alice").await, 0);
}

/// A hub whose clients acknowledge by sending the id: the answer is what `ack` returned.
fn acknowledging() -> tok_core::Hub {
    let ack = Act(|session: Session, message: tok_core::Message| async move {
        let known = session.ack(id(message.as_text().unwrap().parse().unwrap()));
        session.send(known.to_string()).unwrap();
    });
    builder_of(ack).queue(tok_queue::MemoryQueue::default()).confirm(Confirm::Acknowledged).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn acknowledged_waits_for_the_application_and_is_cumulative() {
    let hub = acknowledging();
    let mut client = login(&hub, "alice").await;
    let mut receipts = Vec::new();
    for n in 1..=5 {
        receipts.push(hub.send("alice", format!("m{n}")).ttl(LONG).id(id(n)).await.unwrap());
    }
    client.expect(["m1", "m2", "m3", "m4", "m5"]).await;
    assert_eq!(now_or_never(receipts[0].outcome()), None);
    client.send("3");
    client.expect(["true"]).await;
    for receipt in &receipts[..3] {
        assert_eq!(receipt.outcome().await, Outcome::Confirmed);
    }
    assert_eq!(now_or_never(receipts[3].outcome()), None);
    client.reset().await;
    let mut again = login(&hub, "alice").await;
    again.expect(["m4", "m5"]).await;
    assert_eq!(again.drain().await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn acknowledging_an_unknown_id_is_false_and_confirms_nothing() {
    let hub = acknowledging();
    let mut client = login(&hub, "alice").await;
    let receipt = hub.send("alice", "m1").ttl(LONG).id(id(1)).await.unwrap();
    client.expect(["m1"]).await;
    client.send("2");
    client.expect(["false"]).await;
    assert_eq!(now_or_never(receipt.outcome()), None);
    client.send("1");
    client.expect(["true"]).await;
    // A second time it waits for nothing any more.
    client.send("1");
    client.expect(["false"]).await;
    assert_eq!(receipt.outcome().await, Outcome::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn acknowledging_lets_more_of_a_long_log_come() {
    let hub = acknowledging();
    let mut client = login(&hub, "alice").await;
    let mut next = 1;
    for _ in 0..4 {
        for n in next..next + 900 {
            let _ = hub.send("alice", n.to_string()).ttl(LONG).id(id(n)).await.unwrap();
        }
        for n in next..next + 900 {
            assert_eq!(client.text().await, n.to_string());
        }
        next += 900;
        client.send(&(next - 1).to_string());
        client.expect(["true"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_device_chooses_its_level() {
    let hub = keeping().build().unwrap();
    let device = Device::new("alice").with_confirm(Confirm::Written);
    let mut client = login_with(&hub, device, BUFFER).await;
    client.peer.answers(false);
    let receipt = keep(&hub, "alice", "one").await;
    settle().await;
    assert_eq!(now_or_never(receipt.outcome()), Some(Outcome::Confirmed));
}

#[tokio::test(start_paused = true)]
async fn what_one_device_confirmed_is_done_for_the_user() {
    let hub = keeping().sso(Sso::Off).build().unwrap();
    let mut phone = login(&hub, "alice").await;
    let mut desktop = login(&hub, "alice").await;
    phone.peer.answers(false);
    let receipt = keep(&hub, "alice", "one").await;
    phone.expect(["one"]).await;
    assert_eq!(now_or_never(receipt.outcome()), None);
    desktop.expect(["one"]).await;
    desktop.drain().await;
    assert_eq!(now_or_never(receipt.outcome()), Some(Outcome::Confirmed));
    phone.reset().await;
    desktop.reset().await;
    let mut again = login(&hub, "alice").await;
    assert_eq!(again.drain().await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_while_another_lives_leaves_the_log_to_that() {
    let hub = keeping().sso(Sso::Off).build().unwrap();
    let mut phone = login(&hub, "alice").await;
    let mut desktop = login(&hub, "alice").await;
    for client in [&mut phone, &mut desktop] {
        client.peer.answers(false);
    }
    let receipt = keep(&hub, "alice", "one").await;
    phone.expect(["one"]).await;
    desktop.expect(["one"]).await;
    phone.reset().await;
    desktop.peer.answer(1);
    settle().await;
    assert_eq!(now_or_never(receipt.outcome()), Some(Outcome::Confirmed));
    desktop.leave().await;
}

#[tokio::test(start_paused = true)]
async fn written_ahead_is_stored_before_any_session_has_it_and_before_send_answers() {
    let queue = Moody::new(durable());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    queue.pause();
    let handle = hub.clone();
    let sending = tokio::spawn(async move { handle.send("alice", "one").ttl(LONG).await });
    assert_eq!(client.drain().await, NOTHING);
    assert!(!sending.is_finished());
    queue.resume();
    let receipt = sending.await.unwrap().unwrap();
    assert!(receipt.is_stored());
    client.expect(["one"]).await;
    assert_eq!(client.drain().await, NOTHING);
    assert_eq!(receipt.outcome().await, Outcome::Confirmed);
    settle().await;
    assert_eq!(queue.kept("alice").await, 0);
}

#[tokio::test(start_paused = true)]
async fn written_ahead_stays_in_the_queue_until_the_client_has_it() {
    let queue = Moody::new(durable());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    keep(&hub, "alice", "one").await;
    client.expect(["one"]).await;
    settle().await;
    assert_eq!(queue.kept("alice").await, 1);
    client.peer.answer(1);
    settle().await;
    assert_eq!(queue.kept("alice").await, 0);
    assert_eq!(hub.kick("alice").await.unwrap(), 1);
    assert_eq!(client.closed().await, CloseReason::Kicked);
}
