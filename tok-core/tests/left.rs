//! What the last session of a user left unconfirmed is reported, once and the same on every queue.
#![cfg(feature = "tokio")]

mod common;

use std::sync::Arc;

use common::*;
use tok_core::{Durability, Hub, HubBuilder, Sso, queue::Caps, testkit::queue::ReferenceQueue};

/// Notes `WHY TEXT` for each message that was not delivered.
fn watched(builder: HubBuilder) -> (HubBuilder, Journal) {
    let journal = Journal::default();
    let noted = journal.clone();
    let builder = builder
        .undelivered(move |_, message, why| noted.note(format!("{why:?} {}", message.as_text().unwrap())));
    (builder, journal)
}

/// Builders over a queue in memory, one that is written ahead, and one that is written back.
fn queues() -> [(&'static str, HubBuilder); 3] {
    [
        ("memory", keeping()),
        ("written ahead", builder().queue(durable())),
        ("written back", builder().queue(durable()).durability(Durability::WriteBack)),
    ]
}

/// A client that confirms nothing.
async fn deaf(hub: &Hub, uid: &str) -> Client {
    let mut client = login(hub, uid).await;
    client.peer.answers(false);
    client
}

#[tokio::test(start_paused = true)]
async fn what_the_last_session_left_is_reported_once() {
    for (queue, builder) in queues() {
        let (builder, journal) = watched(builder);
        let hub = builder.build().unwrap();
        let mut client = deaf(&hub, "alice").await;
        keep(&hub, "alice", "one").await;
        keep(&hub, "alice", "two").await;
        client.expect(["one", "two"]).await;
        client.reset().await;
        settle().await;
        assert_eq!(journal.lines(), ["Left one", "Left two"], "{queue}");
        // Not at the next logins, and what comes then only once, too.
        for text in ["three", "four"] {
            let client = deaf(&hub, "alice").await;
            keep(&hub, "alice", text).await;
            client.reset().await;
            settle().await;
        }
        assert_eq!(journal.lines(), ["Left one", "Left two", "Left three", "Left four"], "{queue}");
        assert_eq!(hub.stats(), Default::default(), "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_is_not_reported() {
    for (queue, builder) in queues() {
        let (builder, journal) = watched(builder);
        let hub = builder.build().unwrap();
        let mut client = login(&hub, "alice").await;
        keep(&hub, "alice", "one").await;
        assert_eq!(client.drain().await, ["one"], "{queue}");
        client.peer.answers(false);
        keep(&hub, "alice", "two").await;
        client.expect(["two"]).await;
        client.leave().await;
        settle().await;
        assert_eq!(journal.lines(), ["Left two"], "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_before_the_login_is_reported_when_the_session_leaves_it() {
    for (queue, builder) in queues() {
        let (builder, journal) = watched(builder);
        let hub = builder.build().unwrap();
        keep(&hub, "alice", "one").await;
        assert_eq!(journal.lines(), ["Stored one"], "{queue}");
        for _ in 0..3 {
            deaf(&hub, "alice").await.reset().await;
            settle().await;
            assert_eq!(journal.lines(), ["Stored one", "Left one"], "{queue}");
        }
        keep(&hub, "alice", "two").await;
        assert_eq!(journal.lines(), ["Stored one", "Left one", "Stored two"], "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_before_it_has_read_anything_leaves_everything() {
    for (name, builder, queue) in [
        ("memory", builder(), Moody::new(ReferenceQueue::new())),
        ("durable", builder(), Moody::new(durable())),
    ] {
        let (builder, journal) = watched(builder.queue(Arc::clone(&queue)));
        let hub = builder.build().unwrap();
        keep(&hub, "alice", "one").await;
        queue.fail(true);
        let client = deaf(&hub, "alice").await;
        client.reset().await;
        pass(secs(10)).await;
        queue.fail(false);
        pass(secs(10)).await;
        keep(&hub, "alice", "two").await;
        settle().await;
        assert_eq!(journal.lines(), ["Stored one", "Left one", "Stored two"], "{name}");
        assert_eq!(hub.stats(), Default::default());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_after_the_last_session_left_is_stored_and_not_left() {
    for (queue, builder) in queues() {
        let (builder, journal) = watched(builder);
        let hub = builder.build().unwrap();
        let client = deaf(&hub, "alice").await;
        keep(&hub, "alice", "one").await;
        client.peer.reset();
        client.session.await.unwrap();
        keep(&hub, "alice", "two").await;
        settle().await;
        let mut lines = journal.lines();
        lines.sort();
        assert_eq!(lines, ["Left one", "Stored two"], "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_takeover_and_a_session_that_stays_leave_nothing() {
    for (queue, builder) in queues() {
        let (builder, journal) = watched(builder.sso(Sso::PerDevice));
        let hub = builder.build().unwrap();
        let mut phone = login_as(&hub, "alice", "phone").await;
        let mut desktop = login_as(&hub, "alice", "desktop").await;
        phone.peer.answers(false);
        desktop.peer.answers(false);
        keep(&hub, "alice", "one").await;
        let mut again = login_as(&hub, "alice", "phone").await;
        again.peer.answers(false);
        settle().await;
        desktop.reset().await;
        settle().await;
        assert_eq!(journal.lines(), Vec::<String>::new(), "{queue}");
        again.reset().await;
        settle().await;
        assert_eq!(journal.lines(), ["Left one"], "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_is_reported_whole() {
    for (queue, builder) in queues() {
        let (builder, journal) = watched(builder);
        let hub = builder.max_backlog(10_000).build().unwrap();
        let client = login_with(&hub, tok_core::Device::new("alice"), 1).await;
        for n in 0..500 {
            keep(&hub, "alice", &format!("{n} {}", "x".repeat(500))).await;
        }
        client.reset().await;
        settle().await;
        let left: Vec<_> =
            journal.lines().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
        assert_eq!(left, numbers(0..500), "{queue}");
        assert_eq!(hub.stats(), Default::default(), "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_not_left() {
    for (queue, builder) in queues() {
        let (builder, journal) = watched(builder.ping_interval(secs(0)));
        let hub = builder.build().unwrap();
        let client = deaf(&hub, "alice").await;
        let _ = hub.send("alice", "short").ttl(secs(1)).await.unwrap();
        keep(&hub, "alice", "long").await;
        pass(secs(2)).await;
        client.reset().await;
        settle().await;
        assert_eq!(journal.count("Left short"), 0, "{queue}");
        assert_eq!(journal.count("Left long"), 1, "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_reports_what_its_sessions_left() {
    for (queue, builder) in queues() {
        let (builder, journal) = watched(builder);
        let hub = builder.build().unwrap();
        let client = deaf(&hub, "alice").await;
        keep(&hub, "alice", "one").await;
        let shutdown = tokio::spawn({
            let hub = hub.clone();
            async move { hub.shutdown(secs(10)).await }
        });
        settle().await;
        client.peer.close();
        assert_eq!(shutdown.await.unwrap().unstored, 0, "{queue}");
        assert_eq!(journal.lines(), ["Left one"], "{queue}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_queue_that_cannot_be_read_for_reports() {
    let queue = Moody::new(ReferenceQueue::with_caps(Caps {
        durable: true,
        shared: false,
        max_messages: 100,
        max_bytes: 1 << 20,
        max_message: None,
    }));
    let hub = builder().queue(Arc::clone(&queue)).undelivered(|_, _, _| {}).build().unwrap();
    let client = deaf(&hub, "alice").await;
    keep(&hub, "alice", "one").await;
    queue.fail(true);
    let shutdown = tokio::spawn({
        let hub = hub.clone();
        async move { hub.shutdown(secs(3600)).await }
    });
    settle().await;
    client.peer.close();
    let report = tokio::time::timeout(secs(60), shutdown).await.expect("an end long before the deadline");
    assert_eq!(report.unwrap().sessions, 1);
}
