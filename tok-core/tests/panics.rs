//! A panic in the application's code ends its session, by name, and nothing else.
#![cfg(feature = "tokio")]

mod common;

#[cfg(feature = "tracing")]
#[path = "panics/logged.rs"]
mod logged;

use common::*;
use tok_core::{CloseReason, Hub, HubBuilder, Message, Received, Sending, Session, Sso};

/// Users called `bad` panic where the test says.
fn if_bad(session: &Session) {
    assert!(session.device().uid().as_str() != "bad", "told to panic");
}

/// A session in which something panicked has ended, and another goes on.
async fn ends_panicked(hub: &Hub, mut bad: Client, mut good: Client) {
    let read = bad.drain().await;
    assert_eq!(read.last().map(String::as_str), Some("Close(Panicked)"));
    bad.peer.close();
    assert_eq!(bad.session.await.unwrap(), CloseReason::Panicked);
    good.send("still here");
    assert_eq!(good.text().await, "still here");
    good.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

async fn both(builder: HubBuilder) -> (Hub, Client, Client) {
    let hub = builder.build().unwrap();
    let good = login(&hub, "good").await;
    let bad = login(&hub, "bad").await;
    (hub, bad, good)
}

#[tokio::test(start_paused = true)]
async fn in_a_handler() {
    let journal = Journal::default();
    let notes = journal.clone();
    let actor = Act(|session: Session, message: Message| async move {
        if_bad(&session);
        session.send(message).unwrap();
    });
    let closes = builder_of(actor).close(move |session, reason| {
        notes.note(format!("{} {reason}", session.device().uid()));
    });
    let (hub, bad, good) = both(closes).await;
    bad.send("one");
    bad.send("two");
    ends_panicked(&hub, bad, good).await;
    assert_eq!(journal.lines(), ["bad panicked", "good peer_closed"]);
}

#[tokio::test(start_paused = true)]
async fn in_a_handler_after_it_waited() {
    let actor = Act(|session: Session, message: Message| async move {
        pass(secs(1)).await;
        if_bad(&session);
        session.send(message).unwrap();
    });
    let (hub, bad, good) = both(builder_of(actor)).await;
    bad.send("one");
    pass(secs(2)).await;
    ends_panicked(&hub, bad, good).await;
}

#[tokio::test(start_paused = true)]
async fn in_before_receive() {
    let (hub, bad, good) = both(builder().before_receive(|session, message| {
        if_bad(session);
        Received::Pass(message)
    }))
    .await;
    bad.send("one");
    ends_panicked(&hub, bad, good).await;
}

#[tokio::test(start_paused = true)]
async fn in_before_send() {
    let (hub, bad, good) = both(builder().before_send(|session, _| {
        if_bad(session);
        Sending::Pass
    }))
    .await;
    let _ = hub.send("bad", "one").await.unwrap();
    ends_panicked(&hub, bad, good).await;
}

#[tokio::test(start_paused = true)]
async fn in_after_send() {
    let (hub, bad, good) = both(builder().after_send(|session, _| if_bad(session))).await;
    let _ = hub.send("bad", "one").await.unwrap();
    ends_panicked(&hub, bad, good).await;
}

#[tokio::test(start_paused = true)]
async fn in_open() {
    let journal = Journal::default();
    let notes = journal.clone();
    let hub = builder()
        .open(if_bad)
        .close(move |session, reason| notes.note(format!("{} {reason}", session.device().uid())));
    let (hub, bad, good) = both(hub).await;
    ends_panicked(&hub, bad, good).await;
    assert_eq!(journal.lines(), ["bad panicked", "good peer_closed"]);
}

#[tokio::test(start_paused = true)]
async fn in_ping() {
    let (hub, mut bad, mut good) = both(builder().ping_interval(secs(10)).ping(|session| {
        if_bad(session);
        "ping".into()
    }))
    .await;
    for client in [&mut bad, &mut good] {
        client.peer.answers(false);
    }
    pass(secs(11)).await;
    assert_eq!(good.text().await, "ping");
    ends_panicked(&hub, bad, good).await;
}

#[tokio::test(start_paused = true)]
async fn in_close_the_session_has_its_reason_and_all_is_cleaned_up() {
    let (hub, bad, mut good) = both(builder().close(|session, _| if_bad(session))).await;
    bad.leave().await;
    good.send("still here");
    assert_eq!(good.text().await, "still here");
    good.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn in_bye_the_session_is_closed_without_the_message() {
    let (hub, bad, mut good) = both(builder().bye(|session, _| {
        if_bad(session);
        Some("bye".into())
    }))
    .await;
    assert_eq!(hub.kick("bad").await.unwrap(), 1);
    assert_eq!(bad.closed().await, CloseReason::Kicked);
    assert_eq!(hub.kick("good").await.unwrap(), 1);
    assert_eq!(good.text().await, "bye");
    assert_eq!(good.closed().await, CloseReason::Kicked);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn in_undelivered_the_sender_has_its_receipt() {
    let hub = keeping().undelivered(|_, _, _| panic!("told to panic")).build().unwrap();
    assert!(hub.send("alice", "one").await.unwrap().is_offline());
    assert!(keep(&hub, "alice", "two").await.is_stored());
    let mut client = login(&hub, "alice").await;
    assert_eq!(client.drain().await, ["two"]);
    client.leave().await;
    settle().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn in_the_class_function_the_login_is_refused() {
    let journal = Journal::default();
    let (open, close) = (journal.clone(), journal.clone());
    let hub = builder()
        .sso(Sso::by_class(|device| {
            assert!(device.uid().as_str() != "bad", "told to panic");
            String::new()
        }))
        .open(move |session| open.note(format!("open {}", session.device().uid())))
        .close(move |session, _| close.note(format!("close {}", session.device().uid())));
    let (hub, bad, good) = both(hub).await;
    assert_eq!(hub.admit(&tok_core::Device::new("bad")).unwrap_err().status(), 500);
    ends_panicked(&hub, bad, good).await;
    assert_eq!(journal.lines(), ["open good", "close good"]);
}
