//! What becomes of persistent messages that the queue does not take.
#![cfg(feature = "tokio")]

mod common;

use std::{future::IntoFuture, sync::Arc};

use common::*;
use tok_core::{
    Confirm, Durability, Hub, HubBuilder, Outcome, Queue, Receipt, SendError, Sso,
    queue::{Caps, NoQueue},
    testkit::queue::ReferenceQueue,
};
use tok_queue::MemoryQueue;
use tokio::task::JoinHandle;

const NOTHING: [&str; 0] = [];

/// A kilobyte that begins with this.
fn kilobyte(text: &str) -> String {
    format!("{text} {}", "x".repeat(999 - text.len()))
}

/// What a kilobyte costs.
const COST: u64 = 1000 + 128;

type Sending = JoinHandle<Result<Receipt, SendError>>;

/// A send under way, which has taken its place.
async fn sending(hub: &Hub, uid: &str, text: impl Into<String>) -> Sending {
    let send = tokio::spawn(hub.send(uid, text.into()).ttl(LONG).into_future());
    settle().await;
    send
}

fn noting(builder: HubBuilder, journal: &Journal) -> HubBuilder {
    let journal = journal.clone();
    builder.undelivered(move |uid, message, why| {
        let text = message.as_text().unwrap().split(' ').next().unwrap();
        journal.note(format!("{uid} {why:?} {text}"));
    })
}

fn small(max_messages: u64) -> Caps {
    Caps { durable: true, shared: false, max_messages, max_bytes: 1 << 20, max_message: None }
}

/// A hub whose queue takes no kilobyte for alice, for one reason or another, and what undoes that.
async fn unkeeping(why: &str, builder: HubBuilder) -> (Hub, Box<dyn Fn()>) {
    let nothing = || {};
    match why {
        "no queue" => (builder.queue(NoQueue).build().unwrap(), Box::new(nothing)),
        "too big" => {
            let queue = MemoryQueue::builder().max_bytes(500).build().unwrap();
            (builder.queue(queue).build().unwrap(), Box::new(nothing))
        }
        "full" => {
            let queue = MemoryQueue::builder().max_total_bytes(COST + 100).build().unwrap();
            let hub = builder.queue(queue).build().unwrap();
            keep(&hub, "bob", &kilobyte("all")).await;
            (hub, Box::new(nothing))
        }
        "too big, written ahead" => {
            let queue = ReferenceQueue::with_caps(Caps { max_bytes: 500, ..small(10) });
            (builder.queue(queue).build().unwrap(), Box::new(nothing))
        }
        "away" | "away, and stored" => {
            let queue = Moody::new(durable());
            let hub = builder.queue(Arc::clone(&queue)).build().unwrap();
            let moody = Arc::clone(&queue);
            if why == "away" {
                queue.fail_at_store();
            } else {
                queue.fail_late();
            }
            (hub, Box::new(move || moody.recover()))
        }
        other => panic!("{other}"),
    }
}

const REASONS: [&str; 6] =
    ["no queue", "too big", "full", "too big, written ahead", "away", "away, and stored"];

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_kept_is_sent_to_who_reads_and_the_send_returns_when_it_is_confirmed() {
    for why in REASONS {
        let (hub, recover) = unkeeping(why, builder().ping_interval(secs(0))).await;
        let mut client = login(&hub, "alice").await;
        let sends =
            [sending(&hub, "alice", kilobyte("one")).await, sending(&hub, "alice", kilobyte("two")).await];
        assert!(sends.iter().all(|send| !send.is_finished()), "{why}: it is not confirmed");
        assert_eq!(client.drain().await, [kilobyte("one"), kilobyte("two")], "{why}");
        for send in sends {
            let receipt = send.await.unwrap().expect(why);
            assert_eq!((receipt.sessions(), receipt.is_offline()), (1, false), "{why}");
            assert_eq!(now_or_never(receipt.outcome()), Some(Outcome::Confirmed), "{why}");
        }
        recover();
        pass(secs(60)).await;
        client.leave().await;
        let mut again = login(&hub, "alice").await;
        assert_eq!(again.drain().await, NOTHING, "{why}: what was confirmed comes again");
        again.leave().await;
        assert_eq!(hub.stats(), Default::default(), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_neither_kept_nor_confirmed_in_time_is_unconfirmed() {
    for why in REASONS {
        let (hub, _) = unkeeping(why, builder()).await;
        let mut client = login(&hub, "alice").await;
        client.peer.answers(false);
        let send = sending(&hub, "alice", kilobyte("one")).await;
        client.expect([kilobyte("one")]).await;
        pass(secs(1)).await;
        assert!(!send.is_finished(), "{why}");
        pass(secs(1)).await;
        let result = send.await.unwrap();
        assert!(matches!(result, Err(SendError::Unconfirmed { pending: true, .. })), "{why}: {result:?}");
        // Late, and no harm.
        client.peer.answer(1);
        assert_eq!(client.drain().await, NOTHING, "{why}");
        client.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_confirms_nothing_makes_one_sender_wait() {
    let hub = builder().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let first = sending(&hub, "alice", "one").await;
    assert!(matches!(first.await.unwrap(), Err(SendError::Unconfirmed { pending: true, .. })));
    let second = sending(&hub, "alice", "two").await;
    assert!(second.is_finished());
    assert!(matches!(second.await.unwrap(), Err(SendError::Unconfirmed { pending: true, .. })));
    client.peer.answers(true);
    client.expect(["one", "two"]).await;
    client.drain().await;
    // It confirms again.
    let third = sending(&hub, "alice", "three").await;
    assert_eq!(client.drain().await, ["three"]);
    third.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_kept_is_lost_with_its_session_and_reported() {
    for why in ["no queue", "too big", "full", "too big, written ahead"] {
        let journal = Journal::default();
        let (hub, _) = unkeeping(why, noting(builder(), &journal)).await;
        let mut client = login(&hub, "alice").await;
        client.peer.answers(false);
        let send = sending(&hub, "alice", kilobyte("one")).await;
        client.expect([kilobyte("one")]).await;
        client.reset().await;
        let result = send.await.unwrap();
        assert!(matches!(result, Err(SendError::Unconfirmed { pending: false, .. })), "{why}: {result:?}");
        assert_eq!(journal.count("alice NotKept one"), 1, "{why}");
        let mut again = login(&hub, "alice").await;
        assert_eq!(again.drain().await, NOTHING, "{why}");
        again.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_kept_waits_for_a_session_that_is_still_reading_the_queue() {
    let queue = Moody::new(ReferenceQueue::with_caps(Caps { max_bytes: 500, ..small(10) }));
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    keep(&hub, "alice", "stored").await;
    queue.pause();
    let mut client = login(&hub, "alice").await;
    let send = sending(&hub, "alice", kilobyte("one")).await;
    assert!(!send.is_finished());
    queue.resume();
    assert_eq!(client.drain().await, ["stored".to_owned(), kilobyte("one")]);
    send.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_kept_goes_to_the_session_that_takes_over() {
    for why in ["no queue", "too big", "full", "too big, written ahead"] {
        let (hub, _) = unkeeping(why, builder()).await;
        let mut old = login(&hub, "alice").await;
        old.peer.answers(false);
        let sends =
            [sending(&hub, "alice", kilobyte("one")).await, sending(&hub, "alice", kilobyte("two")).await];
        old.expect([kilobyte("one"), kilobyte("two")]).await;
        let mut new = login(&hub, "alice").await;
        assert_eq!(new.drain().await, [kilobyte("one"), kilobyte("two")], "{why}");
        for send in sends {
            let receipt = send.await.unwrap().expect(why);
            assert_eq!(now_or_never(receipt.outcome()), Some(Outcome::Confirmed), "{why}");
        }
        drop(old);
        new.leave().await;
        let mut again = login(&hub, "alice").await;
        assert_eq!(again.drain().await, NOTHING, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_kept_is_refused_where_nobody_is_online() {
    for why in REASONS {
        let journal = Journal::default();
        let (hub, recover) = unkeeping(why, noting(builder(), &journal)).await;
        let result = hub.send("alice", kilobyte("one")).ttl(LONG).await;
        let is_right = match why {
            "no queue" => matches!(result, Err(SendError::NotKept)),
            "away" | "away, and stored" => matches!(result, Err(SendError::Queue(_))),
            _ => matches!(result, Err(SendError::Full)),
        };
        assert!(is_right, "{why}: {result:?}");
        recover();
        assert_eq!(journal.count("alice Stored one"), 0, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_keeps_its_place_among_what_is() {
    let queue = MemoryQueue::builder().max_bytes(2 * COST).build().unwrap();
    let hub = builder().queue(queue).build().unwrap();
    let mut client = login(&hub, "alice").await;
    let big = "b".repeat(5000);
    let mut sends = Vec::new();
    for n in 0..6 {
        let text = if n % 2 == 0 { n.to_string() } else { format!("{n} {big}") };
        sends.push(sending(&hub, "alice", text).await);
        sends.push(tokio::spawn(hub.send("alice", format!("{n} after")).into_future()));
        settle().await;
    }
    let read = client.drain().await;
    let firsts: Vec<_> = read.iter().map(|text| text.replace(&big, "big")).collect();
    let expected = (0..6).flat_map(|n| {
        let first = if n % 2 == 0 { n.to_string() } else { format!("{n} big") };
        [first, format!("{n} after")]
    });
    assert_eq!(firsts, expected.collect::<Vec<_>>());
    for send in sends {
        send.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_users_limit_a_send_waits_for_room() {
    for queue in
        [ReferenceQueue::with_caps(small(2)), ReferenceQueue::with_caps(Caps { durable: false, ..small(2) })]
    {
        let hub = builder().queue(queue).build().unwrap();
        let mut client = login(&hub, "alice").await;
        client.peer.answers(false);
        for text in ["one", "two"] {
            keep(&hub, "alice", text).await;
        }
        let waiting = [
            sending(&hub, "alice", "three").await,
            sending(&hub, "alice", "four").await,
            sending(&hub, "alice", "five").await,
        ];
        client.expect(["one"]).await;
        pass(secs(1)).await;
        assert!(waiting.iter().all(|send| !send.is_finished()));
        client.expect(["two"]).await;
        client.peer.answers(true);
        client.peer.answer(1);
        assert_eq!(client.drain().await, ["three", "four", "five"]);
        for send in waiting {
            assert!(!send.await.unwrap().unwrap().is_offline());
        }
        client.leave().await;
        assert_eq!(hub.stats(), Default::default());
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_users_limit_a_send_fails_when_nothing_is_confirmed_in_time_and_is_not_delivered() {
    for queue in
        [ReferenceQueue::with_caps(small(2)), ReferenceQueue::with_caps(Caps { durable: false, ..small(2) })]
    {
        let hub = builder().queue(queue).build().unwrap();
        let mut client = login(&hub, "alice").await;
        client.peer.answers(false);
        for text in ["one", "two"] {
            keep(&hub, "alice", text).await;
        }
        let sends = [sending(&hub, "alice", "three").await, sending(&hub, "alice", "four").await];
        let transient = hub.send("alice", "behind").await.unwrap();
        assert_eq!(transient.sessions(), 1);
        pass(secs(2)).await;
        settle().await;
        for send in sends {
            assert!(send.is_finished());
            let result = send.await.unwrap();
            assert!(matches!(result, Err(SendError::Full)), "{result:?}");
        }
        client.peer.answers(true);
        client.expect(["one", "two", "behind"]).await;
        client.peer.answer(1);
        keep(&hub, "alice", "five").await;
        assert_eq!(client.drain().await, ["five"]);
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_of_a_user_who_confirms_nothing_one_sender_waits() {
    let hub = builder().queue(ReferenceQueue::with_caps(small(1))).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    keep(&hub, "alice", "one").await;
    let first = sending(&hub, "alice", "two").await;
    assert!(!first.is_finished());
    assert!(matches!(first.await.unwrap(), Err(SendError::Full)));
    for text in ["three", "four"] {
        let send = sending(&hub, "alice", text).await;
        assert!(send.is_finished());
        assert!(matches!(send.await.unwrap(), Err(SendError::Full)));
    }
    client.peer.answers(true);
    client.expect(["one"]).await;
    client.peer.answer(1);
    settle().await;
    let five = sending(&hub, "alice", "five").await;
    assert_eq!(client.drain().await, ["five"]);
    five.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_of_a_user_who_is_offline_a_send_fails_at_once() {
    let hub = builder().queue(ReferenceQueue::with_caps(small(1))).build().unwrap();
    keep(&hub, "alice", "one").await;
    let send = sending(&hub, "alice", "two").await;
    assert!(send.is_finished());
    assert!(matches!(send.await.unwrap(), Err(SendError::Full)));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_room_is_refused_when_the_last_session_ends() {
    let hub = builder().queue(ReferenceQueue::with_caps(small(1))).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    keep(&hub, "alice", "one").await;
    let send = sending(&hub, "alice", "two").await;
    client.reset().await;
    settle().await;
    assert!(send.is_finished());
    assert!(matches!(send.await.unwrap(), Err(SendError::Full)));
    let mut again = login(&hub, "alice").await;
    assert_eq!(again.drain().await, ["one"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_backlog_is_unread_a_persistent_message_is_not_sent_either() {
    let queue = Moody::new(durable());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    keep(&hub, "alice", "stored").await;
    settle().await;
    queue.fail(true);
    let mut client = login(&hub, "alice").await;
    let send = sending(&hub, "alice", "refused").await;
    let result = send.await.unwrap();
    assert!(matches!(result, Err(SendError::Queue(_))), "{result:?}");
    queue.fail(false);
    pass(secs(10)).await;
    assert_eq!(client.drain().await, ["stored"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_queue_is_away_messages_follow_one_another_by_way_of_the_session() {
    let queue = Moody::new(durable());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    keep(&hub, "alice", "stored").await;
    queue.fail(true);
    let mut sends = Vec::new();
    for n in numbers(0..20) {
        sends.push(sending(&hub, "alice", n).await);
    }
    let mut read = client.drain().await;
    for send in sends {
        send.await.unwrap().unwrap();
    }
    queue.fail(false);
    pass(secs(10)).await;
    keep(&hub, "alice", "after").await;
    read.extend(client.drain().await);
    let expected = ["stored".to_owned()].into_iter().chain(numbers(0..20)).chain(["after".to_owned()]);
    assert_eq!(read, expected.collect::<Vec<_>>());
    settle().await;
    assert_eq!(queue.kept("alice").await, 0);
    client.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn only_so_much_that_is_not_kept_is_in_flight() {
    let hub = builder().max_backlog(3 * COST as usize).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let mut sends = Vec::new();
    for n in 0..5 {
        sends.push(sending(&hub, "alice", kilobyte(&n.to_string())).await);
    }
    client.expect((0..3).map(|n| kilobyte(&n.to_string()))).await;
    assert_eq!(client.drain().await, NOTHING);
    for (n, send) in sends.into_iter().enumerate() {
        let result = send.await.unwrap();
        if n < 3 {
            assert!(matches!(result, Err(SendError::Unconfirmed { pending: true, .. })), "{n} {result:?}");
        } else {
            assert!(matches!(result, Err(SendError::NotKept)), "{n} {result:?}");
        }
    }
    client.peer.answer(1);
    assert_eq!(client.drain().await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_of_the_application_confirms_what_is_not_kept() {
    let ack = Act(|session: tok_core::Session, message: tok_core::Message| async move {
        let id = message.as_text().unwrap().parse().unwrap();
        session.ack(tok_core::MessageId::from_u128(id));
    });
    let hub = builder_of(ack).confirm(Confirm::Acknowledged).build().unwrap();
    let mut client = login(&hub, "alice").await;
    let send = hub.send("alice", "one").ttl(LONG).id(tok_core::MessageId::from_u128(7)).into_future();
    let send = tokio::spawn(send);
    client.expect(["one"]).await;
    settle().await;
    assert!(!send.is_finished());
    client.send("7");
    assert_eq!(send.await.unwrap().unwrap().outcome().await, Outcome::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn of_two_sessions_the_one_that_has_read_everything_gets_what_is_not_kept() {
    let queue = MemoryQueue::builder().max_bytes(20 * COST).build().unwrap();
    let hub = builder().queue(queue).sso(Sso::Off).max_backlog(4 * COST as usize).build().unwrap();
    let mut reads = login(&hub, "alice").await;
    let mut slow = login_with(&hub, tok_core::Device::new("alice"), 1).await;
    slow.peer.answers(false);
    reads.peer.answers(false);
    for n in 0..10 {
        keep(&hub, "alice", &kilobyte(&n.to_string())).await;
        reads.expect([kilobyte(&n.to_string())]).await;
    }
    let send = sending(&hub, "alice", "b".repeat(50_000)).await;
    reads.peer.answers(true);
    reads.expect(["b".repeat(50_000)]).await;
    reads.peer.answer(1);
    reads.drain().await;
    assert_eq!(send.await.unwrap().unwrap().outcome().await, Outcome::Confirmed);
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_dropped_while_it_waits_is_not_withdrawn() {
    let hub = builder().queue(ReferenceQueue::with_caps(small(1))).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    keep(&hub, "alice", "one").await;
    let send = sending(&hub, "alice", "two").await;
    send.abort();
    settle().await;
    client.peer.answers(true);
    client.expect(["one"]).await;
    client.peer.answer(1);
    assert_eq!(client.drain().await, ["two"]);
    client.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn what_the_users_of_a_queue_in_memory_leave_stays_within_its_limits() {
    let queue =
        Arc::new(MemoryQueue::builder().max_bytes(4 * COST).max_total_bytes(10 * COST).build().unwrap());
    let hub = builder().queue(Arc::clone(&queue)).send_timeout(secs(0)).build().unwrap();
    // The same user again and again, and then others.
    for user in ["a", "a", "a", "b", "c", "d", "e", "a"] {
        let mut client = login(&hub, user).await;
        client.peer.answers(false);
        for n in 0..6 {
            let _ = hub.send(user, kilobyte(&n.to_string())).ttl(LONG).await;
        }
        client.reset().await;
        settle().await;
        let size = queue.size(&user.into()).await.unwrap();
        assert!(size.bytes <= 4 * COST, "{user}: {size:?}");
        assert!(queue.usage().bytes <= 10 * COST, "{user}: {:?}", queue.usage());
    }
    assert_eq!(queue.usage().messages, 10);
}

#[tokio::test(start_paused = true)]
async fn what_users_who_are_online_were_promised_is_reserved_in_the_queue() {
    let queue = Arc::new(MemoryQueue::builder().max_total_bytes(10 * COST).build().unwrap());
    let hub = builder().queue(Arc::clone(&queue)).send_timeout(secs(0)).build().unwrap();
    let users = ["a", "b", "c"];
    let mut clients = Vec::new();
    let mut accepted = 0;
    for user in users {
        let mut client = login(&hub, user).await;
        client.peer.answers(false);
        clients.push(client);
    }
    for n in 0..5 {
        for user in users {
            accepted += usize::from(hub.send(user, kilobyte(&n.to_string())).ttl(LONG).await.is_ok());
        }
    }
    assert_eq!(accepted, 10);
    // Nor does somebody who is offline get what they were promised.
    assert!(matches!(hub.send("offline", kilobyte("0")).ttl(LONG).await, Err(SendError::Full)));
    for client in clients {
        client.reset().await;
    }
    settle().await;
    assert_eq!(queue.usage().messages, 10);
    // What is confirmed leaves room again.
    let mut again = login(&hub, "a").await;
    let read = again.drain().await.len();
    assert!(read > 0);
    for n in 0..read {
        keep(&hub, "offline", &kilobyte(&n.to_string())).await;
    }
    assert_eq!(queue.usage().bytes, 10 * COST);
}

#[tokio::test(start_paused = true)]
async fn written_back_a_durable_queue_keeps_its_limits_over_logins() {
    let queue = Arc::new(ReferenceQueue::with_caps(Caps { max_bytes: 4 * COST, ..small(10) }));
    let hub = builder().queue(Arc::clone(&queue)).durability(Durability::WriteBack).send_timeout(secs(0));
    let hub = hub.build().unwrap();
    for _ in 0..5 {
        let mut client = login(&hub, "alice").await;
        client.peer.answers(false);
        for n in 0..6 {
            let _ = hub.send("alice", kilobyte(&n.to_string())).ttl(LONG).await;
        }
        client.reset().await;
        settle().await;
        let size = queue.size(&"alice".into()).await.unwrap();
        assert!(size.bytes <= 4 * COST, "{size:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn expired_messages_make_room_for_a_user_who_is_online() {
    let queue = MemoryQueue::builder().max_messages(2).build().unwrap();
    let hub = builder().queue(queue).build().unwrap();
    for text in ["one", "two"] {
        let _ = hub.send("alice", text).ttl(secs(5)).await.unwrap();
    }
    pass(secs(6)).await;
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    for text in ["three", "four"] {
        keep(&hub, "alice", text).await;
    }
    client.expect(["three", "four"]).await;
}
