//! What the hooks may do, and when and how often they are called.
#![cfg(feature = "tokio")]

mod common;

use std::future::IntoFuture;

use common::*;
use tok_core::{
    AppCode, CloseReason, Device, HubBuilder, Message, MessageId, Outcome, Overflow, Received, SendError,
    Sending, Session, Undelivered,
    testkit::{Read, memory_pair},
};

fn word(message: &Message) -> &str {
    message.as_text().unwrap()
}

/// Notes `WHY TEXT` for each message that was not delivered.
fn watch_undelivered(builder: HubBuilder, journal: &Journal) -> HubBuilder {
    let journal = journal.clone();
    builder.undelivered(move |uid, message, why| {
        journal.note(format!("{uid} {why:?} {}", word(message)));
    })
}

fn watch_ends(builder: HubBuilder, journal: &Journal) -> HubBuilder {
    let (open, close) = (journal.clone(), journal.clone());
    builder
        .open(move |session: &Session| open.note(format!("open {}", session.device().id())))
        .close(move |session, reason| close.note(format!("close {} {reason}", session.device().id())))
}

#[tokio::test(start_paused = true)]
async fn before_receive_passes_replaces_and_drops() {
    let hub = builder()
        .before_receive(|_, message| match word(&message) {
            "drop" => Received::Drop,
            "replace" => Received::Pass("replaced".into()),
            _ => Received::Pass(message),
        })
        .build()
        .unwrap();
    let mut client = login(&hub, "alice").await;
    for text in ["one", "drop", "replace", "two"] {
        client.send(text);
    }
    client.expect(["one", "replaced", "two"]).await;
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn before_receive_that_closes_has_nothing_after_it_handled() {
    let journal = Journal::default();
    let reason = CloseReason::Application(AppCode::new(4321).unwrap());
    let hub = builder_of(Noting(journal.clone()))
        .before_receive(move |_, message| match word(&message) {
            "close" => Received::Close(reason),
            _ => Received::Pass(message),
        })
        .build()
        .unwrap();
    let client = login(&hub, "alice").await;
    for text in ["one", "close", "two"] {
        client.send(text);
    }
    assert_eq!(client.closed().await, reason);
    assert_eq!(journal.lines(), ["alice/ one"]);
}

#[tokio::test(start_paused = true)]
async fn before_send_replaces_for_one_device_and_keeps_the_id() {
    let journal = Journal::default();
    let after = journal.clone();
    let hub = keeping()
        .sso(tok_core::Sso::PerDevice)
        .before_send(|session, message| match session.device().id() {
            "phone" => Sending::Replace(format!("{} (short)", word(message)).into()),
            _ => Sending::Pass,
        })
        .after_send(move |session, message| {
            let device = session.device().id();
            after.note(format!("{device} {} {}", word(message), message.id().as_u128()));
        })
        .build()
        .unwrap();
    let mut phone = login_as(&hub, "alice", "phone").await;
    let mut desktop = login_as(&hub, "alice", "desktop").await;
    let receipt = hub.send("alice", "news").ttl(LONG).id(MessageId::from_u128(7)).await.unwrap();
    assert_eq!(phone.text().await, "news (short)");
    assert_eq!(desktop.text().await, "news");
    assert_eq!(receipt.id(), MessageId::from_u128(7));
    let mut lines = journal.lines();
    lines.sort();
    assert_eq!(lines, ["desktop news 7", "phone news (short) 7"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_before_send_refuses_is_reported_counts_as_confirmed_and_holds_nothing_back() {
    let journal = Journal::default();
    let hub = watch_undelivered(keeping(), &journal)
        .before_send(|_, message| if word(message) == "spam" { Sending::Refuse } else { Sending::Pass })
        .build()
        .unwrap();
    let mut client = login(&hub, "alice").await;
    let before = keep(&hub, "alice", "one").await;
    let refused = keep(&hub, "alice", "spam").await;
    let behind = keep(&hub, "alice", "two").await;
    client.expect(["one", "two"]).await;
    assert_eq!(client.drain().await, Vec::<String>::new());
    for receipt in [before, refused, behind] {
        assert_eq!(receipt.outcome().await, Outcome::Confirmed);
    }
    assert_eq!(journal.lines(), ["alice Refused spam"]);
    client.leave().await;
    let mut again = login(&hub, "alice").await;
    assert_eq!(again.drain().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_alone_leaves_the_log() {
    let hub = keeping().before_send(|_, _| Sending::Refuse).build().unwrap();
    let mut client = login(&hub, "alice").await;
    let receipt = keep(&hub, "alice", "spam").await;
    assert_eq!(client.drain().await, Vec::<String>::new());
    assert_eq!(now_or_never(receipt.outcome()), Some(Outcome::Confirmed));
}

#[tokio::test(start_paused = true)]
async fn after_send_sees_what_was_sent_in_order() {
    let journal = Journal::default();
    let after = journal.clone();
    let hub = keeping().after_send(move |_, message| after.note(word(message))).build().unwrap();
    let mut client = login(&hub, "alice").await;
    for n in 0..50 {
        let text = n.to_string();
        if n % 2 == 0 {
            keep(&hub, "alice", &text).await;
        } else {
            let _ = hub.send("alice", text).await.unwrap();
        }
    }
    client.expect(numbers(0..50)).await;
    assert_eq!(journal.lines(), numbers(0..50));
}

#[tokio::test(start_paused = true)]
async fn open_and_close_are_called_once_each_and_close_with_the_reason() {
    let journal = Journal::default();
    let hub = watch_ends(builder(), &journal).sso(tok_core::Sso::PerDevice).build().unwrap();
    login_as(&hub, "alice", "left").await.leave().await;
    login_as(&hub, "alice", "broke").await.reset().await;
    let kicked = login_as(&hub, "alice", "kicked").await;
    assert_eq!(hub.kick("alice").await.unwrap(), 1);
    assert_eq!(kicked.closed().await, CloseReason::Kicked);
    let old = login_as(&hub, "alice", "taken").await;
    let new = login_as(&hub, "alice", "taken").await;
    assert_eq!(old.closed().await, CloseReason::Sso);
    new.leave().await;
    let mut lines = journal.lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            "close broke disconnected",
            "close kicked kicked",
            "close left peer_closed",
            "close taken peer_closed",
            "close taken sso",
            "open broke",
            "open kicked",
            "open left",
            "open taken",
            "open taken"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn close_is_called_once_when_serves_future_is_dropped() {
    let journal = Journal::default();
    let hub = watch_ends(builder(), &journal).build().unwrap();
    let mut client = login_as(&hub, "alice", "a").await;
    client.session.abort();
    assert_eq!(client.peer.recv().await, Read::End);
    settle().await;
    assert_eq!(journal.lines(), ["open a", "close a dropped"]);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn open_and_close_are_not_called_when_serves_future_is_never_polled() {
    let journal = Journal::default();
    let hub = watch_ends(builder(), &journal).build().unwrap();
    let (transport, mut peer) = memory_pair(BUFFER, true);
    drop(hub.serve(Device::new("alice"), transport));
    assert_eq!(peer.recv().await, Read::End);
    assert_eq!(journal.lines(), Vec::<String>::new());
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn open_and_close_are_not_called_for_a_login_that_is_refused() {
    let journal = Journal::default();
    let hub = watch_ends(builder(), &journal).max_sessions(1).build().unwrap();
    let first = login_as(&hub, "alice", "first").await;
    assert_eq!(login_as(&hub, "bob", "full").await.closed().await, CloseReason::Full);
    assert_eq!(login_as(&hub, "", "empty").await.closed().await, CloseReason::Unauthorized);
    let long = "x".repeat(256);
    assert_eq!(login_as(&hub, &long, "long").await.closed().await, CloseReason::Unauthorized);
    first.leave().await;
    assert_eq!(journal.lines(), ["open first", "close first peer_closed"]);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn open_runs_before_anything_is_handled_and_close_after() {
    let journal = Journal::default();
    let hub = watch_ends(builder_of(Noting(journal.clone())), &journal).build().unwrap();
    let (transport, peer) = memory_pair(BUFFER, true);
    peer.send("one");
    peer.send("two");
    peer.close();
    assert_eq!(hub.serve(Device::new("alice").with_id("a"), transport).await, CloseReason::PeerClosed);
    assert_eq!(journal.lines(), ["open a", "alice/a one", "alice/a two", "close a peer_closed"]);
}

#[tokio::test(start_paused = true)]
async fn what_open_sends_comes_first() {
    let hub = keeping().open(|session| session.send("welcome").unwrap()).build().unwrap();
    let mut client = login(&hub, "alice").await;
    let _ = hub.send("alice", "one").await.unwrap();
    assert_eq!(client.drain().await, ["welcome", "one"]);
}

#[tokio::test(start_paused = true)]
async fn undelivered_says_stored_offline_and_not_kept() {
    let journal = Journal::default();
    let hub = watch_undelivered(keeping(), &journal).build().unwrap();
    keep(&hub, "alice", "kept").await;
    let _ = hub.send("alice", "not kept").await.unwrap();
    assert_eq!(journal.lines(), ["alice Stored kept", "alice Offline not kept"]);

    let journal = Journal::default();
    let hub = watch_undelivered(builder(), &journal).build().unwrap();
    let mut client = login(&hub, "bob").await;
    client.peer.answers(false);
    let send = tokio::spawn(hub.send("bob", "unconfirmed").ttl(LONG).into_future());
    client.expect(["unconfirmed"]).await;
    client.reset().await;
    assert!(matches!(send.await.unwrap(), Err(SendError::Unconfirmed { pending: false, .. })));
    settle().await;
    assert_eq!(journal.lines(), ["bob NotKept unconfirmed"]);
}

#[tokio::test(start_paused = true)]
async fn undelivered_says_expired_for_what_nobody_came_for() {
    let journal = Journal::default();
    let hub = watch_undelivered(keeping(), &journal).build().unwrap();
    let _ = hub.send("alice", "short").ttl(secs(5)).await.unwrap();
    pass(secs(120)).await;
    assert_eq!(journal.lines(), ["alice Stored short", "alice Expired short"]);
    let mut client = login(&hub, "alice").await;
    assert_eq!(client.drain().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn undelivered_says_dropped_for_what_overflowed() {
    let journal = Journal::default();
    let hub =
        watch_undelivered(builder(), &journal).max_backlog(1000).overflow(Overflow::Refuse).build().unwrap();
    // One message fills the connection, one the backlog.
    let _client = login_with(&hub, Device::new("alice"), 1).await;
    for n in 0..3 {
        let _ = hub.send("alice", format!("{n}{}", "x".repeat(900))).await.unwrap();
        settle().await;
    }
    let lines = journal.lines();
    assert!(lines.iter().any(|line| line.starts_with("alice Dropped 2")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("alice Dropped 0")), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn hooks_and_receipts_see_the_same_id_at_every_delivery() {
    let journal = Journal::default();
    let (before, after, undelivered) = (journal.clone(), journal.clone(), journal.clone());
    let hub = keeping()
        .before_send(move |_, message| {
            before.note(message.id().to_string());
            Sending::Pass
        })
        .after_send(move |_, message| after.note(message.id().to_string()))
        .undelivered(move |_, message, why| {
            assert_eq!(why, Undelivered::Left);
            undelivered.note(message.id().to_string());
        })
        .build()
        .unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let receipt = keep(&hub, "alice", "one").await;
    client.expect(["one"]).await;
    client.reset().await;
    settle().await;
    let mut client = login(&hub, "alice").await;
    client.expect(["one"]).await;
    // Sent twice, with two hooks each, and stored in between.
    assert_eq!(journal.lines(), vec![receipt.id().to_string(); 5]);
    assert_ne!(receipt.id(), MessageId::NONE);
}

#[tokio::test(start_paused = true)]
async fn the_ping_hooks_message_takes_the_place_of_the_transports_ping() {
    let journal = Journal::default();
    let hub = builder().ping_interval(secs(10)).ping(|_| "are you there?".into()).build().unwrap();
    // On a transport that cannot ping too.
    let (transport, peer) = memory_pair(BUFFER, false);
    let mut client = login_over(&hub, Device::new("alice"), Spied::new(transport, &journal), peer).await;
    assert_eq!(client.text().await, "are you there?");
    client.send("yes");
    assert_eq!(client.text().await, "yes");
    assert_eq!(client.text().await, "are you there?");
    assert_eq!(journal.count("ping"), 0);
    assert_eq!(client.closed().await, CloseReason::Idle);
}

#[tokio::test(start_paused = true)]
async fn the_bye_hooks_message_comes_right_before_the_close_and_only_when_there_is_one() {
    let hub = builder()
        .bye(|_, reason| (reason == CloseReason::Kicked).then(|| Message::from(format!("bye {reason}"))))
        .build()
        .unwrap();
    let mut client = login(&hub, "alice").await;
    let kicked = hub.kick("alice").await.unwrap();
    assert_eq!(kicked, 1);
    assert_eq!(client.text().await, "bye kicked");
    assert_eq!(client.closed().await, CloseReason::Kicked);
    let old = login(&hub, "alice").await;
    let _new = login(&hub, "alice").await;
    assert_eq!(old.closed().await, CloseReason::Sso);
}
